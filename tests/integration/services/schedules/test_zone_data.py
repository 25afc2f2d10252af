"""Next ticks are corrected after an update of the time zone data."""

from __future__ import annotations

import time
from typing import Any, Final

import pytest

from queuey.services.schedules.firing import zone_data
from queuey.services.schedules.firing.zone_data import ZoneData
from queuey.services.schedules.ticks import Ticks
from tests.integration.services.schedules.conftest import Plans, request_of, uid_of
from tests.integration.services.schedules.test_waking import now
from tests.support.store import HOUR, Rig
from tests.support.stores import SHARDS, one_of

shards = one_of(*SHARDS)
FAR: Final = (time.gmtime().tm_hour + 12) % 24
"""An hour that is far from now in every zone of Europe, so that no tick comes while a test runs."""
BERLIN: dict[str, Any] = {"cron": f"30 {FAR} * * *", "timezone": "Europe/Berlin", "jitter": 60}


async def wrong(plans: Plans, name: str, *, by: int = HOUR, **spec: Any) -> int:
    """A schedule whose next tick is another one than by the data of this process. Returns the right one."""
    ticks = await plans.make(name, created=now(), **spec)
    stored = await plans.get(name)
    right = ticks.after(now() + HOUR)
    assert right is not None
    item = plans.firing(
        0, name=name, mark=stored.mark, kind="move", expected_ms=stored.next_ms, next_ms=right + by, job=None
    )
    assert (await plans.broker.schedules.fire(plans.shard, [item])).answers == ["moved"]
    return right


async def test_next_ticks_are_moved_to_where_they_are_by_new_data(
    rig: Rig, plans: Plans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zone_data, "PAGE", 2)
    names = [plans.named(f"n{number}-") for number in range(5)]
    right = {name: await wrong(plans, name, **BERLIN) for name in names}
    assert await ZoneData(rig.broker, rig.shard).run_once() == zone_data.EVERY_SECONDS
    ticks = Ticks(request_of({"job": {"type": "x"}, **BERLIN}), 0)
    for name in names:
        stored = await plans.get(name)
        assert (stored.next_ms, stored.due_ms) == (right[name], ticks.due(uid_of(name), right[name]))
    assert await plans.history(names[0]) == []


@pytest.mark.parametrize("spec", [{"cron": f"30 {FAR} * * *"}, {"every": 86400, "timezone": "Europe/Berlin"}])
async def test_those_without_a_zone_are_left(rig: Rig, plans: Plans, spec: dict[str, Any]) -> None:
    await wrong(plans, plans.name, **spec)
    async with rig.unchanged():
        await ZoneData(rig.broker, rig.shard).run_once()


async def test_those_that_are_right_paused_due_or_cannot_be_read_are_left(rig: Rig, plans: Plans) -> None:
    right, paused, due, bad = (plans.named(word) for word in ("right", "paused", "due", "bad"))
    await plans.make(right, created=now(), **BERLIN)
    await wrong(plans, paused, **BERLIN)
    plans.name = paused
    await plans.pause()
    await plans.make(due, created=now() - 48 * HOUR, **BERLIN)
    await plans.put(bad, spec="{}", next=now() + 9 * HOUR)
    async with rig.unchanged():
        await ZoneData(rig.broker, rig.shard).run_once()
