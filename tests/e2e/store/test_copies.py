"""`--wait-replicas`: what was acknowledged is there when a replica has taken the store's place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Serve
from tests.support.replicated import Pair
from tests.support.serving import eventually
from tests.support.store import valkey_binary


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair(valkey_binary())
    yield pair
    pair.stop()


def test_what_was_acknowledged_survives_a_failover(serve: Serve, pair: Pair, folder: Path) -> None:
    store = folder / "store"  # whichever it is now
    store.symlink_to(pair.first.socket)
    soon = ("--store-timeout", "400ms", "--request-deadline", "500ms")
    server = serve("--redis", f"unix://{store}", "--wait-replicas", "1", "--roles", "api", *soon)
    acknowledged = [server.submit("echo", number) for number in range(50)]
    pair.part()
    for number in range(3):
        reply = server.http.post("/v1/jobs", json={"type": "echo", "payload": number})
        assert (reply.status_code, reply.json()["type"]) == (503, "urn:queuey:problem:outcome-unknown"), reply.text
    assert server.http.get("/v1/queues/metrics").status_code == 200  # what only reads waits for no replica
    pair.fail_over()
    store.unlink()
    store.symlink_to(pair.second.socket)
    eventually(lambda: server.http.get("/readyz").status_code == 200, lambda: server.http.get("/readyz").text)
    for job_id in acknowledged:
        assert server.job(job_id)["status"] == "queued"


def test_a_store_without_replicas_is_warned_of(serve: Serve) -> None:
    server = serve("--wait-replicas", "2", "--request-deadline", "1s")
    (warning,) = (event["warning"] for event in server.events("store_warning"))
    assert warning.startswith("the store has 0 replicas up to date, and --wait-replicas asks for 2")
    assert server.http.post("/v1/jobs", json={"type": "echo"}).status_code == 503
