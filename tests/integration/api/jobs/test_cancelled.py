"""Clients that hang up at any moment: no reply goes to another, and the connection to the store stays in step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest

from queuey.protocol import ids
from queuey.store.broker.broker import Broker
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards
from tests.support.http import ApiRig, api_over
from tests.support.store import Rig, Server, client_for

KNOWN = 40
REQUESTS = 400
TURNS = (6, 6, 6, 30)
"""Turns of the event loop after which a doomed request is cancelled, at most. Most come early, when hardly one has
ended: so no clock decides whether many were still under way."""


@pytest.fixture
def shards() -> int:
    return 2


@pytest.fixture
async def api(rig: Rig, server: Server) -> AsyncIterator[ApiRig]:
    client = client_for(server.url)
    async with api_over(Broker(Shards(client, 2), Scripts()), request_deadline=20.0) as api:
        yield api
    await client.aclose()


class Storm:
    """Requests of every kind, of which each checks that what it gets is its own; about half are cancelled."""

    def __init__(self, api: ApiRig, known: list[str], seed: int) -> None:
        self._api = api
        self._known = known
        self._random = Random(seed)
        self.answered = 0
        self.cancelled = 0

    async def run(self) -> None:
        doomed = set(self._random.sample(range(REQUESTS), REQUESTS // 2))
        tasks = []
        for number in range(REQUESTS):
            task = asyncio.create_task(self._request(number))
            tasks.append(task)
            for _ in range(self._random.randrange(1, self._random.choice(TURNS)) if number in doomed else 0):
                await asyncio.sleep(0)
            if number in doomed:
                task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, asyncio.CancelledError):
                self.cancelled += 1
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                self.answered += 1

    async def _request(self, number: int) -> None:
        match self._random.randrange(4):
            case 0:
                job_id = ids.new_id()
                assert await self._api.submit(id=job_id, payload=number) == job_id
            case 1:
                key = number % len(self._known)
                assert await self._api.submit(dedupe_key=f"known{key}") == self._known[key]
            case 2:
                job_id = self._random.choice(self._known)
                job = await self._api.job(job_id)
                assert (job["id"], job["payload"]) == (job_id, f"payload of {self._known.index(job_id)}")
            case _:
                job_id = ids.new_id()
                response = await self._api.http.post(f"/v1/jobs/{job_id}/cancel")
                assert response.status_code == 404
                assert job_id in response.text


@pytest.mark.parametrize("seed", range(3))
async def test_no_reply_goes_to_another(rig: Rig, api: ApiRig, seed: int) -> None:
    known = [await api.submit(payload=f"payload of {n}", dedupe_key=f"known{n}") for n in range(KNOWN)]
    before = await connections(rig)
    storm = Storm(api, known, seed)
    await storm.run()
    assert storm.cancelled > REQUESTS / 10
    assert storm.answered > REQUESTS / 4
    await the_connection_is_in_step(api)
    assert await connections(rig) == before
    for number, job_id in enumerate(known):
        assert (await api.job(job_id))["payload"] == f"payload of {number}"


async def the_connection_is_in_step(api: ApiRig) -> None:
    """It was neither given up for a request that was cancelled, nor holds the reply to one."""
    link = api.broker.shards.client.link
    answers = await asyncio.gather(*(link.call("ECHO", f"call {number}") for number in range(10)))
    assert answers == [f"call {number}".encode() for number in range(10)]


async def connections(rig: Rig) -> int:
    """That the store has ever taken."""
    return int((await rig.client.info("stats"))["total_connections_received"])
