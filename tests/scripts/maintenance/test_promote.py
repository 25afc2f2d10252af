"""promote: scheduled and due -> queued."""

from __future__ import annotations

from tests.support.store import NOW, SECOND, Rig


async def test_what_is_due_joins_the_tail_of_its_lane_oldest_first(rig: Rig) -> None:
    (waiting,) = await rig.add()
    (third,) = await rig.add(delay_ms=3)
    (second,) = await rig.add(delay_ms=2)
    (high,) = await rig.add(delay_ms=1, priority="high")
    (other,) = await rig.add(delay_ms=1, queue="mail")
    (later,) = await rig.add(delay_ms=SECOND)
    await rig.client.delete(rig.keys.wake("default"), rig.keys.wake("mail"))
    promoted = await rig.broker.maintenance.promote(rig.shard, 100, now=NOW + 3)
    assert (promoted.count, promoted.due_in_ms) == (4, SECOND - 3)
    assert await rig.waiting() == [waiting, second, third]
    assert await rig.waiting("default", "high") == [high]
    assert await rig.waiting("mail") == [other]
    assert await rig.scores(rig.keys.scheduled("default", "default")) == {later: NOW + SECOND}
    assert await rig.marked()
    assert await rig.marked("mail")


async def test_nothing_due_changes_nothing(rig: Rig) -> None:
    async with rig.unchanged():
        promoted = await rig.broker.maintenance.promote(rig.shard, 100, now=NOW)
    assert (promoted.count, promoted.due_in_ms) == (0, -1)
    await rig.add(delay_ms=SECOND)
    await rig.marked()
    async with rig.unchanged():
        promoted = await rig.broker.maintenance.promote(rig.shard, 100, now=NOW + SECOND - 1)
    assert (promoted.count, promoted.due_in_ms) == (0, 1)


async def test_the_limit_is_per_lane_and_what_is_left_is_due_now(rig: Rig) -> None:
    await rig.add(3, delay_ms=1)
    await rig.add(3, delay_ms=1, priority="low")
    promoted = await rig.broker.maintenance.promote(rig.shard, 2, now=NOW + SECOND)
    assert (promoted.count, promoted.due_in_ms) == (4, 0)
    promoted = await rig.broker.maintenance.promote(rig.shard, 2, now=NOW + SECOND)
    assert (promoted.count, promoted.due_in_ms) == (2, -1)


async def test_again_moves_nothing_twice(rig: Rig) -> None:
    (job_id,) = await rig.add(delay_ms=1)
    await rig.broker.maintenance.promote(rig.shard, 100, now=NOW + 1)
    async with rig.unchanged():
        assert (await rig.broker.maintenance.promote(rig.shard, 100, now=NOW + 1)).count == 0
    assert await rig.waiting() == [job_id]


async def test_a_paused_queue_is_promoted_too(rig: Rig) -> None:
    (job_id,) = await rig.add(delay_ms=1)
    await rig.broker.queues.pause(rig.shard, "default", "by hand")
    await rig.broker.maintenance.promote(rig.shard, 100, now=NOW + 1)
    assert await rig.waiting() == [job_id]


async def test_the_stores_clock_decides_when_no_time_is_given(rig: Rig) -> None:
    (due,) = await rig.add(now=1, delay_ms=1)
    (later,) = await rig.add(delay_ms=SECOND)
    promoted = await rig.broker.maintenance.promote(rig.shard, 100)
    assert promoted.count == 1
    assert promoted.due_in_ms > 0
    assert await rig.waiting() == [due]
    assert await rig.scores(rig.keys.scheduled("default", "default")) == {later: NOW + SECOND}


async def test_a_large_batch(rig: Rig) -> None:
    for _ in range(4):
        await rig.add(500, delay_ms=1)
    assert (await rig.broker.maintenance.promote(rig.shard, 2000, now=NOW + 1)).count == 2000
    assert (await rig.row())["default"] == 2000


async def test_the_ids_are_in_the_reply_only_while_somebody_listens(rig: Rig) -> None:
    (later,) = await rig.add(delay_ms=2)
    (soon,) = await rig.add(delay_ms=1)
    (mail,) = await rig.add(delay_ms=1, queue="mail")
    moves = rig.listen()
    assert (await rig.broker.maintenance.promote(rig.shard, 100, now=NOW)).ids == []
    promoted = await rig.broker.maintenance.promote(rig.shard, 1, now=NOW + 2)
    assert sorted(promoted.ids) == sorted([soon, mail])
    assert sorted(moves) == sorted([(soon, "queued"), (mail, "queued")])
    moves.on = False
    promoted = await rig.broker.maintenance.promote(rig.shard, 1, now=NOW + 2)
    assert (promoted.count, promoted.ids) == (1, [])
    assert await rig.waiting() == [soon, later]
