"""Servers for the end-to-end tests. A test that fails shows the log of each that it used."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from queuey.cli import main
from tests.support import serving
from tests.support.command import Ran, Run
from tests.support.gate import Gate
from tests.support.serving import Serving, end_store

SHOWN_LINES = 100

QUICK = ("--backoff-base", "20ms", "--backoff-cap", "50ms", "--grace", "1s")
"""Flags that let retries and stuck handlers cost a test no time."""

Serve = Callable[..., Serving]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for server in serving.started:
            log = "".join(server.lines[-SHOWN_LINES:])
            report.sections.append((f"log of the server {server.process.pid}", log))
    return report


@pytest.fixture
def serve(folder: Path) -> Iterator[Serve]:
    """Starts servers of a test's own, on one data directory unless it names another; options as in Serving."""
    servers: list[Serving] = []

    def start(*flags: str, data_dir: Path | None = None, **options: Any) -> Serving:
        servers.append(Serving(data_dir or folder / "data", *QUICK, *flags, **options))
        return servers[-1]

    yield start
    with ExitStack() as closing:  # each of them, whatever becomes of the others, and then their stores
        closing.callback(end_stores, servers)
        for server in servers:
            closing.callback(server.close)


def end_stores(servers: Sequence[Serving]) -> None:
    """End the stores that servers which were killed have left behind."""
    for server in servers:
        for event in [*server.events("store_started"), *server.events("store_joined")]:
            end_store(event["pid"])


@pytest.fixture(scope="session")
def server() -> Iterator[Serving]:
    """One server for all tests that leave nothing behind but jobs of their own."""
    with tempfile.TemporaryDirectory(prefix="queuey-") as name:
        started = Serving(Path(name, "data"), *QUICK, key="dev")
        yield started
        started.close()


@pytest.fixture
async def gate() -> Any:
    async with Gate() as gate:
        yield gate


@pytest.fixture
def run(server: Serving, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command of `queuey` in this process, against the server."""
    monkeypatch.setenv("QUEUEY_URL", server.url)
    monkeypatch.setenv("QUEUEY_API_KEY", "dev")

    def run(*arguments: str) -> Ran:
        code = main(arguments)
        return Ran(code, *capsys.readouterr())

    return run
