"""open_feature: the keys of a feature may be written, once every known replica knows it."""

from __future__ import annotations

import pytest

from queuey.store.replies import Opening
from tests.support.store import NOW, SECOND, Rig

SETTLE = 60 * SECOND
KNOWS = '{"version":"2","features":["aside"]}'
OLD = '{"version":"1"}'


async def beat(rig: Rig, replica: str, description: str, *, now: int = NOW) -> None:
    await rig.broker.replicas.heartbeat(rig.shard, replica, description, SETTLE, now=now)


async def opened(rig: Rig, *, now: int = NOW, may_open: bool = True, settle_ms: int = SETTLE) -> Opening:
    return await rig.broker.replicas.open_feature(rig.shard, "aside", settle_ms, may_open=may_open, now=now)


async def meta(rig: Rig) -> tuple[bytes | None, bytes | None]:
    data_format, features = await rig.client.hmget(rig.keys.meta, "format", "features")
    return data_format, features


async def test_the_format_is_raised_first_and_the_feature_opens_after_a_while(rig: Rig) -> None:
    await rig.client.hset(rig.keys.meta, "format", 1)
    await beat(rig, "a", KNOWS)
    assert await opened(rig) == Opening("settling", [])
    assert await meta(rig) == (b"2", None)
    assert await opened(rig, now=NOW + SETTLE - 1) == Opening("settling", [])
    assert await meta(rig) == (b"2", None)
    async with rig.unchanged():
        assert await opened(rig, now=NOW + SETTLE, may_open=False) == Opening("ready", [])
    assert await opened(rig, now=NOW + SETTLE) == Opening("open", [])
    assert await meta(rig) == (b"2", b"aside")
    async with rig.unchanged():
        assert await opened(rig, now=NOW + SETTLE) == Opening("open", []), "the same call again"
    assert not await rig.client.hexists(rig.keys.meta, "settling_aside")


async def test_replicas_that_do_not_know_it_hold_it(rig: Rig) -> None:
    await rig.client.hset(rig.keys.meta, "format", 1)
    await beat(rig, "new", KNOWS)
    await beat(rig, "old", OLD)
    async with rig.unchanged():
        assert await opened(rig) == Opening("held", ["old"])
    await beat(rig, "old", "")
    assert (await opened(rig)).word == "settling"


async def test_an_older_one_counts_until_it_is_forgotten(rig: Rig) -> None:
    """A replica that shows no sign is not listed any more after a minute; the next heartbeat of another removes it."""
    await beat(rig, "old", OLD)
    assert await opened(rig, now=NOW + 10 * SETTLE) == Opening("held", ["old"])
    await beat(rig, "new", KNOWS, now=NOW + SETTLE + 1)
    assert (await opened(rig, now=NOW + SETTLE + 1)).word == "settling"


async def test_one_that_appears_meanwhile_starts_the_wait_again(rig: Rig) -> None:
    await opened(rig)
    await beat(rig, "old", OLD, now=NOW + SECOND)
    assert await opened(rig, now=NOW + SETTLE) == Opening("held", ["old"])
    assert await meta(rig) == (b"2", None), "no older one starts any more"
    await beat(rig, "old", "", now=NOW + SETTLE)
    assert (await opened(rig, now=NOW + SETTLE)).word == "settling"
    assert (await opened(rig, now=NOW + 2 * SETTLE - 1)).word == "settling"
    assert (await opened(rig, now=NOW + 2 * SETTLE)).word == "open"


async def test_at_most_ten_are_named(rig: Rig) -> None:
    for number in range(12):
        await beat(rig, f"old{number}", OLD)
    assert len((await opened(rig)).held_by) == 10


async def test_a_shard_without_heartbeats_has_nothing_to_wait_for(rig: Rig) -> None:
    assert (await opened(rig, settle_ms=0, may_open=False)).word == "settling"
    assert await meta(rig) == (b"2", None)
    assert (await opened(rig, settle_ms=0)).word == "open"


async def test_other_features_stay_open(rig: Rig) -> None:
    await rig.client.hset(rig.keys.meta, mapping={"format": 3, "features": "limits"})
    await opened(rig, settle_ms=0)
    await opened(rig, settle_ms=0)
    assert await meta(rig) == (b"3", b"limits aside")


@pytest.mark.parametrize("kind", ["valkey"])
async def test_a_clock_that_went_back_opens_it_no_sooner(rig: Rig) -> None:
    await opened(rig)
    assert (await opened(rig, now=NOW - 10 * SETTLE)).word == "settling"
    assert (await opened(rig, now=NOW - 9 * SETTLE)).word == "open"
