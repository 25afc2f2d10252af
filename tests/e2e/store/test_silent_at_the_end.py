"""A store that answers nothing while a server ends: the log names the jobs whose outcomes it has not taken."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.e2e.conftest import Serve
from tests.e2e.workers import blocking_app
from tests.support.stores import StartServer


def test_jobs_whose_outcomes_are_not_stored_are_named(start_server: StartServer, serve: Serve, folder: Path) -> None:
    store, pipe = start_server(), folder / "pipe"
    os.mkfifo(pipe)
    server = serve("--redis", store.url, "--drain-timeout", "0s", "--blocked-after", "200ms", app=blocking_app.PATH)
    job_id = server.submit("block", str(pipe))
    server.event("event_loop_blocked", type="block")
    store.process.send_signal(signal.SIGSTOP)
    pipe.write_text("done")
    assert server.stop() == 0
    assert server.event("outcomes_not_stored")["job_ids"] == [job_id]
