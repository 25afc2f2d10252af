"""The counts of a worker's jobs, and the shards that are worth a claim."""

from __future__ import annotations

import asyncio

from queuey.store.asides import Room
from queuey.store.wakeups import REST_SECONDS
from queuey.worker.claims.second_slot import HOLD_SECONDS, SecondSlot
from queuey.worker.claims.unconfirmed import Unconfirmed
from queuey.worker.executors.rooms import ExecutorRoom
from queuey.worker.slots import Slots
from queuey.worker.turns import Turns
from tests.support.virtual_time import in_virtual_time


@in_virtual_time
async def test_a_slot_is_taken_by_a_claim_and_free_when_the_handler_has_ended() -> None:
    slots = Slots(3)
    slots.take(2)
    assert (slots.busy, slots.free, slots.full) == (2, 1, False)
    slots.take(1)
    assert (slots.free, slots.full) == (0, True)
    slots.leave("t")
    slots.report()
    assert (slots.free, slots.unconfirmed, slots.full) == (1, 1, False)


@in_virtual_time
async def test_no_slot_is_free_while_twice_as_many_outcomes_are_unconfirmed() -> None:
    slots = Slots(2)
    for _ in range(4):
        slots.report()
    assert (slots.free, slots.full) == (0, True)
    slots.confirm()
    assert (slots.free, slots.full) == (2, False)


@in_virtual_time
async def test_a_shard_with_too_many_unconfirmed_outcomes_is_left_out() -> None:
    """The others are not, until all have as many."""
    slots, turns = Slots(2, shards=2), Turns(2, lambda: None)
    unconfirmed = Unconfirmed(slots, turns)
    for _ in range(4):
        unconfirmed.report(0)
    assert (turns.leaves_out(0), turns.leaves_out(1), slots.free) == (True, False, 2)
    turns.wake(0)
    assert (turns.next(), bool(turns)) == (1, False)
    turns.leave_out(0)
    unconfirmed.confirm(0)
    assert turns.leaves_out(0), "for another reason, too"
    turns.include(0)
    assert turns.next() == 0
    for shard in (0, 1, 1, 1, 1):
        unconfirmed.report(shard)
    assert (slots.free, bool(turns)) == (0, False)
    unconfirmed.confirm(1)
    assert (slots.free, turns.next()) == (2, 1)


@in_virtual_time
async def test_idle_is_when_nothing_runs_and_all_is_confirmed() -> None:
    slots, loop = Slots(2), asyncio.get_running_loop()
    slots.take(2)
    slots.leave("t")
    slots.report()
    began = loop.time()
    loop.call_later(1.0, slots.leave, "t")
    loop.call_later(3.0, slots.confirm)
    await slots.until_ended(10.0)
    assert loop.time() - began == 1.0
    await slots.until_confirmed(10.0)
    await slots.until_idle(10.0)
    assert loop.time() - began == 3.0


@in_virtual_time
async def test_waiting_ends_in_time() -> None:
    slots, loop = Slots(1), asyncio.get_running_loop()
    slots.take(1)
    slots.report()
    began = loop.time()
    for number, wait in enumerate((slots.until_ended, slots.until_confirmed, slots.until_idle), start=1):
        await wait(2.0)
        assert loop.time() - began == number * 2.0


@in_virtual_time
async def test_shards_take_turns_and_come_back_with_more_or_when_a_job_is_due() -> None:
    woken, loop = asyncio.Event(), asyncio.get_running_loop()
    turns = Turns(2, woken.set)
    assert [turns.next(), turns.next(), bool(turns)] == [0, 1, False]
    turns.answered(1, more=True, due_in_ms=-1)
    turns.wake(0)
    turns.wake(1)
    assert [turns.next(), turns.next(), bool(turns)] == [1, 0, False]
    woken.clear()
    began = loop.time()
    turns.answered(0, more=False, due_in_ms=9_000)
    turns.answered(0, more=False, due_in_ms=2_000)
    await woken.wait()
    assert (loop.time() - began, turns.next()) == (2.0, 0)
    turns.answered(0, more=False, due_in_ms=1_000)
    turns.stop()
    await asyncio.sleep(2.0)
    assert not turns


@in_virtual_time
async def test_a_worker_that_gets_nothing_for_now_asks_again_after_a_rest() -> None:
    woken, loop = asyncio.Event(), asyncio.get_running_loop()
    turns = Turns(1, woken.set)
    for due_in_ms in (0, -1, 9_000):
        assert turns.next() == 0
        woken.clear()
        began = loop.time()
        turns.answered(0, more=False, due_in_ms=due_in_ms, rests=True)
        assert (turns.rests, bool(turns)) == (True, False)
        await woken.wait()
        assert loop.time() - began == REST_SECONDS
    turns.answered(0, more=True, due_in_ms=-1)
    assert not turns.rests
    turns.stop()


@in_virtual_time
async def test_a_slot_is_free_only_if_a_job_can_begin_in_it() -> None:
    stuck = 0
    threads = ExecutorRoom("thread", ["t"], 3, lambda: stuck)
    slots = Slots(10, [threads])
    slots.take(2)
    assert (slots.free, slots.mixed) == (1, False)
    stuck = 1
    assert (slots.free, slots.full) == (0, True)
    slots.leave("t")
    assert slots.free == 1


@in_virtual_time
async def test_mixed_slots_count_each_executor_by_the_types_of_the_jobs() -> None:
    slots = Slots(
        10, [ExecutorRoom("loop", ["l"]), ExecutorRoom("thread", ["t", "u"], 3), ExecutorRoom("process", ["p"], 1)]
    )
    slots.take(4, ["t", "u", "p", "unknown"])
    assert slots.rooms(slots.free) == [Room(6, ("l",)), Room(1, ("t", "u")), Room(0, ("p",))]
    assert (slots.free, slots.least) == (6, 0)
    assert [slots.room_for(type) for type in ("l", "t", "p", "unknown")] == [6, 1, 0, 0]
    slots.leave("p")
    slots.leave("unknown")
    assert slots.rooms(slots.free) == [Room(8, ("l",)), Room(1, ("t", "u")), Room(1, ("p",))]
    slots.take(8, ["l"] * 8)
    assert [room.jobs for room in slots.rooms(slots.free)] == [0, 0, 0]


@in_virtual_time
async def test_slots_without_loop_handlers_are_no_more_than_their_executors_run() -> None:
    slots = Slots(10, [ExecutorRoom("thread", ["t"], 3), ExecutorRoom("process", ["p"], 1)])
    assert slots.free == 4
    slots.take(4, ["t", "t", "t", "p"])
    assert slots.full


def full(threads: int) -> tuple[Slots, SecondSlot, list[int]]:
    """Slots whose threads are all in use, and the rooms that were there when a claim was due."""
    slots = Slots(20, [ExecutorRoom("loop", ["l"]), ExecutorRoom("thread", ["t"], threads)])
    slots.take(threads + 1, ["l"] + ["t"] * threads)
    grew: list[int] = []
    return slots, SecondSlot(slots, lambda: grew.append(slots.room_for("t"))), grew


@in_virtual_time
async def test_a_claim_for_a_full_executor_waits_for_a_second_free_slot() -> None:
    _, second_slot, grew = full(3)
    second_slot.leave("t")
    second_slot.leave("l")
    assert grew == []
    second_slot.leave("t")
    assert grew == [2]
    await asyncio.sleep(2 * HOLD_SECONDS)
    assert grew == [2]


@in_virtual_time
async def test_the_claim_waits_no_longer_than_a_moment() -> None:
    _, second_slot, grew = full(2)
    second_slot.leave("t")
    assert grew == []
    await asyncio.sleep(HOLD_SECONDS)
    assert grew == [1]


@in_virtual_time
async def test_the_claim_does_not_wait_if_no_other_slot_can_become_free() -> None:
    _, second_slot, grew = full(1)
    second_slot.leave("t")
    assert grew == [1]
    second_slot.leave("l")
    assert grew == [1]


@in_virtual_time
async def test_the_claim_does_not_wait_if_every_slot_was_in_use() -> None:
    """The slot of the loop is free for any executor that has room."""
    slots = Slots(2, [ExecutorRoom("loop", ["l"]), ExecutorRoom("thread", ["t"], 2)])
    slots.take(2, ["l", "l"])
    grew: list[int] = []
    SecondSlot(slots, lambda: grew.append(1)).leave("l")
    assert grew == [1]
