"""tidy_asides: the names of empty lists go."""

from __future__ import annotations

from tests.support.scripts.asides import names, set_aside, type_marked
from tests.support.store import NOW, Rig


async def test_the_names_of_empty_lists_go_and_the_others_are_told(rig: Rig) -> None:
    await set_aside(rig, "xyy")
    await set_aside(rig, "x", priority="low")
    await set_aside(rig, "x", queue="mail")
    await rig.claim_typed(9, take={"default": [("default", "x")]})
    lists = await rig.broker.maintenance.tidy_asides(rig.shard)
    assert sorted(lists) == [("default", "default", "y", 2), ("default", "low", "x", 1), ("mail", "default", "x", 1)]
    assert await names(rig) == " d:y l:x"
    assert await names(rig, "mail") == " d:x"


async def test_it_may_be_asked_for_one_queue(rig: Rig) -> None:
    await set_aside(rig, "x")
    await set_aside(rig, "x", queue="mail")
    assert await rig.broker.maintenance.tidy_asides(rig.shard, "mail") == [("mail", "default", "x", 1)]
    assert await rig.broker.maintenance.tidy_asides(rig.shard, "other") == []


async def test_the_last_name_takes_the_field_along(rig: Rig) -> None:
    await set_aside(rig, "x")
    await rig.claim_typed(9, take={"default": [("default", "x")]})
    assert await names(rig) == " d:x"
    assert await rig.broker.maintenance.tidy_asides(rig.shard) == []
    assert await names(rig) is None
    assert (await rig.claim()).asides is None


async def test_the_marker_of_a_type_goes_with_its_last_list(rig: Rig) -> None:
    await set_aside(rig, "xy")
    await set_aside(rig, "x", priority="low")
    await rig.claim_typed(9, take={"default": [("default", "x"), ("default", "y")]})
    await rig.broker.maintenance.tidy_asides(rig.shard)
    assert await type_marked(rig, "x")  # the low lane has one yet
    assert not await type_marked(rig, "y")


async def test_tombstones_keep_a_name(rig: Rig) -> None:
    added = await set_aside(rig, "x")
    await rig.broker.jobs.cancel(rig.shard, added, now=NOW)
    async with rig.unchanged():
        assert await rig.broker.maintenance.tidy_asides(rig.shard) == [("default", "default", "x", 1)]
