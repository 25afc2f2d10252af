"""A store that is started again with other settings, under a server that runs: /readyz reports what they are now."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import Serve
from tests.support.serving import eventually
from tests.support.store import Server, valkey_binary
from tests.support.working import kill


@pytest.fixture
def store() -> Iterator[Server]:
    server = Server(valkey_binary(), "--appendonly", "yes", "--appendfsync", "always", "--maxmemory", "100mb")
    yield server
    server.stop()


def start_again(store: Server, command: Any) -> None:
    kill(store)
    store.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_durability_and_policy_are_looked_up_again(store: Server, serve: Serve) -> None:
    server = serve("--redis", store.url)
    body: dict[str, str] = server.http.get("/readyz").json()
    assert body == {"status": "ready", "redis": "up", "durability": "verified"}

    def is_now(durability: str, note: str) -> bool:
        body.clear()
        body.update(server.http.get("/readyz").json())
        return body["durability"] == durability and note in body.get("note", "")

    command: Any = store.process.args
    start_again(store, [*command, "--appendonly", "no", "--maxmemory-policy", "allkeys-lru"])
    eventually(lambda: is_now("memory only", "maxmemory-policy is allkeys-lru"), lambda: str(body))
    assert body["status"] == "ready", "the jobs that it has are served"
    assert "allkeys-lru" in server.event("store_unfit")["error"]
    assert "append-only" in server.event("store_warning")["warning"]

    start_again(store, command)
    eventually(lambda: is_now("verified", ""), lambda: str(body))
    assert "note" not in body
