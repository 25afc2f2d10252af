"""Many clients and one connection to the store: they share it, and each gets its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from queuey.store.broker.broker import Broker
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards
from tests.support.http import ApiRig, api_over
from tests.support.store import Rig, Server, client_for

CLIENTS = 500


@pytest.fixture
async def api(rig: Rig, server: Server) -> AsyncIterator[ApiRig]:
    client = client_for(server.url)
    async with api_over(Broker(Shards(client, 1), Scripts()), request_deadline=20.0) as api:
        yield api
    await client.aclose()


@pytest.mark.serial
async def test_five_hundred_clients_share_one_connection(rig: Rig, api: ApiRig) -> None:
    before = await opened(rig)
    answers = await asyncio.gather(*(whole_visit(api, number) for number in range(CLIENTS)))
    assert answers == list(range(CLIENTS))
    assert await opened(rig) - before == 1
    assert (await rig.row())["default"] == CLIENTS


async def whole_visit(api: ApiRig, number: int) -> object:
    """Submit a job and look at it. Returns the payload."""
    job_id = await api.submit(payload=number)
    job = await api.job(job_id)
    assert job["id"] == job_id
    return job["payload"]


async def opened(rig: Rig) -> int:
    """Connections that the store has ever taken: one that is opened anew for each call shows here."""
    return int((await rig.client.info("stats"))["total_connections_received"])
