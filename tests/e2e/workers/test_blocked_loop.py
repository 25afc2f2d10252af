"""Handlers that block the event loop: the log names them, nothing else is to blame. A SyncClient is refused there."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from queuey.client.sync import IN_SERVER
from tests.e2e.conftest import Serve
from tests.e2e.workers import blocking_app

OTHERS = ("claim_failed", "chore_failed", "renewal_failed", "lease_reaped", "lease_lost")


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_log_names_the_handler_and_its_line(serve: Serve, folder: Path, processes: str) -> None:
    server = serve("--processes", processes, "--lease", "1s", app=blocking_app.PATH)
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    job_id = server.submit("block", str(pipe))
    blocked = server.event("event_loop_blocked", type="block")
    assert (blocked["job_id"], blocked["level"]) == (job_id, "warning")
    assert blocked["at"].startswith(f"{blocking_app.__file__}:")
    assert blocked["at"].endswith(" in block")
    with ThreadPoolExecutor(1) as waiting:
        ready = waiting.submit(server.http.get, "/readyz")
        pipe.write_text("done")
        assert ready.result().status_code == 200
    assert server.until(job_id)["result"] == "done"
    assert server.event("event_loop_free", type="block")["job_id"] == job_id
    assert [name for name in OTHERS if server.events(name)] == []
    lines = server.http.get("/metrics").text.splitlines()
    assert sum(float(line.split()[1]) for line in lines if line.startswith("queuey_event_loop_blocked_seconds_t")) > 0


def test_a_sync_client_works_in_a_thread_of_the_server_and_not_in_its_loop(serve: Serve) -> None:
    server = serve(app=blocking_app.PATH)
    refused = server.until(server.submit("call.async", server.url))
    assert refused["status"] == "dead_letter"
    assert refused["errors"][0]["message"] == f"RuntimeError: {IN_SERVER}"
    assert server.http.get("/v1/jobs", params={"type": "noop"}).json()["jobs"] == []
    enqueued = server.until(server.submit("call.thread", server.url))["result"]
    assert server.until(enqueued)["status"] == "succeeded"
