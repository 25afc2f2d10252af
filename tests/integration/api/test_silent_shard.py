"""The API on a store of several shards, one of which does not answer: it serves what the others have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from queuey.services.leases import returns
from queuey.services.maintenance.shard_watch import SilentShards
from queuey.store.broker.broker import Broker
from queuey.store.scripts import Scripts
from tests.support.connections.silent import Apart, BlackHole, id_on, shards_at
from tests.support.http import ApiRig, api_over, problem
from tests.support.store import Rig, Server
from tests.support.working import PATIENCE, eventually

SILENT = 1
DEV = {"x-api-key": "dev"}
OTHERS = "Other shards have done it. Send the request again."


@pytest.fixture
def shards() -> int:
    return 3


@pytest.fixture
async def api(rig: Rig, server: Server, hole: BlackHole) -> AsyncIterator[ApiRig]:
    async with (
        shards_at(server.url, 3, Apart(hole, SILENT, 0.3)) as shards,
        api_over(Broker(shards, Scripts())) as api,
    ):
        yield api


async def add(rig: Rig, shard: int) -> str:
    job = rig.job(id=id_on(rig.broker.shards, shard))
    assert await rig.broker.jobs.enqueue(shard, [job]) == ["new"]
    return job.id


async def leased(api: ApiRig, **fields: Any) -> list[dict[str, Any]]:
    async with asyncio.timeout(PATIENCE):
        response = await api.http.post("/v1/leases", json=fields)
    assert response.status_code == 200, response.text
    return list(response.json()["jobs"])


async def speak(api: ApiRig, hole: BlackHole) -> None:
    """The shard answers again, and the chore of a server notices."""
    hole.speak()
    await SilentShards(api.broker).run_once()
    assert api.broker.silent == set()


async def test_pull_workers_get_the_jobs_of_the_others(
    rig: Rig, api: ApiRig, hole: BlackHole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(returns, "RECOVERY_PAUSE", 0.02)
    jobs = [await add(rig, shard) for shard in range(3)]
    await api.broker.ask(SILENT)  # so that the claim goes out on an open connection, and its outcome is unknown
    hole.silence()
    found = [job["id"] for _ in range(2) for job in await leased(api, max=2)]
    assert sorted(found) == sorted([jobs[0], jobs[2]])
    assert await leased(api) == []
    assert await leased(api, claim_id="again") == []
    assert api.broker.silent == {SILENT}
    await speak(api, hole)
    again: list[str] = []

    async def is_leased() -> bool:
        again.extend(job["id"] for job in await leased(api))
        return bool(again)

    await eventually(is_leased)
    assert again == [jobs[SILENT]]
    rig.shard = SILENT
    assert "x" not in await rig.state(jobs[SILENT]), "the claims without an answer were given back"


async def test_a_request_that_waits_gets_a_job_of_another(rig: Rig, api: ApiRig, hole: BlackHole) -> None:
    hole.silence()
    waiting = asyncio.create_task(leased(api, wait=60))
    await eventually(lambda: _waits(api))
    job_id = await api.submit(id=id_on(rig.broker.shards, 2))
    assert [job["id"] for job in await waiting] == [job_id]


async def _waits(api: ApiRig) -> bool:
    return api.pulling.leasing.polls.count == 1


async def test_outcomes_of_the_others_are_stored(rig: Rig, api: ApiRig, hole: BlackHole) -> None:
    held = []
    for shard in (SILENT, 2):
        await add(rig, shard)
        held += await leased(api)
    assert {rig.broker.shards.of_job(job["id"]) for job in held} == {SILENT, 2}
    hole.silence()
    items = [{"id": job["id"], "token": job["token"], "error": "e"} for job in held]
    response = await api.http.post("/v1/leases/fail", json={"jobs": items})
    outcomes = response.json()["results"]
    by_shard = {rig.broker.shards.of_job(job["id"]): outcome for job, outcome in zip(held, outcomes, strict=True)}
    assert by_shard[SILENT]["error"]["type"].endswith("store-unavailable")
    assert by_shard[2]["status"] == "retry"


async def test_pages_say_which_shard_is_missing(rig: Rig, api: ApiRig, hole: BlackHole) -> None:
    for shard in range(3):
        await add(rig, shard)
    whole = (await api.http.get("/v1/queues/metrics")).json()
    assert (whole["queue_default_length"], "incomplete" in whole) == (3, False)
    before = await scraped(api)
    hole.silence()
    for _ in range(2):
        part = (await api.http.get("/v1/queues/metrics")).json()
        assert (part["queue_default_length"], part["incomplete"]) == (2, [SILENT])
        queues = (await api.http.get("/v1/queues")).json()
        assert (queues["queues"][0]["default"], queues["incomplete"]) == (2, [SILENT])
        ready = await api.http.get("/readyz")
        assert (ready.status_code, ready.json()["silent_shards"]) == (200, [SILENT])
        after = await scraped(api)
        assert [after[f'queuey_store_shard_up{{shard="{shard}"}}'] for shard in range(3)] == ["1.0", "0.0", "1.0"]
        assert after["queuey_store_up"] == "1.0"
        counter = 'queuey_store_jobs_total{event="enqueued"}'
        assert after[counter] == before[counter], "a counter does not go down"
    await speak(api, hole)
    assert (await api.http.get("/v1/queues/metrics")).json() == whole


async def scraped(api: ApiRig) -> dict[str, str]:
    text = (await api.http.get("/metrics")).text
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/queues/default", "/v1/dlq"])
async def test_what_needs_every_shard_names_the_silent_one(api: ApiRig, hole: BlackHole, path: str) -> None:
    await api.submit(id=id_on(api.broker.shards, 0))
    hole.silence()
    response = await api.http.get(path, headers=DEV)
    assert problem(response, 503, "store-unavailable")["detail"].startswith(f"Shard {SILENT} of the store")


async def test_a_queue_is_paused_on_the_others(rig: Rig, api: ApiRig, hole: BlackHole) -> None:
    for shard in range(3):
        await add(rig, shard)
    hole.silence()
    assert await partly(api, "pause")
    assert [await is_paused(rig, shard) for shard in range(3)] == [True, False, True]
    assert await partly(api, "resume")
    assert [await is_paused(rig, shard) for shard in range(3)] == [False] * 3
    response = await api.http.post("/v1/queues/none/resume", headers=DEV)
    assert problem(response, 503, "store-unavailable")["detail"].startswith(f"Shard {SILENT} of the store")


async def partly(api: ApiRig, action: str) -> bool:
    """Do something with the queue. Returns whether the answer says that it was done, except on the silent shard."""
    response = await api.http.post(f"/v1/queues/default/{action}", json=None if action == "resume" else {}, headers=DEV)
    detail = str(problem(response, 503, "outcome-unknown")["detail"])
    return detail == f"Shard {SILENT} of the store did not answer in time. {OTHERS}"


async def is_paused(rig: Rig, shard: int) -> bool:
    return bool((await rig.broker.queues.stats(shard)).queues[0].paused)


async def test_a_queue_is_purged_on_the_others(rig: Rig, api: ApiRig, hole: BlackHole) -> None:
    for shard in range(3):
        await add(rig, shard)
    hole.silence()
    assert await partly(api, "purge")
    rows = [(await rig.broker.queues.stats(shard)).queues[0] for shard in range(3)]
    assert [row.default for row in rows] == [0, 1, 0]
    response = await api.http.post("/v1/queues/default/purge", json={}, headers=DEV)
    assert problem(response, 503, "store-unavailable"), "nothing was changed this time"


async def test_a_request_makes_no_offer_to_it(
    rig: Rig, api: ApiRig, hole: BlackHole, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The enqueue would keep the request from the jobs of the others."""
    polls, offers = api.pulling.leasing.polls, []
    offer = polls.offer

    def noted(shard: int, queue: str, types: Any) -> Any:
        offers.append(shard)
        return offer(shard, queue, types)

    monkeypatch.setattr(polls, "offer", noted)
    hole.silence()
    assert await leased(api) == []
    waiting = asyncio.create_task(leased(api, wait=60))
    await eventually(lambda: _waits(api))
    lost = asyncio.create_task(api.http.post("/v1/jobs", json={"type": "t", "id": id_on(rig.broker.shards, SILENT)}))
    job_id = await api.submit(id=id_on(rig.broker.shards, 0))
    assert [job["id"] for job in await waiting] == [job_id]
    assert (await lost).status_code == 503
    assert offers == [0]
