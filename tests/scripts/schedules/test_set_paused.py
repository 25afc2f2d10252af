"""set_paused: pause and resume."""

from __future__ import annotations

import pytest

from queuey.store.broker.schedules import Pausing
from tests.support.scripts.schedules import MINUTE, PAUSE, UID, Timetable
from tests.support.store import HOUR, NOW, Rig


async def test_a_paused_one_has_no_ticks_until_it_is_resumed(plan: Timetable) -> None:
    await plan.put()
    items = [Pausing(plan.name, f"{UID}.1", PAUSE)]
    assert await plan.broker.schedules.set_paused(plan.shard, items, now=NOW + 1) == ["ok"]
    schedule = await plan.get()
    assert (schedule.pause, schedule.paused_ms, schedule.next_ms) == (PAUSE, NOW + 1, NOW)
    assert await plan.ticks() == {}
    assert await plan.fire_tick() == "paused"
    assert await plan.pause("", next=NOW + HOUR) == "ok"
    schedule = await plan.get()
    assert (schedule.pause, schedule.paused_ms, schedule.next_ms) == ("", -1, NOW + HOUR)
    assert await plan.ticks() == {plan.name: NOW + HOUR}


async def test_it_is_resumed_with_the_time_at_which_its_tick_is_due(plan: Timetable) -> None:
    await plan.put(next=NOW, due=NOW + 3)
    await plan.pause()
    assert (await plan.get()).due_ms == NOW + 3
    await plan.pause("", next=NOW + HOUR, due=NOW + HOUR + 5)
    assert ((await plan.get()).due_ms, await plan.ticks()) == (NOW + HOUR + 5, {plan.name: NOW + HOUR + 5})


async def test_again_it_is_the_same_and_nothing_changes(rig: Rig, plan: Timetable) -> None:
    await plan.put()
    async with rig.unchanged():
        assert await plan.pause("", next=NOW + HOUR) == "same"
    await plan.pause()
    async with rig.unchanged():
        assert await plan.pause(now=NOW + 1) == "same"
    assert await plan.pause('{"reason":"other"}', now=NOW + 1) == "ok"
    assert (await plan.get()).paused_ms == NOW + 1


@pytest.mark.parametrize("mark", ["", "other.1", f"{UID}.2"])
async def test_another_mark_changes_nothing(rig: Rig, plan: Timetable, mark: str) -> None:
    await plan.put()
    async with rig.unchanged():
        assert await plan.pause(mark=mark) == "conflict"


async def test_a_missing_one_is_told(rig: Rig, plan: Timetable) -> None:
    async with rig.unchanged():
        assert await plan.pause() == "missing"


async def test_a_tick_that_waits_is_skipped(plan: Timetable) -> None:
    await plan.put()
    await plan.fire_tick()
    assert await plan.fire_tick(NOW + MINUTE, overlap="queue_one") == "pending"
    await plan.pause(now=NOW + HOUR)
    assert (await plan.get()).pending_ms == -1
    assert await plan.waiting_ticks() == {}
    assert (await plan.outcomes())[-1] == (NOW + MINUTE, "skipped")
    await plan.pause("", next=NOW + HOUR)
    assert await plan.waiting_ticks() == {}


async def test_one_that_has_ended_can_be_resumed_without_ticks(plan: Timetable) -> None:
    await plan.put(next=-1)
    assert [await plan.pause(), await plan.pause("", next=-1)] == ["ok", "ok"]
    assert await plan.ticks() == {}
