"""put_schedules: schedules are made and replaced, with compare-and-set."""

from __future__ import annotations

import pytest

from queuey.errors import Full
from queuey.store.broker.schedules import NewSchedule
from tests.support.scripts.schedules import MINUTE, SPEC, UID, Timetable
from tests.support.store import HOUR, NOW, Rig

OTHER = '{"cron":"0 3 * * *"}'


async def test_a_new_schedule_has_its_keys_and_nothing_else(rig: Rig, plan: Timetable) -> None:
    assert await plan.put(next=NOW + MINUTE) == ("new", f"{UID}.1")
    name = plan.name
    assert await rig.names() == {"meta", "ticks", "schedule_names", f"schedule:{name}"}
    schedule = await plan.get()
    assert (schedule.uid, schedule.version, schedule.mark) == (UID, 1, f"{UID}.1")
    assert (schedule.created_ms, schedule.replaced_ms, schedule.next_ms) == (NOW, -1, NOW + MINUTE)
    assert (schedule.last_tick_ms, schedule.last_job, schedule.pending_ms, schedule.pause) == (-1, "", -1, "")
    assert (schedule.spec, schedule.anchor_ms, schedule.due_ms) == (SPEC, NOW, NOW + MINUTE)
    assert await plan.ticks() == {name: NOW + MINUTE}
    assert await rig.scores(rig.keys.schedule_names) == {name: 0}


async def test_the_same_again_changes_nothing_whatever_the_mark(rig: Rig, plan: Timetable) -> None:
    await plan.put(next=NOW)
    async with rig.unchanged():
        for mark in ("*", "", f"{UID}.1", "other.9"):
            assert await plan.put(mark=mark, next=NOW + HOUR, uid="other") == ("same", f"{UID}.1")


async def test_a_replaced_one_keeps_its_uid_its_last_job_and_its_runs(plan: Timetable) -> None:
    await plan.put()
    assert await plan.fire_tick() == "fired"
    before, runs = await plan.get(), await plan.history()
    assert await plan.put(spec=OTHER, next=NOW + HOUR, uid="other", now=NOW + 1) == ("replaced", f"{UID}.2")
    after = await plan.get()
    assert (after.uid, after.version, after.spec) == (UID, 2, OTHER)
    assert (after.next_ms, after.created_ms, after.replaced_ms) == (NOW + HOUR, NOW, NOW + 1)
    assert (after.last_tick_ms, after.last_job) == (before.last_tick_ms, before.last_job)
    assert await plan.history() == runs
    assert await plan.ticks() == {plan.name: NOW + HOUR}


async def test_a_tick_is_due_later_by_its_jitter(plan: Timetable) -> None:
    await plan.put(next=NOW, due=NOW + 7)
    schedule = await plan.get()
    assert (schedule.next_ms, schedule.due_ms, await plan.ticks()) == (NOW, NOW + 7, {plan.name: NOW + 7})
    await plan.put(spec=OTHER, next=NOW + MINUTE)
    schedule = await plan.get()
    assert (schedule.due_ms, await plan.ticks()) == (NOW + MINUTE, {plan.name: NOW + MINUTE})


async def test_a_replaced_one_keeps_its_anchor(plan: Timetable) -> None:
    await plan.put(anchor=NOW - 3, now=NOW)
    await plan.put(spec=OTHER, anchor=NOW + HOUR, now=NOW + HOUR)
    assert ((await plan.get()).anchor_ms, (await plan.get()).created_ms) == (NOW - 3, NOW)


async def test_a_paused_one_stays_paused(plan: Timetable) -> None:
    await plan.put()
    await plan.pause()
    assert await plan.put(spec=OTHER, next=NOW + HOUR) == ("replaced", f"{UID}.2")
    assert (await plan.get()).pause
    assert await plan.ticks() == {}


@pytest.mark.parametrize("mark", ["", "other.1", f"{UID}.0", f"{UID}.2"])
async def test_another_mark_changes_nothing(rig: Rig, plan: Timetable, mark: str) -> None:
    await plan.put()
    async with rig.unchanged():
        assert await plan.put(spec=OTHER, mark=mark) == ("conflict", f"{UID}.1")


async def test_a_mark_without_a_schedule_makes_none(rig: Rig, plan: Timetable) -> None:
    async with rig.unchanged():
        assert await plan.put(mark=f"{UID}.1") == ("conflict", "")


async def test_of_two_that_replace_the_same_version_one_does(plan: Timetable) -> None:
    _, mark = await plan.put()
    items = [NewSchedule(plan.name, UID, mark, NOW, NOW, NOW, spec) for spec in (OTHER, "{}")]
    answers = await plan.broker.schedules.put_schedules(plan.shard, items, now=NOW)
    assert answers == [("replaced", f"{UID}.2"), ("conflict", f"{UID}.2")]
    assert (await plan.get()).spec == OTHER


async def test_one_without_a_next_tick_has_no_place_in_ticks(plan: Timetable) -> None:
    await plan.put(next=-1)
    assert (await plan.ticks(), (await plan.get()).next_ms) == ({}, -1)
    await plan.put(spec=OTHER, next=NOW)
    assert await plan.ticks() == {plan.name: NOW}
    await plan.put(spec=SPEC, next=-1)
    assert await plan.ticks() == {}


async def test_a_time_of_15_digits_is_kept_exactly(plan: Timetable) -> None:
    far = 253_402_300_799_001  # the year 9999
    await plan.put(next=far)
    assert ((await plan.get()).next_ms, await plan.ticks()) == (far, {plan.name: far})


async def test_a_shard_has_at_most_10_000(rig: Rig, plan: Timetable) -> None:
    await plan.put()
    await rig.client.zadd(rig.keys.schedule_names, {f"n{number}": 0 for number in range(9_998)})
    assert await plan.put("last") == ("new", f"{UID}.1")
    async with rig.unchanged():
        assert await plan.put("one-more") == ("too_many", "")
    assert (await plan.put(spec=OTHER))[0] == "replaced"


async def test_nothing_is_written_while_older_replicas_run(rig: Rig) -> None:
    plan = Timetable(rig)
    async with rig.unchanged():
        assert await plan.put() == ("closed", "")
    await rig.client.hset(rig.keys.meta, "features", "aside")
    async with rig.unchanged():
        assert await plan.put() == ("closed", "")


@pytest.mark.parametrize("kind", ["valkey"])
async def test_a_full_store_refuses(rig: Rig, plan: Timetable) -> None:
    await rig.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(Full):
            await plan.put()
    finally:
        await rig.client.config_set("maxmemory", 0)
    assert "schedule_names" not in await rig.names()
