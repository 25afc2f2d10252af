"""A deploy that brings a new type: a job that was sent before begins when the first replica that knows it is ready."""

from __future__ import annotations

from tests.e2e.conftest import Serve
from tests.support.gate import Gate


async def test_a_job_sent_before_the_first_replica_knows_its_type_costs_no_attempt(serve: Serve, gate: Gate) -> None:
    older = serve(app=None)
    job_id = older.submit("gate.loop", gate.path)
    assert older.event("types_unknown")["types"] == ["gate.loop"]
    assert older.until(job_id, "queued")["attempts"] == 0
    newer = serve()
    visitor = await gate.visitor()
    assert visitor.pid == newer.process.pid
    visitor.let_go("done")
    job = older.until(job_id)
    assert (job["status"], job["result"], job["attempts"], job["errors"]) == ("succeeded", "done", 0, [])
    assert len(older.events("types_unknown")) == 1
