"""SIGTERM while jobs run outside of the event loop, or wait for a process to run in."""

from __future__ import annotations

from tests.e2e.conftest import Serve
from tests.support.gate import Gate
from tests.support.store_users import alive


async def test_jobs_in_a_thread_and_in_a_process_may_finish(serve: Serve, gate: Gate) -> None:
    server = serve()
    jobs = [server.submit(job_type, gate.path) for job_type in ("gate.thread", "gate.process")]
    visitors = [await gate.visitor() for _ in jobs]
    server.terminate()
    server.event("draining", running=2)
    for visitor in visitors:
        visitor.let_go("finished")
    assert server.wait() == 0
    assert server.events("releasing") == []
    other = serve("--roles", "api")
    for job_id in jobs:
        job = other.job(job_id)
        assert (job["status"], job["result"], job["attempts"], job["crashes"]) == ("succeeded", "finished", 0, 0)


async def test_a_job_that_waits_for_a_process_is_run_by_another(serve: Serve, gate: Gate) -> None:
    server = serve("--process-slots", "1", "--drain-timeout", "0s")
    jobs = [server.submit("gate.process", gate.path) for _ in range(2)]
    child = await gate.visitor()
    server.until(jobs[0], "running")
    assert server.job(jobs[1])["status"] == "queued", "it is claimed only when it can begin"
    server.terminate()
    assert server.wait() == 0
    assert server.events("releasing", jobs=1)
    assert not alive(child.pid)
    other = serve("--process-slots", "1")
    for _ in jobs:
        (await gate.visitor()).let_go("by another")
    for job_id in jobs:
        job = other.until(job_id)
        assert (job["result"], job["attempts"], job["crashes"], job["errors"]) == ("by another", 0, 0, [])
