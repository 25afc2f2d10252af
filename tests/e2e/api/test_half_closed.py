"""Clients that send their requests and close their sending side, as `nc -N` does, against a real server."""

from __future__ import annotations

import json
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.serving import PATIENCE, Serving

ROUNDS: Final = 40


@pytest.fixture(scope="module", params=["yes", "no"])
def server(request: pytest.FixtureRequest) -> Iterator[Serving]:
    """With the direct path, and without it."""
    with tempfile.TemporaryDirectory(prefix="queuey-") as folder:
        server = Serving(Path(folder, "data"), f"--direct={request.param}")
        yield server
        server.close()


def exchange(server: Serving, data: bytes) -> bytes:
    """Send it, close the sending side, and read to the end."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        while part := client.recv(65_536):
            received += part
    return received


def request(method: str, path: str, body: object = None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n"
    if content:
        head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


def enqueue(payload: object = None, queue: str = "half-closed") -> bytes:
    return request("POST", "/v1/jobs", {"type": "echo", "queue": queue, "payload": payload})


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", received)]


def lease(server: Serving, queue: str, **fields: Any) -> list[dict[str, Any]]:
    reply = server.http.post("/v1/leases", json={"queues": [queue], **fields}, timeout=PATIENCE)
    assert reply.status_code == 200, reply.text
    return list(reply.json()["jobs"])


def test_every_request_that_came_whole_is_answered(server: Serving) -> None:
    for number in range(ROUNDS):
        one = exchange(server, enqueue(number))
        assert statuses(one) == [200]
        job_id = one.rpartition(b'{"job_id":"')[2][:28].decode()
        assert server.job(job_id)["payload"] == number
        many = enqueue(number) * 3 + request("GET", f"/v1/jobs/{job_id}") + request("GET", "/nowhere") + enqueue("last")
        assert statuses(exchange(server, many)) == [200, 200, 200, 200, 404, 200]


@pytest.mark.parametrize("part", [enqueue()[:-1], enqueue()[:30], b"\r\n"])
def test_one_that_came_in_part_is_not(server: Serving, part: bytes) -> None:
    for _ in range(ROUNDS):
        assert exchange(server, part) == b""
        assert statuses(exchange(server, enqueue() + part)) == [200]


def test_a_large_reply_comes_whole(server: Serving) -> None:
    job_id = server.submit("echo", "x" * 200_000, queue="half-closed")
    ask = request("GET", f"/v1/jobs/{job_id}")
    for _ in range(ROUNDS):
        received = exchange(server, ask * 5)
        assert statuses(received) == [200] * 5
        assert received.count(b'"payload":"' + b"x" * 200_000 + b'"') == 5


def test_a_worker_that_may_have_died_gets_no_job_and_costs_none(server: Serving) -> None:
    """Its jobs are released: no attempt is spent, and no lease has to expire."""
    queue = "half-closed-worker"
    poll = request("POST", "/v1/leases", {"queues": [queue], "wait": 20, "lease": 3600})
    for _ in range(ROUNDS):
        assert exchange(server, poll) == b""
        job_id = server.submit("echo", queue=queue)
        received = exchange(server, poll)
        if received:  # the reply was faster than the end of what the client sends
            (job,) = json.loads(received.partition(b"\r\n\r\n")[2])["jobs"]
        else:
            (job,) = lease(server, queue, wait=PATIENCE)
        assert (job["id"], job["attempt"], job.get("crashes", 0)) == (job_id, 1, 0)
        done = server.http.post("/v1/leases/complete", json={"id": job_id, "token": job["token"]})
        assert done.json()["status"] == "ok"


@pytest.mark.parametrize("path", ["/v1/jobs/{id}?wait=60", "/v1/jobs/{id}/events", "/v1/events"])
def test_who_waits_for_long_is_let_go(server: Serving, path: str) -> None:
    job_id = server.submit("echo", queue="half-closed")
    for _ in range(ROUNDS):
        assert b'"finished_at":"' not in exchange(server, request("GET", path.replace("{id}", job_id)))
