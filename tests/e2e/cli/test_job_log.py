"""`queuey job log` against a real server."""

from __future__ import annotations

from queuey.cli import exits
from tests.support.command import Run
from tests.support.serving import Serving, eventually


def test_log_shows_the_lines_of_its_attempts(run: Run, server: Serving) -> None:
    job_id = server.submit("log", "x")
    server.until(job_id)
    eventually(lambda: bool(run("job", "log", job_id, "-o", "json").data))
    (line,) = run("job", "log", job_id, "-o", "json").data
    assert (line["attempt"], line["level"]) == (1, "info")
    assert "answer=42" in line["text"]
    shown = run("job", "log", job_id)
    assert (shown.code, shown.out.split()[:4]) == (exits.OK, ["ATTEMPT", "AT", "LEVEL", "TEXT"])
    assert line["text"] in shown.out
    silent = server.submit("echo", None)
    server.until(silent)
    assert run("job", "log", silent, "-o", "json").data == []
