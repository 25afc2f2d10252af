"""Starts `queuey serve`, or the store alone, for a measurement and stops it again."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench import cores
from queuey.store.embedded.process import command_line, find_binary

PLAN: Final = cores.plan()
"""Made before anything is pinned."""
START_SECONDS: Final = 60
STOP_SECONDS: Final = 20
LOOK_SECONDS: Final = 0.01
"""Between two looks at a process that starts."""

_numbers = itertools.count()


@dataclass(frozen=True)
class Program:
    """Which `queuey` a server runs: by which interpreter, in which folder, with which variables, and for which App."""

    python: str = sys.executable
    folder: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    app: str = "bench.noop:app"

    def command(self, *flags: str) -> list[str]:
        """`queuey serve` on a free port."""
        command = [self.python, "-m", "queuey", "serve", "--app", self.app, "--port", "0", "--log-format", "json"]
        return [*command, *flags]


THIS: Final = Program()
"""The program of this checkout."""


class Served:
    """A running server: where it listens, its pid and its store's, and the data directory with the store's socket."""

    def __init__(self, url: str, data_dir: Path, pid: int, store_pid: int) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self.host = host
        self.port = int(port)
        self.pid = pid
        self.store_pid = store_pid
        self.store_url = f"unix://{data_dir / 'valkey.sock'}"


@contextmanager
def server(data_dir: Path, *flags: str, pinned: bool = True, program: Program = THIS) -> Iterator[Served]:
    """`queuey serve` on a free port, with more flags, and its data directory's embedded store.

    `pinned`: to the cores of the plan; otherwise all may use every core. Raises RuntimeError with its log."""
    command = program.command("--data-dir", str(data_dir), *flags)
    log = data_dir.parent / f"server-{next(_numbers)}.log"
    with ended(command, log, program.folder, program.variables) as process:
        url, pids, store_pid = started(process, log)
        for pid in {process.pid, *pids}:
            cores.pin(pid, PLAN.server if pinned else PLAN.every)
        cores.pin(store_pid, PLAN.store if pinned else PLAN.every)
        yield Served(url, data_dir, process.pid, store_pid)


@contextmanager
def store(folder: Path, *options: str) -> Iterator[str]:
    """The store alone, as a server starts its own, in an empty folder; later options win. Gives its URL.

    It has the core that the server would have, since there is none."""
    command = [*command_line(find_binary(), "always", 0), *options]
    folder.mkdir()
    log = folder.parent / f"store-{next(_numbers)}.log"
    with ended(command, log, cwd=folder) as process:
        wait_for(process, log, (folder / "valkey.sock").exists)
        cores.pin(process.pid, PLAN.server)
        yield f"unix://{folder / 'valkey.sock'}"


@contextmanager
def ended(
    command: list[str], log: Path, cwd: Path | None = None, variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that logs to a file, and has ended after the block. It sees `variables`, and no QUEUEY_* of ours."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("QUEUEY_")}
    environment.update(variables or {})
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=cwd, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def started(process: subprocess.Popen[bytes], log: Path) -> tuple[str, list[int], int]:
    """Where it listens, the process ids of its replicas, if it has several, and the store's, once its log says that it
    has started."""
    wait_for(process, log, lambda: "started" in _events(log))
    events = _events(log)
    of_store = events.get("store_started") or events.get("store_joined") or {"pid": 0}
    started = events["started"]
    return started["url"] or "http://none:0", started.get("pids", []), of_store["pid"]


def _events(log: Path) -> dict[str, dict[str, Any]]:
    """The events in a log so far, by name."""
    text = log.read_text()
    complete = text[: text.rfind("\n") + 1].splitlines()
    return {event["event"]: event for event in map(json.loads, (line for line in complete if line.startswith("{")))}


def wait_for(process: subprocess.Popen[bytes], log: Path, ready: Callable[[], bool]) -> None:
    """Return when `ready` says so. Raises RuntimeError with the log when the process ends before, or is too slow."""
    give_up_at = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > give_up_at:
            raise RuntimeError("it did not start:\n" + log.read_text())
        time.sleep(LOOK_SECONDS)
