"""checkpoint: a running job keeps a value for its next attempts."""

from __future__ import annotations

import pytest

from queuey.protocol.models.leases import MAX_NUMBER
from queuey.protocol.records import to_job
from queuey.store.broker.calls import Held
from tests.support.store import LEASE, NOW, SECOND, Rig

ERROR = '{"attempt":1,"kind":"error","message":"no"}'
VALUE = '{"line":1000}'


async def keep(rig: Rig, *held: Held, value: str = VALUE, now: int = NOW) -> list[str]:
    return await rig.broker.leases.checkpoint(rig.shard, [(*item, value) for item in held], now=now)


async def test_the_next_claim_has_it(rig: Rig) -> None:
    first, second = await rig.held(2)
    assert await keep(rig, first, now=NOW + SECOND) == ["ok"]
    state = await rig.state(first[0])
    assert (state["s"], state["K"]) == ("r", str(NOW + SECOND))
    job = to_job(first[0], await rig.stored(first[0]))
    assert job.checkpoint is not None
    assert (job.checkpoint.bytes, bytes(job.result)) == (len(VALUE), b"null")
    await rig.broker.leases.release(rig.shard, [first, second], now=NOW)
    jobs = {job.id: job.checkpoint for job in (await rig.claim(limit=5)).jobs}
    assert jobs == {first[0]: VALUE, second[0]: ""}


@pytest.mark.parametrize("end", ["fail", "snooze", "release", "reap"])
async def test_it_outlasts_what_ends_an_attempt(rig: Rig, end: str) -> None:
    (held,) = await rig.held()
    await keep(rig, held)
    if end == "release":
        await rig.broker.leases.release(rig.shard, [held], now=NOW)
    elif end == "reap":
        await rig.broker.maintenance.reap(rig.shard, 1, [0], now=NOW + LEASE)
    elif end == "fail":
        await rig.broker.leases.fail(rig.shard, [(*held, ERROR, 0, False)], now=NOW)
    else:
        await rig.broker.leases.fail(rig.shard, [(*held, ERROR, 0, False, True)], now=NOW)
    claimed = await rig.claim(claim_id="again", now=NOW + LEASE)
    assert [job.checkpoint for job in claimed.jobs] == [VALUE]
    repeated = await rig.claim(claim_id="again", now=NOW + LEASE)
    assert (repeated.repeated, repeated.jobs) == (True, claimed.jobs)


async def test_a_success_replaces_it(rig: Rig) -> None:
    first, second = await rig.held(2)
    await keep(rig, first)
    await keep(rig, second)
    assert await rig.broker.leases.complete(rig.shard, [(*first, "7"), (*second, "")], now=NOW) == ["ok", "ok"]
    for held, result in ((first, b"7"), (second, b"null")):
        job = to_job(held[0], await rig.stored(held[0]))
        assert (job.status, job.checkpoint, bytes(job.result)) == ("succeeded", None, result)
        assert "K" not in await rig.state(held[0])


async def test_the_last_one_counts_and_an_empty_one_removes_it(rig: Rig) -> None:
    (held,) = await rig.held()
    assert await keep(rig, held) == ["ok"]
    assert await rig.broker.leases.checkpoint(rig.shard, [(*held, "1"), (*held, "2")], now=NOW) == ["ok", "ok"]
    assert (await rig.stored(held[0])).state.split("\n")[1:] == ["2"]
    assert await keep(rig, held, value="") == ["ok"]
    assert "\n" not in (await rig.stored(held[0])).state
    assert "K" not in await rig.state(held[0])


async def test_it_is_safe_to_send_twice(rig: Rig) -> None:
    (held,) = await rig.held()
    assert await keep(rig, held) == ["ok"]
    before = await rig.stored(held[0])
    assert await keep(rig, held) == ["ok"]
    after = await rig.stored(held[0])
    assert sorted(after.state.split()) == sorted(before.state.split())


@pytest.mark.parametrize(
    ("last", "late"), [('"new"', '"old"'), ('"new"', ""), ("", '"old"')], ids=["value", "removal", "removed"]
)
async def test_one_that_comes_late_changes_nothing(rig: Rig, last: str, late: str) -> None:
    """A request that was given up and sent again can reach the store after a later one."""
    (held,) = await rig.held()
    assert await rig.broker.leases.checkpoint(rig.shard, [(*held, '"a"', 1), (*held, last, 3)], now=NOW) == ["ok"] * 2
    async with rig.unchanged():
        assert await rig.broker.leases.checkpoint(rig.shard, [(*held, late, 2)], now=NOW + SECOND) == ["ok"]
    assert (await rig.state(held[0]))["N"] == "1.3"
    assert await rig.broker.leases.checkpoint(rig.shard, [(*held, late, 4)], now=NOW + SECOND) == ["ok"]
    assert ((await rig.stored(held[0])).state.split("\n")[1:] or [""]) == [late]


async def test_one_without_a_number_replaces_any(rig: Rig) -> None:
    (held,) = await rig.held()
    await rig.broker.leases.checkpoint(rig.shard, [(*held, "5", 5), (*held, "6")], now=NOW)
    assert (await rig.stored(held[0])).state.split("\n")[1:] == ["6"]
    await rig.broker.leases.checkpoint(rig.shard, [(*held, "4", 4)], now=NOW)
    assert (await rig.stored(held[0])).state.split("\n")[1:] == ["6"]


@pytest.mark.parametrize("is_older", [False, True])
async def test_the_next_lease_counts_from_1_again(rig: Rig, is_older: bool) -> None:
    """Also after an older version has ended the lease: its scripts keep letters that they do not know."""
    (held,) = await rig.held()
    await rig.broker.leases.checkpoint(rig.shard, [(*held, '"old"', MAX_NUMBER)], now=NOW)
    assert (await rig.state(held[0]))["N"] == f"1.{MAX_NUMBER}"
    await rig.broker.leases.fail(rig.shard, [(*held, ERROR, 0, False)], now=NOW)
    assert "N" not in await rig.state(held[0])
    if is_older:
        key = rig.keys.state(held[0])
        await rig.client.set(key, (await rig.client.get(key)).replace(b"s=w", b"s=w N=1.%d" % MAX_NUMBER, 1))
    (job,) = (await rig.claim(claim_id="c2")).jobs
    assert await rig.broker.leases.checkpoint(rig.shard, [(job.id, job.token, '"new"', 1)], now=NOW) == ["ok"]
    assert (await rig.stored(held[0])).state.split("\n")[1] == '"new"'
    assert await rig.broker.leases.complete(rig.shard, [(job.id, job.token, "")], now=NOW) == ["ok"]
    assert not {"K", "N"} & (await rig.state(held[0])).keys()


async def test_who_lost_the_lease_does_not_write(rig: Rig) -> None:
    """A stale worker must not overwrite what the new attempt has kept."""
    (stale,) = await rig.held()
    await keep(rig, stale, value='"old"')
    await rig.broker.maintenance.reap(rig.shard, 1, [0], now=NOW + LEASE)
    (job,) = (await rig.claim(claim_id="c2", now=NOW + LEASE)).jobs
    assert await keep(rig, (job.id, job.token), value='"new"') == ["ok"]
    (waiting,) = await rig.add()
    async with rig.unchanged():
        assert await keep(rig, stale, (waiting, "1.c"), ("none", "1.c")) == ["lost"] * 3


async def test_a_dead_job_keeps_it_for_its_replay_until_its_payload_is_replaced(rig: Rig) -> None:
    first, second = await rig.held(2)
    await keep(rig, first, second)
    await rig.broker.leases.fail(rig.shard, [(*held, ERROR, 0, True) for held in (first, second)], now=NOW)
    assert await rig.broker.jobs.set_payload(rig.shard, second[0], '{"type":"t","payload":2}') == "ok"
    row, sizes = await rig.row(), 0
    for held in (first, second):
        stored = await rig.stored(held[0])
        sizes += len(stored.definition) + len(stored.state)
    assert row["dead_bytes"] == sizes
    await rig.broker.dlq.replay(rig.shard, "y", [first[0], second[0]], now=NOW)
    jobs = {job.id: job.checkpoint for job in (await rig.claim(limit=5)).jobs}
    assert jobs == {first[0]: VALUE, second[0]: ""}


async def test_nothing_of_it_is_left_when_its_job_is_deleted(rig: Rig) -> None:
    (held,) = await rig.held()
    await keep(rig, held)
    await rig.broker.leases.fail(rig.shard, [(*held, ERROR, 0, True)], now=NOW)
    assert await rig.broker.jobs.delete(rig.shard, [held[0]], now=NOW) == ["ok"]
    assert (await rig.row())["dead_bytes"] == 0
    assert not [key async for key in rig.client.scan_iter(match=f"*{held[0]}*")]


async def test_a_restored_job_has_it(rig: Rig) -> None:
    (held,) = await rig.held()
    await keep(rig, held)
    dumped = await rig.broker.transfer.dump(rig.shard, [held[0]], [], now=NOW)
    await rig.client.flushall()
    await rig.broker.transfer.restore(rig.shard, dumped.jobs, [], now=NOW)
    claimed = await rig.claim(claim_id="c2", limit=5)
    assert [job.checkpoint for job in claimed.jobs] == [VALUE]


async def test_a_claim_stops_behind_the_checkpoint_that_is_too_much(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    held = await rig.held(3)
    await keep(rig, *held, value=f'"{"x" * 1000}"')
    await rig.broker.leases.release(rig.shard, held, now=NOW)
    monkeypatch.setattr("queuey.store.broker.leases.CLAIM_BYTES", 1500)
    claimed = await rig.claim(claim_id="c2", limit=5)
    assert (len(claimed.jobs), claimed.more) == (2, True)


async def test_an_older_version_writes_the_result_beside_the_letter(rig: Rig) -> None:
    """Its scripts keep letters that they do not know."""
    (held,) = await rig.held()
    await keep(rig, held)
    await rig.broker.leases.complete(rig.shard, [(*held, "7")], now=NOW)
    key = rig.keys.state(held[0])
    await rig.client.set(key, (await rig.client.get(key)).replace(b"s=s", b"s=s K=5", 1))
    job = to_job(held[0], await rig.stored(held[0]))
    assert (job.checkpoint, bytes(job.result)) == (None, b"7")
