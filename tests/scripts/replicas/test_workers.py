"""workers: the replicas that gave a sign of life lately, and the workers that are to be quiet."""

from __future__ import annotations

from tests.support.store import NOW, SECOND, Rig


async def test_nobody_is_known_at_first(rig: Rig) -> None:
    known = await rig.broker.replicas.workers(rig.shard, now=NOW)
    assert (known.replicas, known.quiet) == ([], [])


async def test_each_with_its_time_and_what_it_told(rig: Rig) -> None:
    await rig.broker.replicas.heartbeat(rig.shard, "a", '{"pid": 1}', now=NOW)
    await rig.broker.replicas.heartbeat(rig.shard, "b", '{"pid": 2}', now=NOW + SECOND)
    await rig.broker.replicas.quiet_worker(rig.shard, "b", now=NOW)
    async with rig.unchanged():
        known = await rig.broker.replicas.workers(rig.shard, now=NOW + SECOND)
    assert sorted(known.replicas) == [("a", NOW, '{"pid": 1}'), ("b", NOW + SECOND, '{"pid": 2}')]
    assert (known.quiet, known.now_ms) == (["b"], NOW + SECOND)


async def test_one_without_a_sign_for_too_long_is_left_out(rig: Rig) -> None:
    await rig.broker.replicas.heartbeat(rig.shard, "a", "{}", now=NOW)
    assert len((await rig.broker.replicas.workers(rig.shard, 60 * SECOND, now=NOW + 60 * SECOND)).replicas) == 1
    assert (await rig.broker.replicas.workers(rig.shard, 60 * SECOND, now=NOW + 60 * SECOND + 1)).replicas == []
