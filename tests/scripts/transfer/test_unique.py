"""dump and restore of unique jobs: their keys, and what follows them."""

from __future__ import annotations

import pytest

from tests.scripts.jobs.test_unique import KEY, complete, gate, holder, send, start, unique
from tests.support.store import NOW, Rig

__all__ = ["gate"]


@pytest.mark.parametrize("flagged", [False, True])
async def test_what_follows_and_the_key_are_exported_and_restored(rig: Rig, flagged: bool) -> None:
    first, second = unique(rig, "f"), unique(rig, "f", payload="2")
    await send(rig, first)
    await start(rig)
    await send(rig, second)
    if flagged:
        await rig.broker.jobs.cancel(rig.shard, [first.id], now=NOW)
    dumped = await rig.broker.transfer.dump(rig.shard, [first.id], [KEY], now=NOW)
    await rig.client.flushall()
    restored = await rig.broker.transfer.restore(rig.shard, dumped.jobs, dumped.held, now=NOW)
    assert restored == (["ok"], ["past" if flagged else "ok"])
    if flagged:
        assert await rig.waiting() == [second.id]
        assert await holder(rig) == second.id
        return
    assert await holder(rig) == first.id
    await rig.broker.maintenance.promote(rig.shard, 10, now=NOW)
    await complete(rig)
    assert await rig.waiting() == [second.id]
    assert await holder(rig) == second.id


@pytest.mark.parametrize(("until", "answer"), [("", "ok"), ("s", "past"), ("f", "past")])
async def test_the_key_of_a_job_that_has_succeeded_is_restored_only_if_it_holds_it(
    rig: Rig, until: str, answer: str
) -> None:
    first = unique(rig, until)
    await send(rig, first)
    dumped = await rig.broker.transfer.dump(rig.shard, [first.id], [KEY], now=NOW)
    await complete(rig)
    ended = await rig.broker.transfer.dump(rig.shard, [first.id], now=NOW)
    await rig.client.flushall()
    await rig.broker.transfer.restore(rig.shard, ended.jobs, now=NOW)
    assert (await rig.broker.transfer.restore(rig.shard, [], dumped.held, now=NOW))[1] == [answer]
