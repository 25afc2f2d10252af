"""fire: a tick becomes one job, however many replicas fire it."""

from __future__ import annotations

from typing import Any

import pytest

from queuey.errors import Full
from tests.support.scripts.contents import contents
from tests.support.scripts.schedules import MINUTE, UID, Timetable
from tests.support.store import HOUR, NOW, SECOND, Rig

OTHER = '{"cron":"0 3 * * *"}'


async def test_a_tick_makes_its_job_and_moves_the_schedule_in_one_step(rig: Rig, plan: Timetable) -> None:
    await plan.put()
    firing = plan.firing(job=plan.job(NOW, queue="mail", priority="high"))
    fired = await rig.broker.schedules.fire(rig.shard, [firing], now=NOW + 5)
    assert (fired.answers, fired.cancelled, fired.now_ms) == (["fired"], [], NOW + 5)
    job_id = plan.id_of(NOW)
    assert await rig.waiting("mail", "high") == [job_id]
    schedule = await plan.get()
    assert (schedule.next_ms, schedule.last_tick_ms, schedule.last_job) == (NOW + MINUTE, NOW, job_id)
    assert await plan.ticks() == {plan.name: NOW + MINUTE}
    (run,) = await plan.history()
    assert (run.tick_ms, run.at_ms, run.kind, run.outcome) == (NOW, NOW + 5, "tick", "fired")
    assert (run.job_id, run.count) == (job_id, 1)
    assert await rig.counters() == {"enqueued": 1}
    assert await rig.marked("mail")


@pytest.mark.parametrize("fields", [{}, {"delay_ms": HOUR}, {"run_at_ms": NOW + SECOND}, {"run_at_ms": NOW - 1}])
async def test_it_leaves_the_job_that_enqueue_leaves(rig: Rig, plan: Timetable, fields: dict[str, Any]) -> None:
    await plan.put()
    job = plan.job(NOW, queue="mail", max_attempts=3, **fields)
    await plan.fire_tick(job=job)
    ours = ("meta", "ticks", "runs:", "schedule")

    def of_jobs(found: dict[str, object]) -> dict[str, object]:
        return {name: value for name, value in found.items() if not name.removeprefix(rig.keys.base).startswith(ours)}

    fired = of_jobs(await contents(rig.client))
    await rig.client.flushall()
    await rig.broker.jobs.enqueue(rig.shard, [job], now=NOW)
    assert fired == of_jobs(await contents(rig.client))


async def test_a_schedule_without_another_tick_has_ended(plan: Timetable) -> None:
    await plan.put()
    assert await plan.fire_tick(next_ms=-1) == "fired"
    assert ((await plan.get()).next_ms, await plan.ticks()) == (-1, {})
    assert await plan.fire_tick() == "taken"
    assert await plan.fire_tick(expected_ms=-1) == "taken", "none is expected"
    assert await plan.fire_tick(expected_ms=-1, kind="move", job=None) == "moved"
    assert await plan.ticks() == {plan.name: NOW + MINUTE}


# --- once --------------------------------------------------------------------------------------------------------


async def test_sent_again_and_by_another_replica_it_changes_nothing(rig: Rig, plan: Timetable) -> None:
    await plan.put()
    await plan.fire_tick()
    async with rig.unchanged():
        assert await plan.fire_tick() == "taken"
        assert await plan.fire_tick(overlap="allow", next_ms=NOW + 2 * MINUTE) == "taken"


async def test_twice_in_one_call_it_is_fired_once(plan: Timetable) -> None:
    await plan.put()
    assert await plan.fire(plan.firing(), plan.firing()) == ["fired", "taken"]


async def test_a_tick_has_one_job_even_if_the_next_one_was_set_back(rig: Rig, plan: Timetable) -> None:
    """A replica whose clock is slow replaced the schedule."""
    await plan.put()
    await plan.fire_tick(overlap="allow")
    await rig.broker.jobs.cancel(rig.shard, [plan.id_of(NOW)], now=NOW)
    await rig.broker.jobs.delete(rig.shard, [plan.id_of(NOW)])
    await plan.put(spec=OTHER, next=NOW)
    assert await plan.fire_tick(mark=f"{UID}.2", missed=3) == "there"
    assert await plan.outcomes() == [(NOW, "fired")]
    assert (await plan.get()).next_ms == NOW + MINUTE


@pytest.mark.parametrize("mark", [f"{UID}.2", "other.1", "*", ""])
async def test_a_schedule_that_was_replaced_since_does_nothing(rig: Rig, plan: Timetable, mark: str) -> None:
    await plan.put()
    async with rig.unchanged():
        assert await plan.fire_tick(mark=mark) == "conflict"


async def test_a_missing_one_and_a_paused_one_do_nothing(rig: Rig, plan: Timetable) -> None:
    async with rig.unchanged():
        assert await plan.fire_tick() == "missing"
    await plan.put()
    await plan.pause()
    async with rig.unchanged():
        assert await plan.fire_tick() == "paused"
        assert await plan.fire_tick(kind="move") == "paused"


async def test_the_stores_clock_decides_whether_it_is_early(rig: Rig, plan: Timetable) -> None:
    await plan.put()
    async with rig.unchanged():
        assert await plan.fire(plan.firing(), now=NOW - 1) == ["early"]
        assert await plan.fire(plan.firing(tick_ms=NOW + 1)) == ["early"]


async def test_a_tick_with_jitter_is_early_until_it_is_due(rig: Rig, plan: Timetable) -> None:
    await plan.put(next=NOW - MINUTE, due=NOW)
    firing = plan.firing(NOW - MINUTE, due_ms=NOW + 9, next_ms=NOW)
    async with rig.unchanged():
        assert await plan.fire(firing, now=NOW - 1) == ["early"]
        assert await plan.fire(plan.firing(expected_ms=NOW - MINUTE, tick_ms=NOW - 1), now=NOW - 1) == ["early"]
    assert await plan.fire(firing) == ["fired"]
    schedule = await plan.get()
    assert (schedule.next_ms, schedule.due_ms, await plan.ticks()) == (NOW, NOW + 9, {plan.name: NOW + 9})
    assert await plan.fire(plan.firing(kind="move", job=None, next_ms=NOW + HOUR, due_ms=NOW + HOUR + 1)) == ["moved"]
    assert await plan.ticks() == {plan.name: NOW + HOUR + 1}
    assert await plan.fire(plan.firing(NOW + HOUR, kind="move", next_ms=-1, due_ms=-1)) == ["moved"]
    assert ((await plan.get()).due_ms, await plan.ticks()) == (-1, {})


async def test_the_next_tick_only_rises(rig: Rig, plan: Timetable) -> None:
    await plan.put()
    async with rig.unchanged():
        assert await plan.fire_tick(next_ms=NOW) == "not_later"
        assert await plan.fire_tick(next_ms=NOW - HOUR) == "not_later"
        assert await plan.fire_tick(tick_ms=NOW - 1) == "not_later"


# --- missed ticks ------------------------------------------------------------------------------------------------


async def test_ticks_before_the_one_that_is_fired_are_missed(plan: Timetable) -> None:
    await plan.put(next=NOW - 2 * MINUTE)
    assert await plan.fire_tick(expected_ms=NOW - 2 * MINUTE, missed=2) == "fired"
    missed, fired = await plan.history()
    assert (missed.tick_ms, missed.outcome, missed.count, missed.job_id) == (NOW - 2 * MINUTE, "missed", 2, "")
    assert (fired.tick_ms, fired.outcome) == (NOW, "fired")


async def test_all_are_missed_without_a_job(rig: Rig, plan: Timetable) -> None:
    await plan.put(next=NOW - 2 * MINUTE)
    assert await plan.fire_tick(expected_ms=NOW - 2 * MINUTE, missed=3, job=None) == "missed"
    (run,) = await plan.history()
    assert (run.tick_ms, run.outcome, run.count) == (NOW - 2 * MINUTE, "missed", 3)
    assert ((await plan.get()).next_ms, await rig.waiting()) == (NOW + MINUTE, [])


async def test_a_job_that_is_refused_ends_its_tick(rig: Rig, plan: Timetable) -> None:
    await plan.put(next=NOW - MINUTE)
    assert await plan.fire_tick(expected_ms=NOW - MINUTE, missed=1, job="refused") == "refused"
    assert await plan.outcomes() == [(NOW - MINUTE, "missed"), (NOW, "refused")]
    assert ((await plan.get()).next_ms, (await plan.get()).last_job, await rig.waiting()) == (NOW + MINUTE, "", [])
    assert await plan.fire_tick(NOW + MINUTE) == "fired"
    assert await plan.fire_tick(NOW + 2 * MINUTE, overlap="queue_one") == "pending"
    pending = plan.firing(NOW + 2 * MINUTE, kind="pending", job="refused")
    assert await plan.fire(pending) == ["refused"]
    assert (await plan.outcomes())[-1] == (NOW + 2 * MINUTE, "refused")
    assert await plan.waiting_ticks() == {}
    async with rig.unchanged():
        assert await plan.fire(pending) == ["taken"]
        assert await plan.fire(plan.firing(NOW + 3 * MINUTE, kind="pending", job="refused")) == ["taken"]


async def test_one_call_may_catch_up_tick_by_tick(rig: Rig, plan: Timetable) -> None:
    ticks = [NOW - MINUTE, NOW]
    await plan.put(next=ticks[0])
    assert await plan.fire(*(plan.firing(tick, overlap="allow") for tick in ticks)) == ["fired", "fired"]
    assert await rig.waiting() == [plan.id_of(tick) for tick in ticks]
    assert await plan.outcomes() == [(tick, "fired") for tick in ticks]


async def test_another_next_tick_can_be_set_before_it_is_due(rig: Rig, plan: Timetable) -> None:
    """New rules of a time zone."""
    await plan.put(next=NOW + HOUR)
    move: dict[str, Any] = {"kind": "move", "job": None}
    assert await plan.fire_tick(expected_ms=NOW, next_ms=NOW + 1, **move) == "taken"
    assert await plan.fire_tick(expected_ms=NOW + HOUR, next_ms=NOW + 1, **move) == "moved"
    assert await plan.ticks() == {plan.name: NOW + 1}
    assert await plan.history() == []


# --- a store without room ------------------------------------------------------------------------------------------


async def test_in_a_full_store_the_tick_stays_due_and_is_noted_once(rig: Rig, plan: Timetable) -> None:
    await plan.put()
    assert await plan.fire(*[plan.firing(missed=1)] * 2, full=True) == ["full"] * 2
    assert (await plan.outcomes(), await plan.ticks()) == ([(NOW, "full")], {plan.name: NOW})
    async with rig.unchanged():
        assert await plan.fire(plan.firing(missed=1), full=True) == ["full"]
    assert await plan.fire_tick() == "fired"
    assert await plan.outcomes() == [(NOW, "full"), (NOW, "fired")]


async def test_with_too_many_queues_the_tick_is_over(rig: Rig, plan: Timetable) -> None:
    jobs = [rig.job(queue=f"q{number}") for number in range(256)]
    await rig.broker.jobs.enqueue(rig.shard, jobs, now=NOW)
    await plan.put()
    assert await plan.fire_tick(job=plan.job(NOW, queue="one-more")) == "too_many_queues"
    assert await plan.outcomes() == [(NOW, "too_many_queues")]
    assert (await plan.ticks(), (await plan.get()).last_job) == ({plan.name: NOW + MINUTE}, "")
    tick = NOW + MINUTE
    assert await plan.fire_tick(tick, job=plan.job(tick, queue="q255")) == "fired"


@pytest.mark.parametrize("kind", ["valkey"])
async def test_a_store_out_of_memory_refuses_and_the_tick_stays(rig: Rig, plan: Timetable) -> None:
    await plan.put()
    await rig.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(Full):
            await plan.fire_tick()
    finally:
        await rig.client.config_set("maxmemory", 0)
    assert (await plan.ticks(), await plan.history()) == ({plan.name: NOW}, [])


async def test_moves_are_reported(rig: Rig, plan: Timetable) -> None:
    await plan.put()
    moves = rig.listen()
    late = plan.job(NOW + MINUTE, delay_ms=HOUR)
    items = [plan.firing(), plan.firing(), plan.firing(NOW + MINUTE, job=late, overlap="allow")]
    await rig.broker.schedules.fire(rig.shard, items, now=NOW + MINUTE)
    assert moves == [(plan.id_of(NOW), "queued"), (late.id, "scheduled")]
    moves.clear()
    item = plan.firing(NOW + 2 * MINUTE, overlap="cancel_previous")
    await rig.broker.schedules.fire(rig.shard, [item], now=NOW + 2 * MINUTE)
    assert moves == [(plan.id_of(NOW + 2 * MINUTE), "queued"), (late.id, "cancelled")]
