"""watch_end: the end of a job that somebody waits for is published, once, whatever ends it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from queuey.store.broker.broker import Broker
from queuey.store.keys import finished_channel
from queuey.store.shards import Shards
from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig

Told = Callable[[], Awaitable[list[str]]]


@pytest.fixture
async def told(rig: Rig) -> AsyncIterator[Told]:
    """The ids that have been published since the last call."""
    pubsub = rig.client.pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe(finished_channel())

    async def ids() -> list[str]:
        await rig.client.publish(finished_channel(), "end")
        found = []
        while (message := await _next(pubsub)) != "end":
            found.append(message)
        return found

    yield ids
    await pubsub.aclose()


async def _next(pubsub: Any) -> str:
    while (message := await pubsub.get_message(timeout=10)) is None:
        pass
    return str(message["data"].decode())


async def test_what_may_still_end_is_waiting_and_what_has_ended_is_told_so(rig: Rig) -> None:
    done, dead, running = [job_id for job_id, _ in await rig.held(3)]
    await rig.broker.leases.complete(rig.shard, [(done, "1.claim001", "")], now=NOW)
    await rig.broker.leases.fail(rig.shard, [(dead, "1.claim001", "{}", 0, True)], now=NOW)
    (queued,) = await rig.add()
    (later,) = await rig.add(delay_ms=HOUR)
    (gone,) = await rig.add()
    await rig.broker.jobs.cancel(rig.shard, [gone], now=NOW)
    ids = [done, dead, gone, rig.new_id(), queued, later, running]
    answers = await rig.broker.jobs.watch_end(rig.shard, ids)
    assert answers == ["finished", "finished", "finished", "missing", "waiting", "waiting", "waiting"]


async def test_again_changes_nothing(rig: Rig) -> None:
    (job_id,) = await rig.add()
    ((running, _),) = await rig.held(queue="mail")
    assert await rig.broker.jobs.watch_end(rig.shard, [job_id, job_id, running]) == ["waiting"] * 3
    async with rig.unchanged():
        assert await rig.broker.jobs.watch_end(rig.shard, [job_id, running]) == ["waiting"] * 2


async def test_what_is_not_waiting_is_not_changed(rig: Rig) -> None:
    ((done, token),) = await rig.held()
    await rig.broker.leases.complete(rig.shard, [(done, token, "")], now=NOW)
    async with rig.unchanged():
        await rig.broker.jobs.watch_end(rig.shard, [done, rig.new_id()])


async def test_a_job_that_nobody_waits_for_is_not_published(rig: Rig, told: Told) -> None:
    ((job_id, token),) = await rig.held()
    (other,) = await rig.add()
    await rig.broker.leases.complete(rig.shard, [(job_id, token, "")], now=NOW)
    await rig.broker.jobs.cancel(rig.shard, [other], now=NOW)
    assert await told() == []


@pytest.mark.parametrize("watched_at", ["queued", "running"])
async def test_success_is_published(rig: Rig, told: Told, watched_at: str) -> None:
    (job_id,) = await rig.add(queue="mail", priority="high", max_attempts=3, retention_ms=HOUR * 2)
    if watched_at == "queued":
        await rig.broker.jobs.watch_end(rig.shard, [job_id])
    (job,) = (await rig.claim(queues=["mail"])).jobs
    if watched_at == "running":
        await rig.broker.jobs.watch_end(rig.shard, [job_id])
    assert await told() == []
    assert await rig.broker.leases.complete(rig.shard, [(job_id, job.token, "1")], now=NOW) == ["ok"]
    assert await told() == [job_id]
    assert await rig.broker.leases.complete(rig.shard, [(job_id, job.token, "1")], now=NOW) == ["ok"]
    assert await told() == []
    state = await rig.state(job_id)
    assert "v" not in state
    assert {letter: state[letter] for letter in "sqlm"} == {"s": "s", "q": "mail", "l": "high", "m": "3"}
    assert await rig.scores(rig.keys.done("mail")) == {job_id: NOW + 2 * HOUR}


async def test_a_retry_is_not_published_and_the_dead_letter_is(rig: Rig, told: Told) -> None:
    ((job_id, token),) = await rig.held(max_attempts=2)
    await rig.broker.jobs.watch_end(rig.shard, [job_id])
    assert await rig.broker.leases.fail(rig.shard, [(job_id, token, "{}", 0, False)], now=NOW) == ["retry"]
    assert await told() == []
    (job,) = (await rig.claim(now=NOW + SECOND)).jobs
    assert await rig.broker.leases.fail(rig.shard, [(job_id, job.token, "{}", 0, False)], now=NOW + SECOND) == ["dead"]
    assert await told() == [job_id]


async def test_the_end_after_a_replay_is_another_one(rig: Rig, told: Told) -> None:
    ((job_id, token),) = await rig.held()
    await rig.broker.jobs.watch_end(rig.shard, [job_id])
    await rig.broker.leases.fail(rig.shard, [(job_id, token, "{}", 0, True)], now=NOW)
    assert await told() == [job_id]
    await rig.broker.dlq.replay(rig.shard, "replay1", [job_id], now=NOW)
    await rig.broker.jobs.cancel(rig.shard, [job_id], now=NOW)
    assert await told() == []


async def test_cancelling_what_waits_is_published(rig: Rig, told: Told) -> None:
    (queued,) = await rig.add()
    (later,) = await rig.add(delay_ms=HOUR)
    await rig.broker.jobs.watch_end(rig.shard, [queued, later])
    await rig.broker.jobs.cancel(rig.shard, [queued, later], now=NOW)
    assert await told() == [queued, later]


async def test_cancelling_what_runs_is_published_once_it_has_ended(rig: Rig, told: Told) -> None:
    ((failed, token), (released, token_2)) = await rig.held(2)
    await rig.broker.jobs.watch_end(rig.shard, [failed, released])
    await rig.broker.jobs.cancel(rig.shard, [failed, released], now=NOW)
    assert await told() == []
    await rig.broker.leases.fail(rig.shard, [(failed, token, "{}", 0, False)], now=NOW)
    await rig.broker.leases.release(rig.shard, [(released, token_2)], now=NOW)
    assert await told() == [failed, released]


async def test_a_release_keeps_the_mark(rig: Rig, told: Told) -> None:
    held = await rig.held()
    await rig.broker.jobs.watch_end(rig.shard, [held[0][0]])
    await rig.broker.leases.release(rig.shard, held, now=NOW)
    assert (await rig.state(held[0][0]))["v"] == "1"
    assert await told() == []


async def test_a_job_that_was_not_started_in_time_is_published(rig: Rig, told: Told) -> None:
    (job_id,) = await rig.add(extra="x=1000")
    await rig.broker.jobs.watch_end(rig.shard, [job_id])
    assert (await rig.claim(now=NOW + 2 * SECOND)).jobs == []
    assert await told() == [job_id]


async def test_a_crash_is_published_when_it_is_the_last(rig: Rig, told: Told) -> None:
    job_id = await rig.crashed(crashes=2, now=NOW)
    await rig.broker.jobs.watch_end(rig.shard, [job_id])
    await rig.claim()
    assert (await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + LEASE)).outcomes == [(job_id, "dead")]
    assert await told() == [job_id]


async def test_a_watched_job_waits_in_its_place(rig: Rig) -> None:
    """It has a state from then on, which must not change where it is seen, when it runs, or what it counts for."""
    first, second = await rig.add(2, queue="mail")
    (later,) = await rig.add(queue="mail", delay_ms=HOUR)
    before = await rig.row("mail")
    await rig.broker.jobs.watch_end(rig.shard, [first, second, later])
    assert await rig.row("mail") == before
    assert [job.id for job in (await rig.claim(5, queues=["mail"])).jobs] == [first, second]
    assert (await rig.stored(later)).due_ms == NOW + HOUR


@pytest.mark.parametrize("kind", ["valkey"])
async def test_the_channel_is_that_of_the_prefix(rig: Rig) -> None:
    """The scripts work it out of the keys that they are called with."""
    broker = Broker(Shards(rig.client, rig.broker.shards.count, "a.b:c"), rig.scripts)
    pubsub = rig.client.pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe("a.b:c:finished")
    job = rig.job()
    await broker.jobs.enqueue(rig.shard, [job], now=NOW)
    await broker.jobs.watch_end(rig.shard, [job.id])
    await broker.jobs.cancel(rig.shard, [job.id], now=NOW)
    assert await _next(pubsub) == job.id
    await pubsub.aclose()
