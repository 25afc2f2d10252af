"""A request enqueues a job, and the job runs. No server is needed: `Testing` keeps the jobs in place of the client."""

from __future__ import annotations

import httpx

from examples.with_fastapi.handlers import Report, app
from examples.with_fastapi.web import queue_of, web
from queuey import Testing


async def test_an_order_becomes_a_report() -> None:
    async with Testing(app) as testing:
        web.dependency_overrides[queue_of] = lambda: testing
        try:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(web), base_url="http://web") as http:
                answer = await http.post("/reports", json={"customer": "Ada", "year": 2026})
        finally:
            web.dependency_overrides.clear()
        assert answer.status_code == 202
        assert [str(job.id) for job in testing.enqueued] == [answer.json()["id"]]
        (ran,) = await testing.run_all()
        assert ran.value(dict) == Report(title="Ada, 2026", pages=12).model_dump()
