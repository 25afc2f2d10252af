"""due_schedules: what may be fired now."""

from __future__ import annotations

from queuey.store.broker.calls import CLAIM_BYTES
from queuey.store.broker.schedules import DueSchedules
from tests.support.scripts.schedules import MINUTE, SPEC, Timetable
from tests.support.store import HOUR, NOW, Rig


async def due(plan: Timetable, limit: int = 10, after: str = "", now: int = NOW) -> DueSchedules:
    return await plan.broker.schedules.due_schedules(plan.shard, limit, after, now=now)


async def test_those_whose_tick_has_come_are_there_the_oldest_first(rig: Rig, plan: Timetable) -> None:
    for name, tick in (("b", NOW), ("a", NOW + 1), ("c", NOW - MINUTE), ("d", NOW + HOUR)):
        await plan.put(name, next=tick)
    async with rig.unchanged():
        found = await due(plan)
    assert [(schedule.name, schedule.next_ms, schedule.spec) for schedule in found.due] == [
        ("c", NOW - MINUTE, SPEC),
        ("b", NOW, SPEC),
    ]
    assert (found.now_ms, found.due_in_ms, found.more, found.pending, found.after) == (NOW, 1, False, [], "")
    found = await due(plan, limit=1)
    assert ([schedule.name for schedule in found.due], found.more, found.due_in_ms) == (["c"], True, 1)


async def test_none_is_due_without_a_tick(plan: Timetable) -> None:
    await plan.put(next=-1)
    found = await due(plan)
    assert (found.due, found.due_in_ms, found.more) == ([], -1, False)


async def test_a_paused_one_is_not_due(plan: Timetable) -> None:
    await plan.put()
    await plan.pause()
    assert (await due(plan)).due == []


async def test_it_stops_after_the_record_that_exceeds_the_bytes(plan: Timetable) -> None:
    for number in range(4):
        await plan.put(f"n{number}", spec='"' + "x" * (CLAIM_BYTES // 2) + '"')
    found = await due(plan)
    assert ([schedule.name for schedule in found.due], found.more) == (["n0", "n1"], True)


async def waiting(plan: Timetable, *names: str) -> None:
    """Schedules of which a tick waits for the end of a job."""
    for name in names:
        await plan.put(name)
        assert await plan.fire_tick(name=name) == "fired"
        assert await plan.fire_tick(NOW + MINUTE, name=name, overlap="queue_one") == "pending"


async def names_of_pending(plan: Timetable, limit: int = 10, after: str = "") -> tuple[list[str], str]:
    found = await due(plan, limit, after)
    return [schedule.name for schedule in found.pending], found.after


async def test_a_tick_waits_until_the_last_job_has_ended(rig: Rig, plan: Timetable) -> None:
    await waiting(plan, plan.name)
    assert await names_of_pending(plan) == ([], ""), "the job is queued"
    (job,) = (await rig.claim()).jobs
    assert await names_of_pending(plan) == ([], ""), "the job runs"
    await rig.broker.leases.fail(rig.shard, [(job.id, job.token, "{}", MINUTE, False)], now=NOW)
    assert await names_of_pending(plan) == ([], ""), "the job waits for its next attempt"
    await rig.broker.jobs.cancel(rig.shard, [job.id], now=NOW)
    assert await names_of_pending(plan) == ([plan.name], "")
    await rig.broker.jobs.delete(rig.shard, [job.id])
    assert await names_of_pending(plan) == ([plan.name], "")


async def test_a_dead_job_and_one_that_succeeded_have_ended(rig: Rig, plan: Timetable) -> None:
    await waiting(plan, "a", "b")
    first, second = (await rig.claim(2)).jobs
    await rig.broker.leases.fail(rig.shard, [(first.id, first.token, "{}", 0, True)], now=NOW)
    await rig.broker.leases.complete(rig.shard, [(second.id, second.token, "")], now=NOW)
    assert await names_of_pending(plan) == (["a", "b"], "")


async def test_those_that_wait_are_looked_at_in_turn(rig: Rig, plan: Timetable) -> None:
    names = ["a", "b", "c", "d", "e"]
    await waiting(plan, *names)
    await rig.broker.jobs.cancel(rig.shard, [plan.id_of(NOW, name=name) for name in ("a", "d")], now=NOW)
    assert await names_of_pending(plan, 2) == (["a"], "b")
    assert await names_of_pending(plan, 2, "b") == (["d"], "d")
    assert await names_of_pending(plan, 2, "d") == ([], "")


async def test_a_reply_that_is_full_goes_on_there_the_next_time(rig: Rig, plan: Timetable) -> None:
    await waiting(plan, "a", "b", "c")
    spec = '"' + "x" * CLAIM_BYTES + '"'
    for name in ("a", "b", "c"):
        await plan.put(name, spec=spec, next=NOW + HOUR)
        await rig.broker.jobs.cancel(rig.shard, [plan.id_of(NOW, name=name)], now=NOW)
    assert await names_of_pending(plan) == (["a"], "a")
    assert await names_of_pending(plan, after="a") == (["b"], "b")
    assert await names_of_pending(plan, after="b") == (["c"], "")


async def test_a_reply_that_due_ones_fill_keeps_the_place_of_those_that_wait(rig: Rig, plan: Timetable) -> None:
    await waiting(plan, "a", "b", "c")
    for name in ("b", "c"):
        await rig.broker.jobs.cancel(rig.shard, [plan.id_of(NOW, name=name)], now=NOW)
    await plan.put("due", spec='"' + "x" * CLAIM_BYTES + '"')
    assert await names_of_pending(plan, 1, "a") == ([], "a")
    assert await names_of_pending(plan, 2, "a") == ([], "a")
    assert await names_of_pending(plan, after="c") == ([], "")
    await rig.broker.schedules.delete_schedules(rig.shard, [("due", "*")])
    assert await names_of_pending(plan, after="a") == (["b", "c"], "")
