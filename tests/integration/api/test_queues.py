"""GET /v1/queues/metrics and POST /v1/replay-dlq over a real store."""

from __future__ import annotations

from typing import Any

import pytest

from queuey.errors import Full, StoreUnavailable
from queuey.protocol import ids
from queuey.protocol.records import NewJob
from queuey.services.dlq import actions
from queuey.store.broker.broker import Broker
from tests.support.http import ApiRig, api_over, keys, problem
from tests.support.store import NOW, Rig
from tests.support.stores import SHARDS, one_of

shards = one_of(*SHARDS)


DEV = {"x-api-key": "dev"}
REPLAY = "/v1/replay-dlq"


async def add(rig: Rig, **fields: Any) -> tuple[int, NewJob]:
    """Enqueue a job on whichever shard its id falls. Returns the shard and the job."""
    job = rig.job(**fields)
    shard = rig.broker.shards.of_job(job.id)
    assert await rig.broker.jobs.enqueue(shard, [job], now=NOW) == ["new"]
    return shard, job


async def kill(rig: Rig, at: int, **fields: Any) -> str:
    """A job that died at a time. It is the only one waiting in its queue and lane."""
    shard, job = await add(rig, **fields)
    claimed = await rig.broker.leases.claim(
        shard, claim_id=f"c{job.id}", worker="w", lease_ms=1000, limit=1, queues=[job.queue], now=NOW
    )
    (held,) = claimed.jobs
    assert held.id == job.id
    assert await rig.broker.leases.fail(
        shard, [(job.id, held.token, '{"attempt":1,"kind":"dead","message":""}', 0, True)], now=at
    ) == ["dead"]
    return job.id


async def dead_ids(rig: Rig) -> set[str]:
    shards = range(rig.broker.shards.count)
    return {entry.id for shard in shards for entry in await rig.broker.jobs.list_by_status(shard, "dead")}


def spread(rig: Rig, place: int) -> str:
    """An id on the shard `place`, counted around."""
    while rig.broker.shards.of_job(job_id := ids.new_id()) != place % rig.broker.shards.count:
        pass
    return job_id


# --- metrics -------------------------------------------------------------------------------------------------------


async def test_an_empty_store_has_no_queues(api: ApiRig) -> None:
    response = await api.http.get("/v1/queues/metrics")
    assert response.json() == {
        "queue_high_length": 0,
        "queue_default_length": 0,
        "queue_low_length": 0,
        "queue_dlq_length": 0,
        "queues": [],
    }


async def test_lengths_are_summed_over_shards_and_queues(rig: Rig, api: ApiRig) -> None:
    for place in range(4):
        await kill(rig, NOW, queue="mail", id=spread(rig, place))
    for place, (queue, priority) in enumerate([("mail", "high")] * 3 + [("mail", "low")] * 2 + [("web", "high")] * 4):
        await add(rig, queue=queue, priority=priority, id=spread(rig, place))
    await add(rig, queue="web", delay_ms=1000)
    await api.http.post(f"/v1/jobs/{await api.submit(queue='web')}/cancel")
    await api.submit(queue="web")
    await rig.broker.queues.pause(0, "web", "too much")
    found = (await api.http.get("/v1/queues/metrics")).json()
    assert [found[f"queue_{place}_length"] for place in ("high", "default", "low", "dlq")] == [7, 1, 2, 4]
    assert found["queues"] == [
        {
            "name": "mail",
            "paused": False,
            "high": 3,
            "default": 0,
            "low": 2,
            "scheduled": 0,
            "running": 0,
            "dead_letter": 4,
            "finished": 0,
            "claimable": 5,
        },
        {
            "name": "web",
            "paused": True,
            "high": 4,
            "default": 1,
            "low": 0,
            "scheduled": 1,
            "running": 0,
            "dead_letter": 0,
            "finished": 1,
            "claimable": 5,
        },
    ]


async def test_a_key_for_some_queues_sees_those(rig: Rig) -> None:
    await add(rig, queue="mail")
    await add(rig, queue="web")
    async with api_over(rig.broker, keys(bob="read@mail+submit")) as api:
        found = (await api.http.get("/v1/queues/metrics", headers={"x-api-key": "bob"})).json()
    assert found["queue_default_length"] == 1
    assert [queue["name"] for queue in found["queues"]] == ["mail"]


# --- replay --------------------------------------------------------------------------------------------------------


async def test_the_oldest_are_replayed_first_over_shards_and_queues(rig: Rig, api: ApiRig) -> None:
    ages = [5, 1, 4, 2, 3, 0]
    died = {
        age: await kill(rig, NOW + age, queue=f"q{place % 2}", id=spread(rig, place)) for place, age in enumerate(ages)
    }
    response = await api.http.post(REPLAY, params={"limit": 4}, headers=DEV)
    assert (response.status_code, response.json()) == (200, {"requeued": 4})
    assert await dead_ids(rig) == {died[4], died[5]}
    job = await api.job(died[0])
    assert (job["status"], job["attempts"], len(job["errors"])) == ("queued", 0, 1)
    assert (await api.http.post(REPLAY, headers=DEV)).json() == {"requeued": 2}
    assert (await api.http.post(REPLAY, headers=DEV)).json() == {"requeued": 0}


async def test_more_than_a_page_is_merged_in_order(rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "_PAGE", 2)
    places = [3, 3, 2, 3, 0, 1, 0, 0, 0, 0, 1, 3, 2, 2, 1]
    died = [await kill(rig, NOW + age, id=spread(rig, place)) for age, place in enumerate(places)]
    for replayed in (1, 3, 6, 10, 15):
        limit = replayed - len(died) + len(await dead_ids(rig))
        assert (await api.http.post(REPLAY, params={"limit": limit}, headers=DEV)).json() == {"requeued": limit}
        assert await dead_ids(rig) == set(died[replayed:])


async def test_what_is_skipped_does_not_count(rig: Rig, api: ApiRig) -> None:
    held = await kill(rig, NOW, key="k", id=ids.new_id("k"))
    await api.submit(dedupe_key="k", queue="other")
    free = await kill(rig, NOW + 1)
    assert (await api.http.post(REPLAY, params={"limit": 1}, headers=DEV)).json() == {"requeued": 1}
    assert await dead_ids(rig) == {held}
    assert (await api.job(free))["status"] == "queued"


async def test_only_so_many_are_looked_at(rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "MAX_LOOKED_AT", 3)
    for age in range(5):
        await kill(rig, NOW + age)
    assert (await api.http.post(REPLAY, headers=DEV)).json() == {"requeued": 3}


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        *((f"limit={value}", "limit") for value in ("0", "1001", "-1", "1.5", "x", "", "%2B5", "1_0", "9" * 5000, "٣")),
        ("limit=1&limit=2", "limit"),
        ("limt=1", "limt"),
        ("limit=1&a=2", "a"),
    ],
)
async def test_a_bad_limit_is_refused(rig: Rig, api: ApiRig, query: str, parameter: str) -> None:
    async with rig.unchanged():
        found = problem(await api.http.post(f"{REPLAY}?{query}", headers=DEV), 422, "invalid")
    assert [error["parameter"] for error in found["errors"]] == [parameter]


async def test_while_the_store_is_full_nothing_is_replayed(rig: Rig, api: ApiRig) -> None:
    await kill(rig, NOW)
    api.producer.set_full(True)
    async with rig.unchanged():
        response = await api.http.post(REPLAY, headers=DEV)
    problem(response, 429, "full")
    assert response.headers["retry-after"]


class Interrupted:
    """A broker whose replay runs, and then fails: each call as the list says, from then on not at all."""

    def __init__(self, broker: Broker, failures: list[Exception | None]) -> None:
        self._replay = broker.dlq.replay
        self._failures = failures
        self.replay_ids: set[str] = set()

    async def __call__(self, shard: int, replay_id: str, job_ids: list[str]) -> list[str]:
        self.replay_ids.add(replay_id)
        failure = self._failures.pop(0) if self._failures else None
        if isinstance(failure, Full):
            raise failure
        words = await self._replay(shard, replay_id, job_ids)
        if failure:
            raise failure
        return words


async def test_a_reply_that_is_lost_does_not_change_the_count(
    rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = {await kill(rig, NOW) for _ in range(3)}
    interrupted = Interrupted(rig.broker, [StoreUnavailable("lost", maybe_done=True)])
    monkeypatch.setattr(rig.broker.dlq, "replay", interrupted)
    assert (await api.http.post(REPLAY, headers=DEV)).json() == {"requeued": len(died)}
    assert len(interrupted.replay_ids) == 1
    assert await dead_ids(rig) == set()


async def test_a_store_that_fills_up_on_the_way_ends_the_replay(
    rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "MAX_BATCH", 1)
    for age in range(3):
        await kill(rig, NOW + age)
    monkeypatch.setattr(rig.broker.dlq, "replay", Interrupted(rig.broker, [None, Full("no room"), Full("no room")]))
    assert (await api.http.post(REPLAY, headers=DEV)).json() == {"requeued": 1}
    problem(await api.http.post(REPLAY, headers=DEV), 429, "full")


async def test_a_store_that_goes_away_on_the_way_leaves_the_outcome_unknown(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "MAX_BATCH", 1)
    first, second, *_ = [await kill(rig, NOW + age) for age in range(3)]
    away = StoreUnavailable("away")
    monkeypatch.setattr(rig.broker.dlq, "replay", Interrupted(rig.broker, [None] + [away] * 99))
    async with api_over(rig.broker, request_deadline=0.2, store_timeout=0.1) as api:
        found = problem(await api.http.post(REPLAY, headers=DEV), 503, "outcome-unknown")
        assert found["job_ids"] == [second]
        assert (await api.job(first))["status"] == "queued"
        problem(await api.http.post(REPLAY, headers=DEV), 503, "store-unavailable")
