"""A real server on a store that is too small: new jobs are refused, those that are there run, and it recovers alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Serve
from tests.support.gate import Gate
from tests.support.serving import Serving, eventually
from tests.support.store import Server, valkey_binary

MAXMEMORY = 8_000_000
PAYLOAD = "x" * 50_000
ENOUGH = 2 * MAXMEMORY // len(PAYLOAD)


@pytest.fixture
def store() -> Iterator[Server]:
    durable = ("--appendonly", "yes", "--appendfsync", "always")
    server = Server(valkey_binary(), *durable, "--maxmemory", str(MAXMEMORY), "--maxmemory-policy", "noeviction")
    yield server
    server.stop()


def takes_jobs(server: Serving) -> bool:
    reply = server.http.post("/v1/jobs", json={"type": "echo", "payload": PAYLOAD, "retention": 0})
    if reply.status_code == 429:
        assert reply.json()["type"] == "urn:queuey:problem:full"
        assert int(reply.headers["retry-after"]) >= 1
        return False
    assert reply.status_code == 200, reply.text
    return True


async def test_a_full_store_refuses_new_jobs_until_the_old_ones_have_run_and_gone(
    store: Server, serve: Serve, gate: Gate
) -> None:
    server = serve("--redis", store.url, "--concurrency", "1", "--trim-interval", "100ms")
    held = server.submit("gate.loop", gate.path)
    visitor = await gate.visitor()
    taken = 0
    while takes_jobs(server):
        taken += 1
        assert taken < ENOUGH
    server.event("store_full")
    assert server.job(held)["status"] == "running"
    assert server.http.get("/readyz").status_code == 200
    assert not takes_jobs(server)
    visitor.let_go("finished in a full store")
    eventually(lambda: takes_jobs(server))
    assert server.until(held)["result"] == "finished in a full store"
    assert server.event("store_has_room")
    assert server.events("outcome_not_stored") == server.events("job_failed") == []
