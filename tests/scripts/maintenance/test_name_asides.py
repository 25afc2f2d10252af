"""name_asides: lists set aside get their lost names again."""

from __future__ import annotations

from tests.support.scripts.asides import ids, names, set_aside, type_marked
from tests.support.store import Rig

LIST = ("default", "default", "x")


async def test_a_lost_name_is_given_again(rig: Rig) -> None:
    added = await set_aside(rig, "x")
    await rig.client.delete(rig.keys.queue("default"), rig.keys.queues)
    await type_marked(rig, "x")
    assert await rig.broker.maintenance.name_asides(rig.shard, [LIST, ("default", "low", "x")]) == 1
    assert await names(rig) == " d:x"
    assert await type_marked(rig, "x")
    assert await rig.client.smembers(rig.keys.queues) == {b"default"}
    assert ids(await rig.claim_typed(take={"default": [LIST[1:]]})) == added


async def test_it_gives_no_name_twice_and_none_without_a_list(rig: Rig) -> None:
    await set_aside(rig, "x")
    async with rig.unchanged():
        lists = [LIST, ("default", "low", "x"), ("mail", "default", "x")]
        assert await rig.broker.maintenance.name_asides(rig.shard, lists) == 0


async def test_there_may_be_too_many_names_for_new_ones(rig: Rig) -> None:
    await set_aside(rig, "x")
    await rig.client.hset(rig.keys.queue("default"), "aside", "".join(f" d:full{i}" for i in range(64)))
    assert await rig.broker.maintenance.name_asides(rig.shard, [LIST]) == 1
    assert str(await names(rig)).endswith(" d:full63 d:x")
