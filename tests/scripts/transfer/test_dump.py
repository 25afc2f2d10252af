"""dump: jobs and dedupe keys as restore takes them."""

from __future__ import annotations

import pytest

from queuey.protocol.records import encode_key
from queuey.store.broker import transfer as calls
from queuey.store.replies import DumpedJob, HeldKey
from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig


async def dumped(rig: Rig, *ids: str) -> list[DumpedJob]:
    async with rig.unchanged():
        found = await rig.broker.transfer.dump(rig.shard, ids, now=NOW)
    assert found.looked_at == len(ids)
    for job in found.jobs:
        stored = await rig.stored(job.id)
        assert (job.definition, job.state) == (stored.definition, stored.state)
    return found.jobs


async def place(rig: Rig, job_id: str) -> tuple[str, int]:
    (job,) = await dumped(rig, job_id)
    return job.place, job.score


async def test_each_place_with_its_time(rig: Rig) -> None:
    (running, dead, done) = await rig.held(3, queue="mail")
    await rig.broker.leases.fail(rig.shard, [(*dead, "{}", 0, True)], now=NOW + 1)
    await rig.broker.leases.complete(rig.shard, [(*done, '"r"')], now=NOW + 2)
    (ready,) = await rig.add(queue="mail", priority="low")
    (scheduled,) = await rig.add(delay_ms=HOUR, priority="high")
    (cancelled,) = await rig.add()
    await rig.broker.jobs.cancel(rig.shard, [cancelled], now=NOW + 3)
    assert await place(rig, ready) == ("ready", 0)
    assert await place(rig, scheduled) == ("scheduled", NOW + HOUR)
    assert await place(rig, running[0]) == ("running", NOW + LEASE)
    assert await place(rig, dead[0]) == ("dead", NOW + 1)
    assert await place(rig, done[0]) == ("finished", NOW + 2 + HOUR)
    assert await place(rig, cancelled) == ("finished", NOW + 3 + HOUR)


async def test_a_retry_is_scheduled_and_a_released_job_ready(rig: Rig) -> None:
    failed, released = await rig.held(2)
    await rig.broker.leases.fail(rig.shard, [(*failed, "{}", 5 * SECOND, False)], now=NOW)
    await rig.broker.leases.release(rig.shard, [released], now=NOW)
    assert await place(rig, failed[0]) == ("scheduled", NOW + 5 * SECOND)
    assert await place(rig, released[0]) == ("ready", 0)


async def test_what_is_gone_is_left_out(rig: Rig) -> None:
    (job_id,) = await rig.add()
    assert [job.id for job in await dumped(rig, rig.new_id(), job_id, rig.new_id())] == [job_id]
    assert await dumped(rig) == []


async def test_it_stops_behind_its_bytes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [(await rig.add(body='{"type":"t","payload":"' + "x" * 500 + '"}'))[0] for _ in range(3)]
    monkeypatch.setattr(calls, "CLAIM_BYTES", 600)
    found = await rig.broker.transfer.dump(rig.shard, ids, now=NOW)
    assert [job.id for job in found.jobs] == ids[:2]
    assert found.looked_at == 2
    monkeypatch.setattr(calls, "CLAIM_BYTES", 1)
    assert (await rig.broker.transfer.dump(rig.shard, ids, now=NOW)).looked_at == 1, "one goes always"


async def test_dedupe_keys_with_their_end(rig: Rig) -> None:
    (job_id,) = await rig.add(key="k", dedupe_ttl_ms=90 * SECOND)
    key = encode_key("k")
    async with rig.unchanged():
        found = await rig.broker.transfer.dump(rig.shard, [], [key, encode_key("unknown")], now=NOW)
    assert found.held == [HeldKey(key, job_id, found.held[0].until_ms)]
    assert NOW + 80 * SECOND < found.held[0].until_ms <= NOW + 90 * SECOND


async def test_a_job_set_aside_is_ready_and_its_tombstone_finished(rig: Rig) -> None:
    waiting, gone = await rig.add(2)
    await rig.set_aside([waiting, gone], "t")
    await rig.broker.jobs.cancel(rig.shard, [gone], now=NOW)
    assert await place(rig, waiting) == ("ready", 0)
    assert (await place(rig, gone))[0] == "finished"
