"""register: the first replica writes down the data format and the count of shards; others are held against them."""

from __future__ import annotations

import pytest

from queuey.errors import StartupError, TooOld
from queuey.protocol.allowed import counted
from queuey.store.broker.broker import Broker
from queuey.store.shards import Shards
from tests.support.store import Rig


async def test_the_first_one_writes_and_the_others_agree(rig: Rig) -> None:
    await rig.broker.replicas.register()
    count = str(rig.broker.shards.count).encode()
    for keys in rig.broker.shards.keys:
        stored = await rig.client.hgetall(keys.meta)
        assert len(stored.pop(b"store_id")) == 12
        assert stored == {b"format": b"2", b"shards": count, b"features": b"aside schedules unique"}
    async with rig.unchanged():
        await rig.broker.replicas.register()


async def test_a_store_of_before_keeps_its_format(rig: Rig) -> None:
    """A replica that does not know the features may run on it."""
    await rig.client.hset(rig.broker.shards.keys[0].meta, mapping={"format": 1, "shards": rig.broker.shards.count})
    await rig.broker.replicas.register()
    for keys in rig.broker.shards.keys:
        assert await rig.client.hmget(keys.meta, "format", "features") == [b"1", None]


async def test_a_store_that_was_flushed_under_its_replicas_has_no_features(rig: Rig) -> None:
    await rig.broker.replicas.heartbeat(0, "old", "{}")
    await rig.broker.replicas.register()
    for keys in rig.broker.shards.keys:
        assert await rig.client.hmget(keys.meta, "format", "features") == [b"1", None]


async def test_a_shard_that_has_a_job_already_has_no_features(rig: Rig) -> None:
    """It was flushed, and an older replica has taken the job since, perhaps before its next heartbeat."""
    await rig.add()
    await rig.broker.replicas.register()
    assert await rig.client.hmget(rig.keys.meta, "format", "features") == [b"1", None]


async def test_an_unknown_feature_is_refused_on_every_shard(rig: Rig) -> None:
    await rig.broker.replicas.register()
    await rig.client.hset(rig.keys.meta, "features", "aside limits")
    await rig.client.hdel(rig.keys.meta, "store_id")
    async with rig.unchanged():
        with pytest.raises(TooOld, match=r"uses limits, which .* does not know: start the version that the other"):
            await rig.broker.replicas.register()


async def test_a_store_of_before_is_given_an_id(rig: Rig) -> None:
    await rig.broker.replicas.register()
    before = (await rig.broker.replicas.store_info(rig.shard)).store_id
    await rig.client.hdel(rig.keys.meta, "store_id")
    await rig.broker.replicas.register()
    assert (await rig.broker.replicas.store_info(rig.shard)).store_id not in ("", before)


async def test_another_count_of_shards_is_refused(rig: Rig) -> None:
    await rig.broker.replicas.register()
    count = rig.broker.shards.count
    for other in (count + 1, 2 * count):
        refusal = f"in {counted(count, 'shard')} and .* asks for {other}: .* --shards {count}"
        async with rig.unchanged():
            with pytest.raises(StartupError, match=refusal):
                await Broker(Shards(rig.client, other), rig.scripts).replicas.register()


async def test_another_format_is_refused(rig: Rig) -> None:
    await rig.client.hset(rig.keys.meta, mapping={"format": 99, "shards": rig.broker.shards.count})
    with pytest.raises(StartupError, match="format 99 and this version of Queuey reads up to 2"):
        await rig.broker.replicas.register()
    assert await rig.client.hget(rig.keys.meta, "format") == b"99"
