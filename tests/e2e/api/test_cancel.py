"""Cancelling over HTTP, in every state that a job can be in."""

from __future__ import annotations

import pytest

from tests.support.gate import Gate
from tests.support.serving import Serving


@pytest.mark.parametrize("fields", [{"queue": "nobody-serves"}, {"delay": 3600}], ids=["queued", "scheduled"])
def test_a_job_that_waits_is_cancelled_at_once_and_for_ever(server: Serving, fields: dict[str, object]) -> None:
    job_id = server.submit("echo", 1, **fields)
    for _ in range(2):
        reply = server.cancel(job_id)
        assert (reply.status_code, reply.json()) == (200, {"job_id": job_id, "status": "cancelled"})
    job = server.job(job_id)
    assert (job["status"], job["started_at"], job["result"]) == ("cancelled", None, None)
    assert job["finished_at"] is not None


@pytest.mark.parametrize("job_type", ["gate.loop", "gate.process"])
async def test_a_job_that_runs_is_stopped(server: Serving, gate: Gate, job_type: str) -> None:
    job_id = server.submit(job_type, gate.path)
    visitor = await gate.visitor()
    assert server.cancel(job_id).json() == {"job_id": job_id, "status": "cancelling"}
    await visitor.gone()
    job = server.until(job_id)
    assert (job["status"], job["result"], job["errors"][0]["kind"]) == ("cancelled", None, "cancelled")
    assert server.cancel(job_id).json()["status"] == "cancelled"


async def test_a_thread_is_not_stopped_but_its_result_is_dropped(server: Serving, gate: Gate) -> None:
    job_id = server.submit("gate.thread", gate.path)
    visitor = await gate.visitor()
    assert server.cancel(job_id).json()["status"] == "cancelling"
    assert server.until(job_id)["status"] == "cancelled"
    visitor.let_go("too late")
    await visitor.gone()
    assert server.job(job_id)["result"] is None


def test_a_job_that_has_ended_is_not_cancelled(server: Serving) -> None:
    for job_id in (server.submit("echo", 1), server.submit("dead", "")):
        before = server.until(job_id)
        reply = server.cancel(job_id)
        assert (reply.status_code, reply.json()["type"]) == (409, "urn:queuey:problem:wrong-state")
        assert server.job(job_id) == before


@pytest.mark.parametrize("job_id", ["W201M8MB82VDY52DBHZ763SXY29E", "no-id", "x" * 28, "%00"])
def test_an_unknown_job_is_not_found(server: Serving, job_id: str) -> None:
    assert server.cancel(job_id).status_code == 404
    assert server.http.get(f"/v1/jobs/{job_id}").status_code == 404
