"""restore_schedules: schedules of an export, as they were."""

from __future__ import annotations

from tests.support.scripts.schedules import MINUTE, Timetable
from tests.support.store import NOW, Rig


async def restore(plan: Timetable, *items: tuple[str, str, list[str]]) -> list[str]:
    return await plan.broker.transfer.restore_schedules(plan.shard, items)


async def exported(plan: Timetable) -> tuple[str, str, list[str]]:
    _, ((record, runs),) = await plan.broker.schedules.get_schedules(plan.shard, [plan.name], 50)
    return plan.name, record, runs


async def test_all_keys_of_a_schedule_are_as_they_were(rig: Rig, plan: Timetable) -> None:
    await plan.put()
    await plan.fire_tick()
    await plan.fire_tick(NOW + MINUTE, overlap="queue_one")
    item, before = await exported(plan), (await plan.get(), await plan.history())
    places = await plan.ticks(), await plan.waiting_ticks(), await rig.scores(rig.keys.schedule_names)
    await rig.client.flushall()
    await plan.open_gate()
    assert await restore(plan, item) == ["ok"]
    assert (await plan.get(), await plan.history()) == before
    assert places == (await plan.ticks(), await plan.waiting_ticks(), await rig.scores(rig.keys.schedule_names))
    async with rig.unchanged():
        assert await restore(plan, item, item) == ["there", "there"]


async def test_a_paused_one_stays_paused(rig: Rig, plan: Timetable) -> None:
    await plan.put()
    await plan.pause()
    item = await exported(plan)
    await rig.client.flushall()
    await plan.open_gate()
    assert await restore(plan, item, item) == ["ok", "there"]
    assert (await plan.ticks(), bool((await plan.get()).pause)) == ({}, True)


async def test_one_that_is_there_does_not_change(rig: Rig, plan: Timetable) -> None:
    await plan.put()
    item = await exported(plan)
    await plan.put(spec="{}")
    async with rig.unchanged():
        assert await restore(plan, item) == ["there"]


async def test_a_shard_has_at_most_10_000(rig: Rig, plan: Timetable) -> None:
    await plan.put()
    _, record, _ = await exported(plan)
    await rig.client.zadd(rig.keys.schedule_names, {f"n{number}": 0 for number in range(9_998)})
    answers = await plan.broker.transfer.restore_schedules(plan.shard, [("last", record, []), ("more", record, [])])
    assert answers == ["ok", "too_many"]


async def test_nothing_is_written_while_older_replicas_run(rig: Rig, plan: Timetable) -> None:
    await plan.put()
    item = await exported(plan)
    await rig.client.flushall()
    async with rig.unchanged():
        assert await restore(plan, item) == ["closed"]
