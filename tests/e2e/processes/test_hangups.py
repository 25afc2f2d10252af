"""Signals to every process: SIGHUP drains like SIGTERM unless it is ignored, and children leave both to the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.conftest import Serve
from tests.support import jobs
from tests.support.gate import Gate
from tests.support.serving import PATIENCE, ROOT, environment, eventually

ONE = ("--processes", "1")
TWO = ("--processes", "2")


@pytest.mark.parametrize("flags", [ONE, TWO])
async def test_a_hangup_of_every_process_drains(serve: Serve, gate: Gate, flags: tuple[str, ...]) -> None:
    server = serve(*flags, own_group=True)
    job_id = server.submit("gate.loop", gate.path, max_attempts=1)
    visitor = await gate.visitor()
    os.killpg(server.process.pid, signal.SIGHUP)
    server.event("draining", running=1)
    os.killpg(server.process.pid, signal.SIGHUP)
    visitor.let_go("finished")
    assert server.wait() == 0
    assert not server.events("forced_exit")
    job = serve("--roles", "api").job(job_id)
    assert (job["status"], job["result"], job["attempts"], job["crashes"]) == ("succeeded", "finished", 0, 0)


@pytest.mark.parametrize("flags", [ONE, TWO])
async def test_it_is_ignored_under_nohup(serve: Serve, flags: tuple[str, ...]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does: the server inherits it
    try:
        server = serve(*flags, own_group=True)
    finally:
        signal.signal(signal.SIGHUP, before)
    os.killpg(server.process.pid, signal.SIGHUP)
    assert server.until(server.submit("echo", 1))["result"] == 1
    assert server.stop() == 0
    assert len(server.events("draining")) == int(flags[1])


@pytest.mark.parametrize("flags", [ONE, TWO])
async def test_sigterm_to_server_and_children_costs_no_attempt(
    serve: Serve, gate: Gate, flags: tuple[str, ...]
) -> None:
    """As systemd's default KillMode= and supervisord's stopasgroup do it."""
    server = serve(*flags, own_group=True)
    job_id = server.submit("gate.process", gate.path, max_attempts=1)
    visitor = await gate.visitor()
    os.kill(visitor.pid, signal.SIGTERM)
    os.killpg(server.process.pid, signal.SIGTERM)
    server.event("draining", running=1)
    visitor.let_go("finished")
    assert server.wait() == 0
    await visitor.gone()
    job = serve("--roles", "api").job(job_id)
    assert (job["status"], job["result"], job["attempts"], job["errors"]) == ("succeeded", "finished", 0, [])


async def test_a_worker_over_http_drains(serve: Serve, gate: Gate, folder: Path) -> None:
    server = serve("--roles", "api,reaper")
    log = folder / "worker.log"
    command = [sys.executable, "-m", "queuey", "work", "--url", str(server.url), "--app", jobs.PATH]
    with log.open("w") as file:
        worker = subprocess.Popen(command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stderr=file)
    try:
        job_id = server.submit("gate.loop", gate.path, max_attempts=1)
        visitor = await gate.visitor()
        worker.send_signal(signal.SIGHUP)
        eventually(lambda: "draining" in log.read_text(), log.read_text)
        visitor.let_go("finished")
        assert worker.wait(PATIENCE) == 0
    finally:
        worker.kill()
        worker.wait(PATIENCE)
    job = server.job(job_id)
    assert (job["status"], job["result"], job["crashes"]) == ("succeeded", "finished", 0)


AT_THE_END: Final = """
import os, signal, sys
from queuey.cli import run
sys.argv = ["queuey", "--version"]
assert run() == 0
for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
    os.kill(os.getpid(), number)
"""


def test_signals_while_a_process_only_exits_change_nothing() -> None:
    """Python gives them their default actions just before its end: a server that has stopped would be killed."""
    assert subprocess.run([sys.executable, "-c", AT_THE_END], cwd=ROOT, timeout=PATIENCE, check=False).returncode == 0
