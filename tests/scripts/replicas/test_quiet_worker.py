"""quiet_worker: a worker is to claim no more."""

from __future__ import annotations

from tests.support.store import NOW, SECOND, Rig


async def beat(rig: Rig, replica: str, *quiet_here: str, at: int = NOW) -> list[str]:
    return sorted(
        (await rig.broker.replicas.heartbeat(rig.shard, replica, "{}", 60 * SECOND, quiet_here, now=at)).quiet
    )


async def test_every_replica_is_told_with_its_next_sign_of_life(rig: Rig) -> None:
    assert await beat(rig, "a") == []
    assert await rig.broker.replicas.quiet_worker(rig.shard, "a", now=NOW) == "ok"
    assert await rig.broker.replicas.quiet_worker(rig.shard, "puller", now=NOW) == "ok"
    assert await beat(rig, "a") == ["a", "puller"]
    assert await beat(rig, "b") == ["a", "puller"]


async def test_again_is_ok_again(rig: Rig) -> None:
    await rig.broker.replicas.quiet_worker(rig.shard, "a", now=NOW)
    async with rig.unchanged():
        assert await rig.broker.replicas.quiet_worker(rig.shard, "a", now=NOW) == "ok"


async def test_it_stays_quiet_while_its_replica_gives_signs_of_life(rig: Rig) -> None:
    await rig.broker.replicas.quiet_worker(rig.shard, "a", now=NOW)
    await rig.broker.replicas.quiet_worker(rig.shard, "puller", now=NOW)
    for age in range(30, 300, 30):
        assert await beat(rig, "a", "puller", at=NOW + age * SECOND) == ["a", "puller"]
        assert await beat(rig, "b", at=NOW + age * SECOND) == ["a", "puller"]


async def test_one_that_is_gone_is_forgotten(rig: Rig) -> None:
    await rig.broker.replicas.quiet_worker(rig.shard, "a", now=NOW)
    assert await beat(rig, "b", at=NOW + 60 * SECOND) == ["a"]
    assert await beat(rig, "b", at=NOW + 60 * SECOND + 1) == []


async def test_a_replica_that_leaves_takes_its_mark_along(rig: Rig) -> None:
    await rig.broker.replicas.quiet_worker(rig.shard, "a", now=NOW)
    await rig.broker.replicas.quiet_worker(rig.shard, "b", now=NOW)
    assert (await rig.broker.replicas.heartbeat(rig.shard, "a", "", now=NOW)).quiet == ["b"]


async def test_there_are_at_most_a_thousand(rig: Rig) -> None:
    await rig.client.hset(rig.keys.quiet, mapping={f"w{number}": NOW for number in range(1000)})
    async with rig.unchanged():
        assert await rig.broker.replicas.quiet_worker(rig.shard, "one-more", now=NOW) == "too_many"
    assert await rig.broker.replicas.quiet_worker(rig.shard, "w7", now=NOW + 1) == "ok"
