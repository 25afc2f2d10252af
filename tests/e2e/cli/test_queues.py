"""`queuey queue`, `queuey worker` and `queuey top` against a real server."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from typing import Final

import pytest

from queuey.cli import exits
from tests.e2e.conftest import Serve
from tests.support.command import Run
from tests.support.serving import PATIENCE, ROOT, Serving, environment


def test_list_and_show(run: Run, server: Serving) -> None:
    for _ in range(3):
        server.submit("echo", queue="cli-show", priority="high")
    server.submit("echo", queue="cli-show", delay=3600)
    listed = {queue["name"]: queue for queue in run("queue", "list", "-o", "json").data}
    assert (listed["cli-show"]["high"], listed["cli-show"]["scheduled"]) == (3, 1)
    assert run("queue", "show", "cli-show", "-o", "json").data["high"] == 3
    head, *rows = run("queue", "list").out.splitlines()
    assert head.split()[:3] == ["NAME", "PAUSED", "HIGH"]
    assert ["cli-show", "no", "3"] in [row.split()[:3] for row in rows]
    unknown = run("queue", "show", "cli-nowhere")
    assert (unknown.code, unknown.out) == (exits.NOT_FOUND, "")
    assert "cli-nowhere" in unknown.err


def test_pause_and_resume(run: Run, server: Serving) -> None:
    server.submit("echo", queue="cli-pause")
    paused = run("queue", "pause", "cli-pause", "--reason", "the disk is full", "-o", "json")
    assert (paused.code, paused.data["paused"], paused.data["pause_reason"]) == (exits.OK, True, "the disk is full")
    assert "the disk is full" in run("queue", "show", "cli-pause").out
    assert run("queue", "resume", "cli-pause", "-o", "json").data["paused"] is False


def test_purge_is_asked_for_twice(run: Run, server: Serving) -> None:
    ids = [server.submit("echo", queue="cli-purge") for _ in range(3)]
    later = server.submit("echo", queue="cli-purge", delay=3600)
    asked = run("queue", "purge", "cli-purge")
    assert (asked.code, asked.out) == (exits.USAGE, "")
    assert "4 jobs of cli-purge" in asked.err
    assert server.job(ids[0])["status"] == "queued"
    done = run("queue", "purge", "cli-purge", "--status", "queued", "--yes", "-o", "json")
    assert (done.code, done.data) == (exits.OK, {"cancelled": 3, "more": False})
    assert {server.job(job_id)["status"] for job_id in ids} == {"cancelled"}
    assert server.job(later)["status"] == "scheduled"
    assert "would cancel 1 job of cli-purge" in run("queue", "purge", "cli-purge").err
    assert run("queue", "purge", "cli-purge", "--yes", "-o", "json").data["cancelled"] == 1


def test_workers_are_listed(run: Run, server: Serving) -> None:
    (worker,) = [worker for worker in run("worker", "list", "-o", "json").data if worker["kind"] == "process"]
    assert (worker["quiet"], worker["queues"]) == (False, ["default"])
    head, *rows = run("worker", "list").out.splitlines()
    assert (head.split()[:3], head.split()[-2:]) == (["NAME", "APP", "KIND"], ["QUEUES", "TYPES"])
    assert [worker["name"], "tests", "process"] in [row.split()[:3] for row in rows]
    assert ", ".join(worker["types"][:3]) in "\n".join(rows)


def test_a_quiet_worker_claims_no_more(run: Run, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    own = serve(key="dev")
    monkeypatch.setenv("QUEUEY_URL", own.url)
    (worker,) = run("worker", "list", "-o", "json").data
    quiet = run("worker", "quiet", worker["name"], "-o", "json")
    assert (quiet.code, quiet.data["quiet"]) == (exits.OK, True)
    unknown = run("worker", "quiet", "nobody")
    assert (unknown.code, unknown.out) == (exits.NOT_FOUND, "")


def test_top_once(run: Run, server: Serving) -> None:
    server.submit("echo", queue="cli-top", delay=3600)
    frame = run("top", "--once", "-o", "json").data
    assert "cli-top" in [queue["name"] for queue in frame["queues"]]
    assert "process" in [worker["kind"] for worker in frame["workers"]]
    table = run("top").out  # into a pipe: once
    assert "cli-top" in table
    assert "slots busy" in table.splitlines()[0]
    assert "\x1b" not in table


AS_IN_A_TERMINAL: Final = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from queuey.cli import main
sys.exit(main())
"""
"""Tests that run in the background ignore Ctrl-C, and their child processes would too."""


def test_top_lives_in_a_terminal_until_an_interrupt(server: Serving) -> None:
    reader, terminal = pty.openpty()
    variables = environment(QUEUEY_URL=server.url, QUEUEY_API_KEY="dev", TERM="xterm", COLUMNS="160", LINES="40")
    command = [sys.executable, "-c", AS_IN_A_TERMINAL, "top", "--every", "200ms"]
    process = subprocess.Popen(command, cwd=ROOT, env=variables, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = b""
    try:
        while shown.count(b"slots busy") < 3:
            shown += os.read(reader, 65536)
        process.send_signal(signal.SIGINT)
        shown += rest(reader)
        assert process.wait(PATIENCE) == exits.OK
    finally:
        process.kill()
        process.wait(PATIENCE)
        os.close(reader)
    assert b"finished a second" in shown
    assert b"Traceback" not in shown
    assert shown.rindex(b"\x1b[?1049l") > shown.rindex(b"slots busy"), "the screen is as it was before"


def rest(reader: int) -> bytes:
    """Return everything until the other side has closed."""
    shown = b""
    while True:
        try:
            part = os.read(reader, 65536)
        except OSError:  # Linux reports a closed terminal in this way
            return shown
        if not part:
            return shown
        shown += part
