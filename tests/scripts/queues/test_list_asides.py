"""list_asides: the lists set aside of queues, with their lengths."""

from __future__ import annotations

from queuey.store.replies import Asides
from tests.support.scripts.asides import aside, set_aside
from tests.support.store import NOW, SECOND, Rig


async def test_each_list_is_counted_in_its_queue_and_lane(rig: Rig) -> None:
    await set_aside(rig, "xyx")
    await set_aside(rig, "x", priority="high")
    await set_aside(rig, "xx", queue="mail")
    async with rig.unchanged():
        found = await rig.broker.queues.list_asides(rig.shard, ["default", "mail", "nowhere"], now=NOW)
    assert list(found) == [
        Asides(-1, [("default", "x", 2), ("default", "y", 1), ("high", "x", 1)]),
        Asides(-1, [("default", "x", 2)]),
        Asides(-1, []),
    ]


async def test_a_list_that_is_empty_is_left_out_though_it_has_a_name(rig: Rig) -> None:
    await set_aside(rig, "xy")
    await rig.claim_typed(room=[], take={"default": [("default", "x")]})
    assert await aside(rig, "x") == []
    (found,) = await rig.broker.queues.list_asides(rig.shard, ["default"], now=NOW)
    assert found.lists == [("default", "y", 1)]


async def test_it_says_how_long_ago_a_worker_of_every_type_asked(rig: Rig) -> None:
    await rig.add()
    await rig.broker.maintenance.note_types(rig.shard, [("default", True, ())], now=NOW)
    (found,) = await rig.broker.queues.list_asides(rig.shard, ["default"], now=NOW + SECOND)
    assert found == Asides(SECOND, [])
