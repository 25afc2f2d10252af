"""Suspects and pull workers: what a worker holds is judged by the store, whichever replica it asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from queuey.store.asides import SUSPECTS
from queuey.store.broker.broker import Broker
from queuey.store.shards import Shards
from tests.support.http import ApiRig, api_over, problem
from tests.support.scripts.asides import add_types, aside
from tests.support.store import Rig
from tests.support.stores import one_of
from tests.support.working import FaultyScripts

shards = one_of(1)


@pytest.fixture
async def api(rig: Rig) -> AsyncIterator[ApiRig]:
    await rig.open_gate()
    await rig.client.sadd(rig.keys.queues, "default")
    async with replica(rig) as api:
        yield api


def replica(rig: Rig) -> Any:
    return api_over(Broker(Shards(rig.broker.shards.client, rig.broker.shards.count), FaultyScripts()), woken=True)


async def lease(api: ApiRig, **asked: Any) -> list[dict[str, Any]]:
    response = await api.http.post("/v1/leases", json={"worker": "w", "max": 9} | asked)
    assert response.status_code == 200, response.text
    jobs: list[dict[str, Any]] = response.json()["jobs"]
    return jobs


async def crash(rig: Rig, *job_ids: str) -> None:
    """Let the leases of these jobs expire, and those that are to wait for their time come due."""
    await rig.client.zadd(rig.keys.leases("default"), dict.fromkeys(job_ids, 1))
    await rig.broker.maintenance.reap(rig.shard, 100, [0])
    await rig.broker.maintenance.promote(rig.shard, 100)


async def suspects(rig: Rig, api: ApiRig, count: int = 1) -> list[str]:
    job_ids = await add_types(rig, "t" * count, now=0)
    for _ in range(2):
        assert len(await lease(api, worker="before", isolates=0)) == count
        await crash(rig, *job_ids)
    return await aside(rig, SUSPECTS)


def ids(jobs: list[dict[str, Any]]) -> list[str]:
    return [job["id"] for job in jobs]


async def test_a_worker_gets_as_many_suspects_as_it_can_isolate(rig: Rig, api: ApiRig) -> None:
    waiting = await suspects(rig, api, 3)
    assert await lease(api, isolates=0) == []
    (fresh,) = await add_types(rig, "t", now=0)
    jobs = await lease(api, isolates=2)
    assert ids(jobs) == [*waiting[:2], fresh]
    assert [job.get("crashes", 0) for job in jobs] == [2, 2, 0]
    assert {(await rig.state(job_id))["A"] for job_id in waiting[:2]} == {"c"}


async def test_a_worker_behind_two_replicas_holds_one_suspect_and_nothing_beside(rig: Rig, api: ApiRig) -> None:
    waiting = await suspects(rig, api, 2)
    async with replica(rig) as other:
        assert ids(await lease(api)) == waiting[:1]
        fresh = await add_types(rig, "tt", now=0)
        for turn in range(6):
            assert await lease((other, api)[turn % 2]) == []
        await api.http.post("/v1/leases/complete", json=await held(rig, waiting[0]))
        assert ids(await lease(other)) == waiting[1:], "no replica remembers the first one"
        assert await lease(api) == []
        await other.http.post("/v1/leases/complete", json=await held(rig, waiting[1]))
        assert ids(await lease(api)) == fresh


async def test_a_worker_that_holds_a_job_of_another_replica_gets_no_suspect(rig: Rig, api: ApiRig) -> None:
    (busy,) = await add_types(rig, "t", now=0)
    assert ids(await lease(api)) == [busy]
    waiting = await suspects(rig, api)
    async with replica(rig) as other:
        assert await lease(other) == []
        await api.http.post("/v1/leases/complete", json=await held(rig, busy))
        assert ids(await lease(other)) == waiting


async def held(rig: Rig, job_id: str) -> dict[str, str]:
    state = await rig.state(job_id)
    return {"id": job_id, "token": f"{state['n']}.{state['h']}"}


@pytest.mark.parametrize("isolates", [-1, 17, 1.5, "2"])
async def test_a_number_that_is_none(api: ApiRig, isolates: Any) -> None:
    response = await api.http.post("/v1/leases", json={"isolates": isolates})
    assert problem(response, 422, "invalid")["errors"][0]["pointer"] == "/isolates"
    assert "from 0 to 16" in response.text
