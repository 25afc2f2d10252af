"""get_schedules: records and runs, as they are stored."""

from __future__ import annotations

from queuey.protocol.stored.schedules import is_record, is_run, to_schedule
from queuey.store.broker.calls import CLAIM_BYTES
from tests.support.scripts.schedules import MINUTE, SPEC, Timetable
from tests.support.store import NOW, Rig


async def test_each_has_its_record_and_a_missing_one_none(rig: Rig, plan: Timetable) -> None:
    await plan.put()
    async with rig.unchanged():
        now, found = await plan.broker.schedules.get_schedules(plan.shard, ["missing", plan.name], now=NOW + 5)
    assert now == NOW + 5
    assert found[0] == ("", [])
    assert (to_schedule(plan.name, found[1][0]).spec, found[1][1]) == (SPEC, [])
    assert is_record(found[1][0])


async def test_it_has_the_last_runs_the_newest_first(plan: Timetable) -> None:
    await plan.put()
    for number in range(3):
        await plan.fire_tick(NOW + number * MINUTE, overlap="allow")
    _, ((_, runs),) = await plan.broker.schedules.get_schedules(plan.shard, [plan.name], 2)
    assert [int(run.split()[0]) - NOW for run in runs] == [2 * MINUTE, MINUTE]
    assert all(map(is_run, runs))


async def test_at_most_50_runs_are_kept(rig: Rig, plan: Timetable) -> None:
    await plan.put()
    for number in range(75):
        await plan.fire_tick(NOW + number * MINUTE, overlap="allow")
    _, ((_, runs),) = await plan.broker.schedules.get_schedules(plan.shard, [plan.name], 1000)
    assert [int(run.split()[0]) - NOW for run in runs] == [number * MINUTE for number in range(74, 24, -1)]
    assert await rig.client.llen(rig.keys.runs(plan.name)) <= 60


async def test_it_stops_after_the_record_that_exceeds_the_bytes(plan: Timetable) -> None:
    names = [f"n{number}" for number in range(4)]
    for name in names:
        await plan.put(name, spec='"' + "x" * (CLAIM_BYTES // 2) + '"')
    _, found = await plan.broker.schedules.get_schedules(plan.shard, names)
    assert len(found) == 2
