"""cancel: queued, scheduled -> cancelled; running: flagged, and its worker told."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio.client import PubSub

from queuey.protocol.records import encode_key
from queuey.store.keys import cancel_channel
from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig


@pytest.fixture
async def messages(rig: Rig) -> AsyncIterator[PubSub]:
    """Subscribed to what cancel publishes."""
    pubsub = rig.client.pubsub()
    await pubsub.subscribe(cancel_channel())
    assert (await pubsub.get_message(timeout=5))["type"] == "subscribe"
    yield pubsub
    await pubsub.aclose()


async def heard(rig: Rig, messages: PubSub) -> list[str]:
    """What has been published until now."""
    await rig.client.publish(cancel_channel(), "end")
    ids = []
    while (message := await messages.get_message(timeout=5)) is not None and message["data"] != b"end":
        ids.append(message["data"].decode())
    return ids


async def cancel(rig: Rig, *ids: str, now: int = NOW) -> list[str]:
    return await rig.broker.jobs.cancel(rig.shard, ids, now=now)


async def test_a_queued_job_is_cancelled_and_leaves_a_tombstone(rig: Rig, messages: PubSub) -> None:
    (job_id,) = await rig.add(priority="high", queue="mail", retention_ms=9_000)
    assert await cancel(rig, job_id, now=NOW + SECOND) == ["cancelled"]
    stored = await rig.stored(job_id)
    state = await rig.state(job_id)
    assert (state["s"], state["f"]) == ("c", str(NOW + SECOND))
    assert await rig.waiting("mail", "high") == [job_id]
    assert await rig.scores(rig.keys.done("mail")) == {job_id: NOW + 10_000}
    row = await rig.row("mail")
    assert (row["high"], row["finished"]) == (0, 1)
    assert row["finished_bytes"] == len(stored.definition) + len(stored.state)
    assert await rig.counters() == {"enqueued": 1, "cancelled": 1}
    assert await heard(rig, messages) == []


async def test_a_scheduled_job_is_cancelled_and_leaves_nothing(rig: Rig) -> None:
    (delayed,) = await rig.add(delay_ms=HOUR)
    ((retried, token),) = await rig.held()
    await rig.broker.leases.fail(rig.shard, [(retried, token, "{}", HOUR, False)], now=NOW)
    assert await cancel(rig, delayed, retried) == ["cancelled", "cancelled"]
    row = await rig.row()
    assert (row["scheduled"], row["default"], row["finished"]) == (0, 0, 2)
    assert (await rig.client.hgetall(rig.keys.queue("default"))).keys() == {b"done_bytes"}


async def test_a_released_job_is_cancelled_in_its_lane(rig: Rig) -> None:
    ((job_id, token),) = await rig.held()
    await rig.broker.leases.release(rig.shard, [(job_id, token)], now=NOW)
    assert await cancel(rig, job_id) == ["cancelled"]
    assert (await rig.row())["default"] == 0
    assert (await rig.claim(5)).jobs == []
    assert (await rig.row())["default"] == 0


async def test_a_running_job_is_flagged_and_its_worker_told(rig: Rig, messages: PubSub) -> None:
    ((job_id, _),) = await rig.held()
    assert await cancel(rig, job_id) == ["cancelling"]
    state = await rig.state(job_id)
    assert (state["s"], state["z"]) == ("r", "1")
    assert await rig.scores(rig.keys.leases("default")) == {job_id: NOW + LEASE}
    assert await heard(rig, messages) == [job_id]
    assert "cancelled" not in await rig.counters()


async def test_again_is_answered_again(rig: Rig, messages: PubSub) -> None:
    queued, scheduled = (await rig.add(queue="a"))[0], (await rig.add(delay_ms=HOUR, queue="b"))[0]
    ((running, _),) = await rig.held()
    answers = ["cancelled", "cancelled", "cancelling"]
    assert await cancel(rig, queued, scheduled, running) == answers
    async with rig.unchanged():
        assert await cancel(rig, queued, scheduled, running, now=NOW + SECOND) == answers
    assert await heard(rig, messages) == [running, running], "the first message may have been lost"


async def test_the_same_twice_in_one_batch(rig: Rig) -> None:
    (queued,) = await rig.add(queue="a")
    ((running, _),) = await rig.held()
    answers = await cancel(rig, queued, running, queued, running)
    assert answers == ["cancelled", "cancelling"] * 2
    assert (await rig.row("a"))["default"] == 0
    assert (await rig.counters())["cancelled"] == 1


async def test_what_has_finished_or_is_not_there_is_left(rig: Rig) -> None:
    done, dead = await rig.held(2)
    await rig.broker.leases.complete(rig.shard, [(*done, "1")], now=NOW)
    await rig.broker.leases.fail(rig.shard, [(*dead, "{}", 0, True)], now=NOW)
    async with rig.unchanged():
        assert await cancel(rig, done[0], dead[0], rig.new_id()) == ["finished", "finished", "missing"]


async def test_a_cancelled_job_cannot_be_claimed_completed_or_replayed(rig: Rig) -> None:
    (job_id,) = await rig.add()
    await cancel(rig, job_id)
    assert await rig.broker.leases.complete(rig.shard, [(job_id, "1.c", "")], now=NOW) == ["lost"]
    assert await rig.broker.dlq.replay(rig.shard, "r1", [job_id], now=NOW) == ["missing"]
    assert (await rig.claim(5)).jobs == []


async def test_it_frees_the_dedupe_key_but_not_that_of_another_job(rig: Rig) -> None:
    (first,) = await rig.add(key="k")
    (second,) = await rig.add(key="other")
    await rig.client.set(rig.keys.dedupe(encode_key("other")), "another")
    await cancel(rig, first, second)
    assert not await rig.client.exists(rig.keys.dedupe(encode_key("k")))
    assert await rig.client.get(rig.keys.dedupe(encode_key("other"))) == b"another"


async def test_a_flag_keeps_the_dedupe_key_until_the_job_ends(rig: Rig) -> None:
    ((job_id, _),) = await rig.held(key="k")
    await cancel(rig, job_id)
    assert await rig.broker.jobs.enqueue(rig.shard, [rig.job(key="k")]) == [f"duplicate {job_id}"]


async def test_a_batch_of_the_largest_size(rig: Rig) -> None:
    added = await rig.add(512)
    assert await cancel(rig, *added) == ["cancelled"] * 512
    assert (await rig.row())["default"] == 0


async def test_a_job_set_aside_is_cancelled_and_counts_for_its_lane(rig: Rig) -> None:
    gone, kept = await rig.add(2, priority="low")
    await rig.set_aside([gone, kept], "mail", lane="low")
    assert await cancel(rig, gone) == ["cancelled"]
    assert await rig.set_aside_list("mail", lane="low") == [gone, kept], "a tombstone stays in the list"
    row = await rig.row()
    assert (row["low"], row["finished"]) == (1, 1)
    assert await cancel(rig, gone) == ["cancelled"]
    assert (await rig.row())["low"] == 1
