"""The API while the store is away: killed, or silent. Every route answers, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

import httpx
import pytest

from queuey.api.http.endpoints import Endpoint
from queuey.protocol import ids
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards
from tests.support import routes
from tests.support.http import ApiRig, api_over, problem
from tests.support.routes import DOCUMENTATION, LOGINS, body_for, path_for
from tests.support.store import Server, client_for
from tests.support.stores import StartServer

GIVE_UP: Final = 30.0
"""Seconds. A silent store never answers, so a wait for it without a bound is caught by this. How long each bound is,
tests/unit/store/test_deadline.py and test_batching.py measure in virtual time, where a busy machine does not matter."""
HELD: Final = ids.new_id().encode()
TOLD: Final = b'{"jobs":[{"id":"%s","token":"1.c"}]}' % HELD
BODIES: Final = {
    "/v1/jobs": b'{"type":"t"}',
    "/v1/jobs/batch": b'[{"type":"t"},{"type":"t"}]',
    "/v1/leases": b"{}",
    "/v1/leases/complete": TOLD,
    "/v1/leases/fail": b'{"id":"%s","token":"1.c","error":"e"}' % HELD,
    "/v1/leases/extend": TOLD,
    "/v1/leases/release": TOLD,
    "/v1/leases/checkpoint": b'{"id":"%s","token":"1.c","checkpoint":1}' % HELD,
    "/v1/leases/log": b'{"id":"%s","token":"1.c","lines":[{"text":"t"}]}' % HELD,
    **{path: json.dumps(body).encode() for path, body in routes.BODIES.items()},
}
DEV: Final = {"x-api-key": "dev", "content-type": "application/json"}


@pytest.fixture
def store(start_server: StartServer) -> Server:
    return start_server()


@pytest.fixture
async def api(store: Server) -> AsyncIterator[ApiRig]:
    """With the timeouts of the defaults."""
    client = client_for(store.url, timeout=Settings().store_timeout)
    async with api_over(Broker(Shards(client, 2), Scripts())) as api:
        await api.submit()
        yield api
    await client.aclose()


@contextmanager
def silent(store: Server) -> Iterator[None]:
    """The store takes connections and calls meanwhile, and answers none."""
    os.kill(store.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(store.process.pid, signal.SIGCONT)


async def asked(api: ApiRig, endpoint: Endpoint) -> httpx.Response:
    path = path_for(endpoint, ids.new_id())
    return await api.http.request(endpoint.method, path, content=body_for(endpoint, BODIES), headers=DEV)


STORELESS = (*DOCUMENTATION, "/metrics", "/v1/schedules/preview", "/v1/me")
"""Routes that answer as ever, with what this process knows."""


class Wave:
    """Every route at once, several times over."""

    def __init__(self, api: ApiRig) -> None:
        self._endpoints = [endpoint for endpoint in api.app.endpoints if endpoint.path not in LOGINS] * 4
        self.tasks = [asyncio.create_task(asked(api, endpoint)) for endpoint in self._endpoints]

    async def check(self) -> None:
        """All are answered, with what there is to say about a store that is away."""
        async with asyncio.timeout(GIVE_UP):
            answers = await asyncio.gather(*self.tasks)
        for endpoint, response in zip(self._endpoints, answers, strict=True):
            if endpoint.path == "/healthz":
                assert (response.status_code, response.json()) == (200, {"status": "ok", "redis": "down"})
                continue
            if endpoint.path in STORELESS:
                assert response.status_code == 200
                continue
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) >= 1
            if endpoint.path == "/readyz":
                assert response.json()["redis"] == "down"
            else:
                code = response.json()["type"].rpartition(":")[2]
                assert code in ("store-unavailable", "outcome-unknown")
                told = "job_ids" in problem(response, 503, code)
                assert told == (code == "outcome-unknown" and "{name}" not in endpoint.path), "a queue's jobs are many"


def forget_answers(broker: Broker) -> None:
    """As if a second had passed since the store answered last."""
    broker._caller.answered_at[:] = [-math.inf] * broker.shards.count


async def test_a_dead_store_is_told(api: ApiRig, store: Server) -> None:
    store.process.kill()
    store.process.wait()
    forget_answers(api.broker)
    await Wave(api).check()


async def test_a_silent_store_is_told_and_forgets_nothing(api: ApiRig, store: Server) -> None:
    with silent(store):
        forget_answers(api.broker)
        first = Wave(api)
        await asyncio.wait(first.tasks, return_when=asyncio.FIRST_COMPLETED)
        await Wave(api).check()  # those that find others waiting are answered too
        await first.check()
    await api.producer.drain()
    job_id = await api.submit(queue="after")  # the store may run a claim of the waves only now, which takes from theirs
    assert (await api.job(job_id))["status"] == "queued"
    assert (await api.http.get("/readyz")).status_code == 200


async def test_a_store_that_comes_back_in_time_goes_unnoticed(api: ApiRig, store: Server) -> None:
    forget_answers(api.broker)
    job_id = ids.new_id()
    with silent(store):
        submit = asyncio.create_task(api.submit(id=job_id))
        others = asyncio.gather(
            api.http.get("/v1/queues/metrics"),
            api.http.post("/v1/replay-dlq", headers=DEV),
        )
        unanswered = api.http.get("/healthz")  # by the time it says that the store is down, the others were sent again
        assert (await unanswered).json()["redis"] == "down"
    submitted = await submit
    metrics, replayed = await others
    assert submitted == job_id
    assert (metrics.status_code, replayed.status_code) == (200, 200)
    assert (await api.job(job_id))["status"] == "queued"


async def test_an_unknown_outcome_can_be_looked_up(api: ApiRig, store: Server) -> None:
    with silent(store):
        response = await api.http.post("/v1/jobs", json={"type": "t"})
    (job_id,) = problem(response, 503, "outcome-unknown")["job_ids"]
    await api.producer.drain()
    assert await api.submit(id=job_id) == job_id


# --- health --------------------------------------------------------------------------------------------------------


async def test_a_process_that_drains_is_alive_and_not_ready(api: ApiRig) -> None:
    ready = await api.http.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "redis": "up", "durability": "verified"})
    api.health.draining = True
    ready = await api.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "draining")
    assert (await api.http.get("/healthz")).json() == {"status": "ok", "redis": "up"}
    assert await api.submit()


async def test_many_who_ask_at_once_cost_one_probe(api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    probes = []
    ask = api.broker.ask

    async def counted(shard: int) -> None:
        probes.append(shard)
        await ask(shard)

    monkeypatch.setattr(api.broker, "ask", counted)
    forget_answers(api.broker)
    await asyncio.gather(*(api.http.get("/healthz") for _ in range(50)))
    assert probes == [0, 1]
