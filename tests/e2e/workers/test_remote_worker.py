"""`queuey work`: handlers in a process that knows the server by HTTP alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from queuey.client.sync import IN_SERVER
from tests.e2e.conftest import Serve
from tests.e2e.workers import blocking_app
from tests.support import jobs
from tests.support.gate import Gate
from tests.support.http import moment
from tests.support.serving import PATIENCE, ROOT, Serving, environment, eventually
from tests.unit.worker.providers import provided_app


class Working:
    """One `queuey work`. Its log is a file."""

    def __init__(self, url: str, log: Path, *flags: str, app: str = jobs.PATH, **variables: str) -> None:
        self._log = log
        command = [sys.executable, "-m", "queuey", "work", "--url", url, "--app", app, "--log-format", "json"]
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [*command, "--grace", "1s", *flags],
                cwd=ROOT,
                env=environment(**variables),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
            )

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def until(self, name: str) -> dict[str, Any]:
        eventually(lambda: bool(self.events(name)), self._log.read_text)
        return self.events(name)[0]

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


Work = Callable[..., Working]


@pytest.fixture
def work(folder: Path) -> Iterator[Work]:
    workers: list[Working] = []

    def start(server: Serving, *flags: str, app: str = jobs.PATH, **variables: str) -> Working:
        workers.append(Working(server.url, folder / f"worker{len(workers)}.log", *flags, app=app, **variables))
        return workers[-1]

    yield start
    for worker in workers:
        worker.process.kill()
        worker.process.wait(PATIENCE)


@pytest.fixture
def boss(serve: Serve) -> Serving:
    """A server that runs no jobs itself."""
    return serve("--roles", "api,reaper", "--reap-interval", "200ms", "--reap-delay-max", "0s", "--lease", "1s")


def test_handlers_of_every_kind_run_over_http(boss: Serving, work: Work) -> None:
    worker = work(boss, "--name", "far-away", "--concurrency", "10")
    ids = [boss.submit(kind, number) for number in range(40) for kind in ("echo", "echo.thread")]
    assert [boss.until(job_id)["result"] for job_id in ids] == [number for number in range(40) for _ in range(2)]
    job = boss.until(boss.submit("echo.process", {"a": None}))
    assert (job["status"], job["result"], job["worker"]) == ("succeeded", {"a": None}, "far-away")
    forwarded = boss.until(boss.submit("forward", "hello"))["result"]
    assert boss.until(forwarded)["result"] == "hello"
    assert worker.end() == 0
    assert worker.events("stopped")


def test_handlers_of_every_kind_have_providers(boss: Serving, work: Work) -> None:
    worker = work(boss, app=provided_app.PATH)
    for kind in ("loop", "thread", "process"):
        steps = boss.until(boss.submit(kind, {"number": 7}))["result"]
        assert steps == [f"trail {kind} 1", "session", "handler 7 a session of 3", "session left", "trail left"]
        first, second = (boss.until(boss.submit(f"pool.{kind}", None))["result"] for _ in range(2))
        assert first == second
    assert worker.end() == 0


def test_its_start_is_frozen_as_a_servers(boss: Serving, work: Work) -> None:
    work(boss)
    for kind in ("frozen", "frozen.process"):
        assert boss.until(boss.submit(kind, None))["result"] > 10_000


def test_failures_are_those_of_a_worker_in_the_server(boss: Serving, work: Work) -> None:
    work(boss)
    failed = boss.until(boss.submit("fail", 1))
    assert (failed["status"], failed["result"], failed["attempts"]) == ("succeeded", 2, 1)
    assert failed["errors"][0]["message"] == "ValueError: attempt 1"
    assert "jobs.py" in failed["errors"][0]["detail"]
    assert boss.until(boss.submit("retry", 0.01))["result"] == 2
    dead = boss.until(boss.submit("dead", "no such user"))
    assert (dead["status"], dead["errors"][0]["kind"], dead["last_error"]) == ("dead_letter", "dead", "no such user")
    bad = boss.until(boss.submit("sum", {"a": 1}))
    assert (bad["status"], bad["errors"][0]["kind"]) == ("dead_letter", "payload")
    late = boss.until(boss.submit("slow", None, max_attempts=1))
    assert (late["status"], late["errors"][0]["kind"]) == ("dead_letter", "timeout")
    unknown = boss.submit("nobody", None, max_attempts=1)
    assert boss.until(boss.submit("echo", 1))["result"] == 1
    waiting = boss.job(unknown)
    assert (waiting["status"], waiting["attempts"]) == ("queued", 0)


async def test_leases_are_extended_while_a_handler_runs(boss: Serving, work: Work, gate: Gate) -> None:
    work(boss, "--lease", "1s")
    job_id = boss.submit("gate.thread", gate.path)
    visitor = await gate.visitor()
    first = moment(boss.job(job_id)["lease_expires_at"])
    for _ in range(3):
        eventually(lambda before=first: moment(boss.job(job_id)["lease_expires_at"]) > before)  # type: ignore[misc]
        first = moment(boss.job(job_id)["lease_expires_at"])
    visitor.let_go("done")
    job = boss.until(job_id)
    assert (job["result"], job["crashes"]) == ("done", 0)


async def test_a_cancel_reaches_the_handler(boss: Serving, work: Work, gate: Gate) -> None:
    work(boss, "--lease", "1s")
    job_id = boss.submit("gate.loop", gate.path)
    visitor = await gate.visitor()
    assert boss.cancel(job_id).json()["status"] == "cancelling"
    await visitor.gone()
    assert boss.until(job_id)["status"] == "cancelled"


async def test_at_the_end_running_jobs_finish(boss: Serving, work: Work, gate: Gate) -> None:
    worker = work(boss)
    job_id = boss.submit("gate.loop", gate.path)
    visitor = await gate.visitor()
    worker.process.send_signal(signal.SIGTERM)
    worker.until("draining")
    after = boss.submit("echo", 1)
    visitor.let_go("done")
    assert boss.until(job_id)["result"] == "done"
    assert worker.process.wait(PATIENCE) == 0
    assert boss.job(after)["status"] == "queued"


@pytest.mark.parametrize("kind", ["gate.loop", "gate.thread", "gate.process"])
async def test_what_does_not_finish_is_given_back(boss: Serving, work: Work, gate: Gate, kind: str) -> None:
    worker = work(boss, "--drain-timeout", "0s")
    job_id = boss.submit(kind, gate.path)
    await gate.visitor()
    assert worker.end() == 0
    job = boss.job(job_id)
    assert (job["status"], job["attempts"], job["crashes"]) == ("queued", 0, 0)


async def test_a_second_signal_gives_back_at_once(boss: Serving, work: Work, gate: Gate) -> None:
    worker = work(boss)
    job_id = boss.submit("gate.loop", gate.path)
    await gate.visitor()
    worker.process.send_signal(signal.SIGTERM)
    worker.until("draining")

    def forced() -> bool:
        """A signal that follows within a fifth of a second counts as the same."""
        if not worker.events("forced_exit"):
            worker.process.send_signal(signal.SIGTERM)
        return bool(worker.events("forced_exit"))

    eventually(forced)
    assert worker.process.wait(PATIENCE) == 1
    assert boss.job(job_id)["status"] == "queued"


async def test_a_worker_that_was_killed_costs_a_crash(boss: Serving, work: Work, gate: Gate) -> None:
    first = work(boss, "--lease", "1s")
    job_id = boss.submit("gate.loop", gate.path)
    await gate.visitor()
    first.process.kill()
    work(boss)
    (await gate.visitor()).let_go("again")
    job = boss.until(job_id)
    assert (job["result"], job["crashes"]) == ("again", 1)


def test_without_the_scope_it_does_not_start(serve: Serve, work: Work) -> None:
    server = serve("--roles", "api,reaper", variables={"QUEUEY_API_KEY": "secret"}, key="secret")
    worker = work(server)
    assert worker.process.wait(PATIENCE) == 3
    good = work(server, QUEUEY_API_KEY="secret")
    assert server.until(server.submit("echo", 1))["status"] == "succeeded"
    assert good.end() == 0


def test_a_handler_that_blocks_the_event_loop_is_named(serve: Serve, work: Work, folder: Path) -> None:
    server = serve("--roles", "api")
    working = work(server, "--blocked-after", "200ms", app=blocking_app.PATH)
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    job_id = server.submit("block", str(pipe))

    def named(event: str) -> bool:
        """A busy machine may stop the worker itself for a moment, which is no job's fault."""
        return any((each["type"], each["job_id"]) == ("block", job_id) for each in working.events(event))

    eventually(lambda: named("event_loop_blocked"))
    pipe.write_text("done")
    assert server.until(job_id)["result"] == "done"
    eventually(lambda: named("event_loop_free"))
    assert working.end() == 0


def test_a_sync_client_is_refused_in_its_event_loop(serve: Serve, work: Work) -> None:
    server = serve("--roles", "api")
    working = work(server, app=blocking_app.PATH)
    refused = server.until(server.submit("call.async", server.url))
    assert refused["errors"][0]["message"] == f"RuntimeError: {IN_SERVER}"
    enqueued = server.until(server.submit("call.thread", server.url))["result"]
    assert server.until(enqueued)["status"] == "succeeded"
    assert working.end() == 0
