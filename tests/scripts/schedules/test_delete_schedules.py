"""delete_schedules: a schedule goes with all of its keys, and its jobs stay."""

from __future__ import annotations

import pytest

from tests.support.scripts.schedules import MINUTE, UID, Timetable
from tests.support.store import NOW, Rig


async def delete(plan: Timetable, *items: tuple[str, str]) -> list[str]:
    return await plan.broker.schedules.delete_schedules(plan.shard, items)


async def test_all_of_its_keys_go_and_its_job_stays(rig: Rig, plan: Timetable) -> None:
    await plan.put()
    await plan.fire_tick()
    await plan.fire_tick(NOW + MINUTE, overlap="queue_one")
    assert await plan.waiting_ticks() == {plan.name: 0}
    assert await delete(plan, (plan.name, "*")) == ["ok"]
    job = f"job:{plan.id_of(NOW)}"
    assert await rig.names() == {"meta", "queues", "stats", "wake:default", "ready:default:default", job}


async def test_again_it_is_missing(rig: Rig, plan: Timetable) -> None:
    await plan.put()
    assert await delete(plan, (plan.name, f"{UID}.1"), (plan.name, "*")) == ["ok", "missing"]
    async with rig.unchanged():
        assert await delete(plan, (plan.name, "*"), ("other", "*")) == ["missing", "missing"]


@pytest.mark.parametrize("mark", ["", "other.1", f"{UID}.2"])
async def test_another_mark_deletes_nothing(rig: Rig, plan: Timetable, mark: str) -> None:
    await plan.put()
    async with rig.unchanged():
        assert await delete(plan, (plan.name, mark)) == ["conflict"]


async def test_one_made_again_has_no_part_of_the_first(plan: Timetable) -> None:
    await plan.put()
    await plan.fire_tick()
    await delete(plan, (plan.name, "*"))
    assert await plan.put(uid="second") == ("new", "second.1")
    assert (await plan.history(), (await plan.get()).last_job) == ([], "")
    assert await plan.fire_tick() == "conflict", "a firing of the first one does nothing"
    job = plan.job(NOW, uid="second")
    assert await plan.fire_tick(mark="second.1", job=job) == "fired", "its ticks are others, with other ids"
