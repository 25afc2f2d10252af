"""store_info: what a store is, for a program that looks before it joins."""

from __future__ import annotations

from queuey.store.replies import About
from tests.support.store import NOW, Rig


async def test_an_empty_store_has_no_format(rig: Rig) -> None:
    async with rig.unchanged():
        assert await rig.broker.replicas.store_info(rig.shard, now=NOW) == About(0, 0, NOW, "", 0)


async def test_what_was_joined_and_read_into(rig: Rig) -> None:
    await rig.broker.replicas.register()
    await rig.broker.transfer.save_offset(rig.shard, "export1", 4096)
    async with rig.unchanged():
        about = await rig.broker.replicas.store_info(rig.shard, now=NOW)
    store_id = (await rig.client.hget(rig.keys.meta, "store_id")).decode()
    assert about == About(2, rig.broker.shards.count, NOW, "export1", 4096, store_id, ["aside", "schedules", "unique"])
    assert store_id


async def test_its_clock_is_the_stores(rig: Rig) -> None:
    about = await rig.broker.replicas.store_info(rig.shard)
    seconds, _ = await rig.client.time()
    assert about.now_ms // 1000 <= seconds
    assert about.now_ms > seconds * 1000 - 60_000
