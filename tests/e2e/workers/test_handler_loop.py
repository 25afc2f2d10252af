"""`--handler-loop own`: a handler that blocks its event loop stops neither the API nor the end of the server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.workers import blocking_app, leaving_app
from tests.support.serving import Serving

OWN = ("--handler-loop", "own", "--blocked-after", "200ms")


@pytest.fixture
def pipe(folder: Path) -> Path:
    path = folder / "pipe"
    os.mkfifo(path)
    return path


def blocked(server: Serving, pipe: Path) -> str:
    """A job whose handler blocks the handlers' event loop. Returns its id."""
    job_id = server.submit("block", str(pipe))
    assert server.event("event_loop_blocked", loop="handlers", type="block")["job_id"] == job_id
    return job_id


def test_the_api_answers_while_a_handler_blocks(serve: Serve, pipe: Path) -> None:
    server = serve(*OWN, app=blocking_app.PATH)
    job_id = blocked(server, pipe)
    assert server.http.get("/healthz").status_code == 200
    assert server.http.get("/readyz").status_code == 200
    later = server.submit("noop")
    assert server.job(job_id)["status"] == "running", "it blocked all the while"
    pipe.write_text("done")
    assert server.until(job_id)["result"] == "done"
    assert server.until(later)["status"] == "succeeded"
    assert server.event("event_loop_free", type="block")["loop"] == "handlers"
    assert server.events("event_loop_blocked", loop="server", type="block") == []
    assert server.stop() == 0


def test_jobs_that_cannot_begin_go_to_another_worker(serve: Serve, pipe: Path) -> None:
    server = serve(*OWN, app=blocking_app.PATH)
    jobs = [{"type": "block", "payload": str(pipe)}, *[{"type": "noop"}] * 3]
    answer = server.http.post("/v1/jobs/batch", json=jobs).json()
    blocks, *others = [each["job_id"] for each in answer["results"]]
    assert server.event("stalled_jobs_released")["jobs"] == 3
    serve(*OWN, app=blocking_app.PATH)
    for job_id in others:
        done = server.until(job_id)
        assert (done["status"], done["attempt"], done["crashes"]) == ("succeeded", 1, 0)
    assert server.job(blocks)["status"] == "running", "it blocked all the while"
    pipe.write_text("done")
    assert server.until(blocks)["result"] == "done"
    server.event("event_loop_free", type="block")
    assert len(server.events("stalled_jobs_released")) == 1, "it claims nothing meanwhile"
    assert server.stop() == 0


def test_a_server_ends_although_a_handler_blocks(serve: Serve, pipe: Path) -> None:
    """The job goes back to its queue, with no attempt spent."""
    server = serve(*OWN, "--drain-timeout", "0s", app=blocking_app.PATH)
    job_id = blocked(server, pipe)
    assert server.stop() == 0
    again = serve(*OWN, app=blocking_app.PATH)
    again.event("event_loop_blocked", type="block")
    assert again.job(job_id)["attempt"] == 1
    pipe.write_text("done")
    assert again.until(job_id)["result"] == "done"


@pytest.mark.parametrize("loop", ["shared", "own"])
def test_a_handler_ends_neither_the_server_nor_its_loop(serve: Serve, loop: str) -> None:
    server = serve("--handler-loop", loop, app=leaving_app.PATH)
    assert server.until(server.submit("exit"))["result"] == "SystemExit(5)"
    assert server.event("event_loop_left", error="SystemExit: 5")["level"] == "error"
    assert server.until(server.submit("stop"))["result"] == "went on"
    assert server.stop() == 0


def test_a_handler_that_cancels_every_task_of_its_own_loop_does_not_end_it(serve: Serve) -> None:
    server = serve(*OWN, app=leaving_app.PATH)
    server.until(server.submit("cancel"), "dead_letter")
    assert server.until(server.submit("noop"))["status"] == "succeeded"
    assert server.stop() == 0
