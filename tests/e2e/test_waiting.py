"""Waiting for jobs at real servers: across replicas, and while one stops."""

from __future__ import annotations

import asyncio

import httpx

from tests.e2e.conftest import Serve
from tests.support.gate import Gate
from tests.support.serving import PATIENCE, Serving


def test_a_job_is_submitted_run_and_answered_in_one_request(server: Serving) -> None:
    response = server.http.post("/v1/jobs?wait=20", json={"type": "echo", "payload": [1]}, timeout=PATIENCE)
    assert response.status_code == 200, response.text
    assert response.json()["status"] == "succeeded"


async def test_every_replica_answers_those_who_wait(serve: Serve) -> None:
    server = serve("--processes", "2")
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as http:
        jobs = [http.post("/v1/jobs?wait=20", json={"type": "echo", "payload": number}) for number in range(40)]
        answers = [answer.json() for answer in await asyncio.gather(*jobs)]
    assert {job["status"] for job in answers} == {"succeeded"}


async def test_a_server_that_stops_answers_at_once(serve: Serve, gate: Gate) -> None:
    server = serve()
    job_id = server.submit("gate.loop", gate.path)
    visitor = await gate.visitor()
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as http:
        waiting = asyncio.create_task(http.get(f"/v1/jobs/{job_id}?wait=60"))
        server.terminate()
        job = (await waiting).json()
    assert job["status"] == "running"
    assert server.process.poll() is None
    visitor.let_go("finished")
    assert server.wait() == 0
