"""The gate for new keys: a feature is open once every replica knows it, and on every shard."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from structlog.testing import capture_logs

from queuey.errors import StoreUnavailable, TooOld
from queuey.services.maintenance.feature_gate import FeatureGate
from queuey.services.maintenance.heartbeat import Heartbeat, introduce
from queuey.services.maintenance.loops import run_forever
from queuey.services.workers import Description
from queuey.store.broker.calls import FEATURES
from queuey.store.replies import Opening
from tests.support.store import Rig
from tests.support.stores import SHARDS, one_of

shards = one_of(*SHARDS)


def described(*features: str) -> Description:
    return Description("1", 1, ["api"], [], features=list(features))


def heart(
    rig: Rig, name: str, *features: str, settle_ms: int = 0, on_older: Callable[[], None] = lambda: None
) -> Heartbeat:
    gate = FeatureGate(rig.broker, settle_ms=settle_ms, features=("aside",), on_older=on_older)
    return Heartbeat(rig.broker, name, lambda: described(*features), 5.0, gate=gate)


async def meta(rig: Rig, field: str) -> list[bytes | None]:
    """The field on each shard."""
    return [await rig.client.hget(keys.meta, field) for keys in rig.broker.shards.keys]


async def older_store(rig: Rig) -> None:
    """A store on which a replica without features has started."""
    for keys in rig.broker.shards.keys:
        await rig.client.hset(keys.meta, mapping={"format": 1, "shards": rig.broker.shards.count})


async def older_beat(rig: Rig, name: str) -> None:
    """A heartbeat as b7eee1c sends it: its own script refuses nothing."""
    seconds, _ = await rig.client.time()
    text = msgspec.json.encode({"version": "0.1.0", "pid": 1, "roles": [], "workers": []}).decode()
    await rig.client.hset(rig.broker.shards.keys[0].workers, name, f"{seconds * 1000} {text}")


async def test_the_format_is_raised_everywhere_before_the_feature_opens_anywhere(rig: Rig) -> None:
    await older_store(rig)
    new, count = heart(rig, "new", *FEATURES), rig.broker.shards.count
    await new.run_once()
    assert await meta(rig, "format") == [b"2"] * count
    assert await meta(rig, "features") == [None] * count
    with capture_logs() as logs:
        await new.run_once()
        await new.run_once()
    assert await meta(rig, "features") == [b"aside"] * count
    assert [log["event"] for log in logs] == ["feature_open"]


async def test_all_features_open_one_after_the_other(rig: Rig) -> None:
    await older_store(rig)
    gate = FeatureGate(rig.broker, settle_ms=0)
    new = Heartbeat(rig.broker, "new", lambda: described(*FEATURES), 5.0, gate=gate)
    await new.run_once()
    await new.run_once()
    for words in await meta(rig, "features"):
        assert sorted((words or b"").decode().split()) == sorted(FEATURES)
    assert gate.open == set(FEATURES)


async def test_it_waits_for_replicas_that_may_have_started_before(rig: Rig) -> None:
    await older_store(rig)
    new = heart(rig, "new", *FEATURES, settle_ms=3_600_000)
    for _ in range(3):
        await new.run_once()
    assert await meta(rig, "features") == [None] * rig.broker.shards.count


async def test_a_replica_that_does_not_know_it_holds_it_and_is_named(rig: Rig) -> None:
    await older_store(rig)
    new = heart(rig, "new", *FEATURES)
    await older_beat(rig, "old")
    with capture_logs() as logs:
        for _ in range(3):
            await new.run_once()
    assert await meta(rig, "format") == [b"1"] * rig.broker.shards.count
    assert [(log["event"], log["replicas"]) for log in logs] == [("feature_held", ["old"])]
    await rig.client.hdel(rig.broker.shards.keys[0].workers, "old")
    for _ in range(2):
        await new.run_once()
    assert await meta(rig, "features") == [b"aside"] * rig.broker.shards.count


async def test_one_that_appears_at_the_last_moment_keeps_shard_0_closed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await older_store(rig)
    new = heart(rig, "new", *FEATURES)
    await new.run_once()
    asked = rig.broker.replicas.open_feature

    async def ask(shard: int, feature: str, settle_ms: int = 0, *, may_open: bool, now: int = 0) -> Opening:
        if may_open:
            await older_beat(rig, "old")
        return await asked(shard, feature, settle_ms, may_open=may_open, now=now)

    monkeypatch.setattr(rig.broker.replicas, "open_feature", ask)
    await new.run_once()
    assert (await meta(rig, "features"))[0] is None
    monkeypatch.undo()
    await rig.client.hdel(rig.broker.shards.keys[0].workers, "old")
    for _ in range(2):
        await new.run_once()
    assert await meta(rig, "features") == [b"aside"] * rig.broker.shards.count


@pytest.mark.parametrize("shards", [4])
async def test_one_that_stopped_halfway_goes_on(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await older_store(rig)
    new = heart(rig, "new", *FEATURES)
    await new.run_once()
    asked = rig.broker.replicas.open_feature

    async def ask(shard: int, feature: str, settle_ms: int = 0, *, may_open: bool, now: int = 0) -> Opening:
        if may_open and shard == 2:
            raise StoreUnavailable("away")
        return await asked(shard, feature, settle_ms, may_open=may_open, now=now)

    monkeypatch.setattr(rig.broker.replicas, "open_feature", ask)
    with pytest.raises(StoreUnavailable):
        await new.run_once()
    assert await meta(rig, "features") == [None, b"aside", None, None]
    monkeypatch.undo()
    await heart(rig, "another", *FEATURES).run_once()
    assert await meta(rig, "features") == [b"aside"] * 4


async def test_a_new_store_is_open_at_once(rig: Rig) -> None:
    await rig.broker.replicas.register()
    gate = FeatureGate(rig.broker)
    beat = await rig.broker.replicas.heartbeat(0, "new", msgspec.json.encode(described(*FEATURES)).decode())
    await gate.drive(beat)
    assert gate.open == set(FEATURES)
    async with rig.unchanged():
        await gate.drive(beat)


async def test_a_flushed_store_learns_it_again(rig: Rig) -> None:
    await rig.broker.replicas.register()
    new = heart(rig, "new", *FEATURES)
    await new.run_once()
    await rig.client.flushall()
    for _ in range(3):
        await new.run_once()
    assert await meta(rig, "features") == [b"aside"] * rig.broker.shards.count
    assert await meta(rig, "format") == [b"2"] * rig.broker.shards.count


async def test_an_older_replica_that_comes_back_is_named_and_quieted(rig: Rig) -> None:
    await rig.broker.replicas.register()
    searches: list[str] = []
    new = heart(rig, "new", *FEATURES, on_older=lambda: searches.append("asked for"))
    await new.run_once()
    assert searches == []
    await older_beat(rig, "old")
    with capture_logs() as logs:
        for _ in range(3):
            await new.run_once()
    assert len(searches) == 3
    named = [(log["event"], log["replicas"]) for log in logs if log["event"] == "older_replicas"]
    assert named == [("older_replicas", ["old"])]
    assert (await rig.broker.replicas.workers(0)).quiet == ["old"]


async def test_a_replica_that_does_not_know_a_feature_in_use_does_not_go_on(rig: Rig) -> None:
    await rig.broker.replicas.register()
    await rig.client.hset(rig.broker.shards.keys[0].meta, "features", "aside limits")
    own = heart(rig, "one", *FEATURES)
    with pytest.raises(TooOld, match="uses limits, which this version"):
        await introduce(rig.broker, "one", described(*FEATURES))
    with pytest.raises(TooOld, match="start the version that the other replicas have"):
        await run_forever(own)
    assert (await rig.broker.replicas.workers(0)).replicas == []
    await own.leave()
