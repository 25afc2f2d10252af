"""Requests whose worker gets nothing for now: they wait for no marker, which would go back to the store at once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from queuey.services.leases import leasing
from queuey.store.broker.broker import Broker
from queuey.store.shards import Shards
from tests.support.http import ApiRig, api_over
from tests.support.pull.poller import Poller
from tests.support.scripts.asides import add_types
from tests.support.store import Rig
from tests.support.stores import one_of
from tests.support.working import PATIENCE, QUICKLY, FaultyScripts, eventually

shards = one_of(1)


@pytest.fixture
def faulty() -> FaultyScripts:
    return FaultyScripts()


@pytest.fixture
async def api(rig: Rig, faulty: FaultyScripts) -> AsyncIterator[ApiRig]:
    await rig.client.sadd(rig.keys.queues, "default")
    async with api_over(Broker(Shards(rig.client, 1), faulty), woken=True) as api:
        yield api


async def lease(api: ApiRig, **asked: object) -> list[str]:
    response = await api.http.post("/v1/leases", json=asked)
    return [job["id"] for job in response.json()["jobs"]]


async def waits_for_no_queue(api: ApiRig) -> bool:
    polls = api.pulling.leasing.polls
    assert list(polls.queues) == []
    return polls.count == 1


async def test_while_the_worker_runs_a_suspect_by_itself(
    rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leasing, "REST_SECONDS", QUICKLY / 2)
    suspect = await rig.crashed(crashes=2)
    await rig.open_gate()
    assert await lease(api, worker="w", wait=QUICKLY) == [suspect]
    (fresh,) = await add_types(rig, "t", now=0)
    poller = Poller(api, worker="w")
    await eventually(lambda: waits_for_no_queue(api))
    assert await rig.marked(), "others are woken for the job"
    state = await rig.state(suspect)
    done = {"id": suspect, "token": f"{state['n']}.{state['h']}"}
    await api.http.post("/v1/leases/complete", json=done)
    assert await poller.jobs(within=PATIENCE) == [fresh]


async def test_while_the_worker_has_no_room(rig: Rig, api: ApiRig, faulty: FaultyScripts) -> None:
    await rig.open_gate()
    (job_id,) = await add_types(rig, "a", now=0)
    poller = Poller(api, types=["a"], room=[{"jobs": 0, "types": ["a"]}])
    await eventually(lambda: waits_for_no_queue(api))
    assert [name for name, _ in faulty.calls if name.startswith("claim")] == ["claim"]
    assert await lease(api, types=["a"]) == [job_id]
    poller.hang_up()
    await poller.ended()
