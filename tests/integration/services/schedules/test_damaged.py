"""A record of a schedule that no version of Queuey has written."""

from __future__ import annotations

import pytest

from tests.integration.services.schedules.conftest import MINUTE, Plans, Replica
from tests.support.store import NOW, Rig

FIRST = NOW + MINUTE


@pytest.mark.parametrize("record", ["damaged", "u=U1 v=x a=3 n=5\n\n{}", "v=1 a=3\n\n{}"])
async def test_it_hides_no_other_schedule(rig: Rig, plans: Plans, replica: Replica, record: str) -> None:
    damaged = plans.named("damaged")
    await rig.client.set(rig.keys.schedule(damaged), record)
    await rig.client.zadd(rig.keys.ticks, {damaged: FIRST - 1})
    await rig.client.zadd(rig.keys.schedule_names, {damaged: 0})
    await plans.make(every=60)
    await replica.look(FIRST)
    assert await plans.runs() == [(FIRST, "fired", 1)]
    schedules, _ = await rig.broker.schedules.list_schedules(rig.shard)
    assert [schedule.name for schedule in schedules] == [plans.name]
