"""save_offset: how much of an export has been read into a store."""

from __future__ import annotations

from queuey.store.broker.calls import FEATURE_FORMAT
from tests.support.store import Rig


async def test_the_last_mark_counts(rig: Rig) -> None:
    assert await rig.broker.transfer.save_offset(rig.shard, "one", 10) == 10
    assert await rig.broker.transfer.save_offset(rig.shard, "two", 0) == 0
    about = await rig.broker.replicas.store_info(rig.shard)
    assert (about.imported, about.import_offset) == ("two", 0)


async def test_it_touches_neither_format_nor_shards(rig: Rig) -> None:
    await rig.broker.replicas.register()
    await rig.broker.transfer.save_offset(rig.shard, "one", 2**40)
    async with rig.unchanged():
        await rig.broker.transfer.save_offset(rig.shard, "one", 2**40)
        await rig.broker.replicas.register()
    about = await rig.broker.replicas.store_info(rig.shard)
    assert (about.data_format, about.shards) == (FEATURE_FORMAT, rig.broker.shards.count)
    assert about.import_offset == 2**40
