"""The direct path over a real connection and a real store: it is taken, and answers as ASGI does."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator

import pytest

from queuey.store.broker.broker import Broker
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards
from tests.support.direct.both_ways import BothWays, Records, both_ways
from tests.support.direct.stub import request
from tests.support.http import ApiRig, api_over
from tests.support.store import Server, client_for
from tests.support.stores import StartServer


async def test_the_requests_of_these_suites_take_the_path(both_ways: Records, api: ApiRig) -> None:
    """It is the fixture of the suites in this folder that is tested here."""
    for payload in range(3):
        await api.submit(payload=payload)
    await api.submit(dedupe_key="k")
    await api.http.post("/v1/jobs", json={"type": "a b"})
    assert both_ways.compared == 5
    assert both_ways.hits == 3 + 3, "the first has another head than the others, as do the last two"


@pytest.fixture
async def both(start_server: StartServer) -> AsyncIterator[tuple[BothWays, Server]]:
    """Two servers on a store of their own that may be stopped."""
    store = start_server()
    client = client_for(store.url)
    async with (
        api_over(Broker(Shards(client), Scripts()), request_deadline=0.3, store_timeout=0.2) as model,
        both_ways(model, store.url, "twin") as both,
    ):
        yield both, store
    await client.aclose()


async def test_a_store_that_is_silent_or_gone(both: tuple[BothWays, Server]) -> None:
    ways, store = both
    await ways.compare(request(), may_hit=True)
    for name, send, code in (
        ("silent", signal.SIGSTOP, "outcome-unknown"),
        ("back", signal.SIGCONT, ""),
        ("gone", signal.SIGKILL, "store-unavailable"),
    ):
        os.kill(store.process.pid, send)
        if send == signal.SIGKILL:
            store.process.wait()
        hits = ways.direct.hits
        reply = await ways.direct.exchange(request())
        other = await ways.plain.exchange(request())
        assert reply == other, name
        assert ways.direct.hits == hits + 1
        assert json.loads(reply.body).get("type", "").rpartition(":")[2] == code
