"""delete: succeeded, cancelled, dead_letter -> gone."""

from __future__ import annotations

from queuey.protocol.records import encode_key
from tests.support.store import HOUR, NOW, Rig


async def delete(rig: Rig, *ids: str) -> list[str]:
    return await rig.broker.jobs.delete(rig.shard, ids, now=NOW)


async def test_finished_jobs_are_gone_without_a_trace(rig: Rig) -> None:
    done, dead, other = await rig.held(3)
    await rig.broker.leases.complete(rig.shard, [(*done, '"result"'), (*other, "1")], now=NOW)
    await rig.broker.leases.fail(rig.shard, [(*dead, '{"n":1}', 0, True)], now=NOW)
    (cancelled,) = await rig.add(delay_ms=HOUR)
    await rig.broker.jobs.cancel(rig.shard, [cancelled], now=NOW)
    assert await delete(rig, done[0], dead[0], cancelled) == ["ok"] * 3
    assert [stored.definition for stored in await rig.broker.jobs.get(rig.shard, [done[0], dead[0], cancelled])] == [
        ""
    ] * 3
    row, kept = await rig.row(), await rig.stored(other[0])
    assert (row["dead"], row["dead_bytes"]) == (0, 0)
    assert (row["finished"], row["finished_bytes"]) == (1, len(kept.definition) + len(kept.state))
    names = await rig.names()
    assert not [name for name in names if any(job_id in name for job_id in (done[0], dead[0], cancelled))]
    assert (await rig.counters())["deleted"] == 3


async def test_its_dedupe_key_is_free_and_anothers_is_not(rig: Rig) -> None:
    (held,) = await rig.held(key="k")
    await rig.broker.leases.complete(rig.shard, [(*held, "")], now=NOW)
    assert await delete(rig, held[0]) == ["ok"]
    assert await rig.client.get(rig.keys.dedupe(encode_key("k"))) is None
    (dead,) = await rig.held(key="k")
    await rig.broker.leases.fail(rig.shard, [(*dead, "{}", 0, True)], now=NOW)
    (holder,) = await rig.add(key="k")
    assert await delete(rig, dead[0]) == ["ok"]
    assert await rig.client.get(rig.keys.dedupe(encode_key("k"))) == holder.encode()


async def test_what_is_not_finished_stays(rig: Rig) -> None:
    ((running, _),) = await rig.held()
    (waiting,) = await rig.add()
    (scheduled,) = await rig.add(delay_ms=HOUR)
    async with rig.unchanged():
        answers = await delete(rig, running, waiting, scheduled, rig.new_id())
    assert answers == ["unfinished"] * 3 + ["missing"]


async def test_twice_is_missing_and_changes_nothing(rig: Rig) -> None:
    (held,) = await rig.held()
    await rig.broker.leases.complete(rig.shard, [(*held, "")], now=NOW)
    assert await delete(rig, held[0], held[0]) == ["ok", "missing"]
    async with rig.unchanged():
        assert await delete(rig, held[0]) == ["missing"]
    assert await delete(rig) == []


async def test_the_tombstone_of_a_deleted_job_takes_no_other_with_it(rig: Rig) -> None:
    first, second = await rig.add(2)
    await rig.broker.jobs.cancel(rig.shard, [first], now=NOW)
    assert await delete(rig, first) == ["ok"]
    await rig.add(id=first, delay_ms=HOUR)
    assert [job.id for job in (await rig.claim(5)).jobs] == [second]
    assert (await rig.row())["default"] == 0


async def test_a_job_set_aside_is_not_finished_and_its_tombstone_is_deleted_alone(rig: Rig) -> None:
    gone, kept = await rig.add(2)
    await rig.set_aside([gone, kept], "t")
    await rig.broker.jobs.cancel(rig.shard, [gone], now=NOW)
    assert await delete(rig, gone, kept) == ["ok", "unfinished"]
    assert (await rig.row())["default"] == 1
    assert await rig.set_aside_list("t") == [gone, kept]
