"""claim_typed: a job that was cancelled in a list set aside leaves a tombstone there, also if its id is sent again."""

from __future__ import annotations

from queuey.store.asides import Room
from tests.support.scripts.asides import aside, ids, set_aside
from tests.support.store import NOW, Rig


async def test_a_job_that_is_cancelled_and_sent_again_leaves_the_count_of_tombstones_exact(rig: Rig) -> None:
    x1, x2 = await set_aside(rig, "xx")
    await rig.broker.jobs.cancel(rig.shard, [x1], now=NOW)
    await rig.broker.jobs.delete(rig.shard, [x1])
    await rig.add(body='{"type":"x"}', id=x1, queue="mail")
    assert ids(await rig.claim_typed(9, take={"default": [("default", "x")]})) == [x2]
    assert await rig.client.hget(rig.keys.queue("default"), "tombstones_default") == b"0"


async def test_an_id_that_was_sent_again_with_another_type_leaves_a_tombstone(rig: Rig) -> None:
    x1, x2 = await set_aside(rig, "xx")
    await rig.broker.jobs.cancel(rig.shard, [x1], now=NOW)
    await rig.broker.jobs.delete(rig.shard, [x1])
    await rig.add(body='{"type":"a"}', id=x1)
    take = {"default": [("default", "x")]}
    assert ids(await rig.claim_typed(9, room=[Room(9, ["x"])], others=False, take=take)) == [x2]
    assert await aside(rig, "a") == [x1]
    assert await rig.client.hget(rig.keys.queue("default"), "tombstones_default") == b"0"
