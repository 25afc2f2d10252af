"""A store that fills up for real: new jobs are refused, what runs still ends, and what is trimmed makes room again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from queuey.services.maintenance.store_watch import StoreWatch
from queuey.services.maintenance.trimmer import Trimmer
from queuey.store.replies import Caps
from queuey.store.scripts import Scripts
from tests.support.http import ApiRig, problem
from tests.support.store import LEASE, Rig, client_for
from tests.support.stores import StartServer

MAXMEMORY = 12_000_000
"""So much that what the buffers of connections take, some 70 kB, is less than the share that the test asserts."""
PAYLOAD = "x" * 50_000
ENOUGH = 2 * MAXMEMORY // len(PAYLOAD)
"""Jobs of which a store with so little memory can hold only a part."""
RESULT = '"' + "y" * 20_000 + '"'


@pytest.fixture
async def rig(start_server: StartServer) -> AsyncIterator[Rig]:
    store = start_server("--maxmemory", str(MAXMEMORY), "--maxmemory-policy", "noeviction")
    client = client_for(store.url)
    yield Rig(client, 1, Scripts())
    await client.aclose()


async def fill(api: ApiRig, watch: StoreWatch | None) -> list[str]:
    """Submit until the first refusal. Returns what was taken."""
    taken: list[str] = []
    while len(taken) < ENOUGH:
        response = await api.http.post("/v1/jobs", json={"type": "t", "payload": PAYLOAD, "retention": 0})
        if response.status_code != 200:
            problem(response, 429, "full")
            assert int(response.headers["retry-after"]) >= 1
            return taken
        taken.append(response.json()["job_id"])
        if watch:
            await watch.run_once()
    raise AssertionError("the store has taken more than it can hold")


@pytest.mark.parametrize("watched", [True, False], ids=["at-85-percent", "at-100-percent"])
async def test_a_full_store_refuses_drains_and_takes_jobs_again(rig: Rig, api: ApiRig, watched: bool) -> None:
    watch = StoreWatch(rig.broker, 30, api.producer.set_full)
    taken = await fill(api, watch if watched else None)
    share = (await rig.broker.vitals()).memory_share
    assert 0.84 < share < 0.95 if watched else share > 0.95
    await watch.run_once()
    assert api.producer.full
    assert (await api.job(taken[0]))["status"] == "queued"

    ended = await run_all(rig)
    assert sorted(ended) == sorted(taken)
    assert (await rig.row())["finished"] == len(taken)
    await watch.run_once()
    assert api.producer.full  # nothing has gone yet
    problem(await api.http.post("/v1/jobs", json={"type": "t"}), 429, "full")

    await Trimmer(rig.broker, Caps(), 30.0).run_once()
    await watch.run_once()
    assert vars(api.producer)["full"] is False
    await api.submit()


async def run_all(rig: Rig) -> list[str]:
    """Every job from its lane to success, a few at a time, and one of them by way of a failure: all writes of a worker.
    Returns their ids."""
    ended: list[str] = []
    failed = False
    while jobs := (await rig.claim(8, now=0, lease_ms=LEASE)).jobs:
        if not failed:
            failed = True
            first, *_ = jobs
            assert await rig.broker.leases.fail(0, [(first.id, first.token, '{"attempt":1}', 0, False)]) == ["retry"]
            assert await rig.broker.leases.extend(0, LEASE, [(job.id, job.token) for job in jobs[1:]]) == ["ok"] * 7
            assert await rig.broker.leases.release(0, [(job.id, job.token) for job in jobs[1:]]) == ["ok"] * 7
            continue
        assert await rig.broker.leases.complete(0, [(job.id, job.token, RESULT) for job in jobs]) == ["ok"] * len(jobs)
        ended += [job.id for job in jobs]
    return ended
