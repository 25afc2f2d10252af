"""Waiting for jobs at real servers: across replicas, and while one stops."""

from __future__ import annotations

import asyncio
import json
import socket

import httpx

from queuey.lifecycle import end_tasks
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


async def test_a_job_is_followed_to_its_end_by_way_of_any_replica(serve: Serve, gate: Gate) -> None:
    server = serve("--processes", "2")
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as http:
        job_id = server.submit("gate.loop", gate.path)
        visitor = await gate.visitor()
        seen = []
        async with http.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    seen.append(json.loads(line.removeprefix("data: "))["status"])
                    if seen == ["running"]:
                        visitor.let_go("finished")
    assert seen == ["running", "succeeded"]


async def test_what_any_replica_does_is_told_at_every_other(serve: Serve) -> None:
    """Each has to hear first that somebody follows, so jobs are sent until both have told of one."""
    server = serve("--processes", "2")
    sending = asyncio.create_task(send_for_ever(server.url))
    replicas = set()
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as http,
        http.stream("GET", "/v1/events?status=succeeded") as stream,
    ):
        async for line in stream.aiter_lines():
            if line.startswith("data: "):
                job_id = json.loads(line.removeprefix("data: "))["job_id"]
                replicas.add((await http.get(f"/v1/jobs/{job_id}")).json()["worker"])
            if len(replicas) == 2:
                break
    await end_tasks([sending])


async def send_for_ever(url: str) -> None:
    """One job after the other, each on a connection of its own, so that they come to every replica."""
    while True:
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as http:
            await http.post("/v1/jobs", json={"type": "echo"})


async def test_a_reader_that_does_not_read_is_let_go(serve: Serve) -> None:
    server = serve("--reply-timeout", "1s")
    host, port = server.url.removeprefix("http://").split(":")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((host, int(port)))
        slow.sendall(f"GET /v1/events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as http:
            batch = [{"type": "echo", "payload": number} for number in range(500)]
            while not server.events("connections_closed"):
                await http.post("/v1/jobs/batch", json=batch)
    assert server.events("connections_closed")[0]["slow"] == 1
