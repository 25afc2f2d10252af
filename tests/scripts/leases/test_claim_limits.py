"""Where a claim stops: its limit, 4 MB of definitions, 1,000 skips; tombstones, and what it tells others then."""

from __future__ import annotations

import pytest

from queuey.protocol.models import Priority
from queuey.store.broker.calls import CLAIM_BYTES
from queuey.store.replies import Caps
from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig


@pytest.mark.parametrize(("added", "limit", "more"), [(3, 2, True), (3, 3, False), (3, 4, False), (40, 39, True)])
async def test_more_and_the_marker_tell_of_claimable_jobs_that_were_left(
    rig: Rig, added: int, limit: int, more: bool
) -> None:
    await rig.add(added)
    assert await rig.marked()
    claimed = await rig.claim(limit)
    assert len(claimed.jobs) == min(added, limit)
    assert claimed.more is more
    assert await rig.marked() is more


async def test_the_marker_goes_to_the_queue_that_has_more(rig: Rig) -> None:
    await rig.add(queue="a", priority="high")
    await rig.add(queue="b", priority="low")
    await rig.client.delete(rig.keys.wake("a"), rig.keys.wake("b"))
    assert (await rig.claim(1, queues=["a", "b"])).more
    assert not await rig.marked("a")
    assert await rig.marked("b")


async def test_every_queue_that_has_more_gets_its_marker_back(rig: Rig) -> None:
    """A replica that serves `b` alone must hear of its job, though the marker went to one that serves both."""
    await rig.add(2, queue="a")
    await rig.add(queue="b")
    await rig.client.delete(rig.keys.wake("a"), rig.keys.wake("b"))
    assert (await rig.claim(1, queues=["a", "b"])).more
    assert await rig.marked("a")
    assert await rig.marked("b")


async def test_jobs_that_are_due_but_not_yet_promoted_are_more_too(rig: Rig) -> None:
    await rig.add(300, delay_ms=SECOND)
    await rig.marked()
    claimed = await rig.claim(150, now=NOW + SECOND)
    assert (len(claimed.jobs), claimed.due_in_ms, claimed.more) == (150, 0, True)
    assert not claimed.repeated, "it looks like a claim that was sent again, but for this"
    assert await rig.marked()
    claimed = await rig.claim(150, now=NOW + SECOND)
    assert (len(claimed.jobs), claimed.due_in_ms, claimed.more) == (150, -1, False)
    assert not await rig.marked()


async def test_a_batch_of_the_largest_size_in_order(rig: Rig) -> None:
    added = await rig.add(512)
    assert [job.id for job in (await rig.claim(512)).jobs] == added


# --- bytes -------------------------------------------------------------------------------------------------------


async def test_a_claim_stops_at_4_mb(rig: Rig) -> None:
    body = '{"type":"t","payload":"' + "x" * 256_000 + '"}'
    for _ in range(8):
        await rig.add(3, body=body)
    await rig.marked()
    claimed = await rig.claim(24)
    size = sum(len(job.definition) for job in claimed.jobs)
    assert CLAIM_BYTES <= size < CLAIM_BYTES + 257_000
    assert claimed.more
    assert await rig.marked()
    rest = await rig.claim(24)
    assert len(claimed.jobs) + len(rest.jobs) == 24
    assert not rest.more


async def test_a_claim_stops_after_the_definition_that_reaches_its_limit(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.add(100)
    size = len((await rig.stored((await rig.waiting())[0])).definition)
    for limit, taken in ((3 * size - 1, 3), (3 * size, 3), (3 * size + 1, 4)):
        monkeypatch.setattr("queuey.store.broker.leases.CLAIM_BYTES", limit)
        hits = (await rig.client.info("stats"))["keyspace_hits"]
        claimed = await rig.claim(90)
        assert (len(claimed.jobs), claimed.more) == (taken, True)
        read = (await rig.client.info("stats"))["keyspace_hits"] - hits
        assert read < 16 + 16, "it reads definitions in chunks, and not all that it might claim"


async def test_a_claim_of_one_job_reads_few(rig: Rig) -> None:
    await rig.add(100)
    hits = (await rig.client.info("stats"))["keyspace_hits"]
    await rig.claim(1)
    assert (await rig.client.info("stats"))["keyspace_hits"] - hits < 16


async def test_many_tombstones_are_skipped_in_few_calls(rig: Rig) -> None:
    gone = await rig.add(320)
    await rig.broker.jobs.cancel(rig.shard, gone, now=NOW)
    await rig.add()
    calls = (await rig.client.info("commandstats"))["cmdstat_mget"]["calls"]
    assert len((await rig.claim(1)).jobs) == 1
    assert (await rig.client.info("commandstats"))["cmdstat_mget"]["calls"] - calls <= 2 * (320 // 16 + 6)


async def test_large_definitions_of_tombstones_count_too(rig: Rig) -> None:
    """Else a claim could read a thousand of them, a quarter of a second in which the store answers nobody."""
    body = '{"type":"t","payload":"' + "x" * 256_000 + '"}'
    for _ in range(8):
        gone = await rig.add(3, body=body)
        assert await rig.broker.jobs.cancel(rig.shard, gone, now=NOW) == ["cancelled"] * 3
    (job_id,) = await rig.add()
    claimed = await rig.claim(1)
    assert (claimed.jobs, claimed.more) == ([], True)
    assert (await rig.row())["default"] == 1
    assert [job.id for job in (await rig.claim(1)).jobs] == [job_id]


# --- tombstones --------------------------------------------------------------------------------------------------


async def test_tombstones_are_skipped_and_lengths_are_exact(rig: Rig) -> None:
    added = await rig.add(10)
    gone = [added[index] for index in (0, 1, 4, 9)]
    await rig.broker.jobs.cancel(rig.shard, gone, now=NOW)
    assert (await rig.row())["default"] == 6
    assert len(await rig.waiting()) == 10
    claimed = await rig.claim(3)
    assert [job.id for job in claimed.jobs] == [added[2], added[3], added[5]]
    assert (await rig.row())["default"] == 3
    assert len((await rig.claim(10)).jobs) == 3
    assert (await rig.row())["default"] == 0
    assert await rig.waiting() == []


async def test_a_tombstone_whose_record_was_trimmed_is_skipped_too(rig: Rig) -> None:
    gone, job_id = await rig.add(2)
    await rig.broker.jobs.cancel(rig.shard, [gone], now=NOW)
    await rig.client.delete(rig.keys.job(gone), rig.keys.state(gone))
    assert [job.id for job in (await rig.claim(2)).jobs] == [job_id]
    assert (await rig.row())["default"] == 0


async def cancelled_and_trimmed(rig: Rig) -> str:
    """The id of a job of which a tombstone in the lane default:default is all that is left."""
    (job_id,) = await rig.add(retention_ms=0)
    assert await rig.broker.jobs.cancel(rig.shard, [job_id], now=NOW) == ["cancelled"]
    assert (await rig.broker.maintenance.trim(rig.shard, 10, Caps(), now=NOW)).finished == 1
    return job_id


async def test_the_tombstone_of_an_id_that_is_used_again_brings_no_job_before_its_time(rig: Rig) -> None:
    job_id = await cancelled_and_trimmed(rig)
    await rig.add(id=job_id, delay_ms=SECOND)
    assert (await rig.claim(10)).jobs == []
    assert (await rig.row())["scheduled"] == 1
    assert [job.id for job in (await rig.claim(10, now=NOW + SECOND)).jobs] == [job_id]
    assert (await rig.row())["default"] == 0


@pytest.mark.parametrize(("queue", "priority"), [("mail", "default"), ("default", "low")])
async def test_the_tombstone_of_an_id_that_is_used_again_elsewhere_is_skipped(
    rig: Rig, queue: str, priority: Priority
) -> None:
    """Claimed from the wrong queue, it would have a lease where no reaper looks for it."""
    job_id = await cancelled_and_trimmed(rig)
    await rig.add(id=job_id, queue=queue, priority=priority)
    for name in ("default", "mail"):
        await rig.claim(10, queues=[name])
    assert await rig.scores(rig.keys.leases(queue)) == {job_id: NOW + LEASE}
    assert [(await rig.row(name))["default"] for name in ("default", queue)] == [0, 0]


async def test_a_job_whose_id_stands_twice_in_its_lane_runs_once(rig: Rig) -> None:
    job_id = await cancelled_and_trimmed(rig)
    other, _ = [*await rig.add(), *await rig.add(id=job_id)]
    assert (await rig.row())["default"] == 2
    assert [job.id for job in (await rig.claim(10)).jobs] == [job_id, other]
    assert (await rig.row())["default"] == 0


@pytest.mark.parametrize("priority", ["high", "default", "low"])
async def test_tombstones_are_counted_per_lane(rig: Rig, priority: str) -> None:
    gone, _ = await rig.add(2, priority=priority)
    await rig.broker.jobs.cancel(rig.shard, [gone], now=NOW)
    row = await rig.row()
    assert [row[lane] for lane in ("high", "default", "low")].count(1) == 1
    assert row[priority] == 1


async def test_at_most_a_thousand_are_skipped_in_one_claim(rig: Rig) -> None:
    for _ in range(3):
        gone = await rig.add(500)
        await rig.broker.jobs.cancel(rig.shard, gone, now=NOW)
    (job_id,) = await rig.add()
    await rig.marked()
    claimed = await rig.claim(10)
    assert (claimed.jobs, claimed.more) == ([], True)
    assert await rig.marked()
    assert len(await rig.waiting()) == 501
    assert (await rig.row())["default"] == 1
    claimed = await rig.claim(10)
    assert ([job.id for job in claimed.jobs], claimed.more) == ([job_id], False)


async def test_exactly_a_thousand_tombstones_leave_nothing(rig: Rig) -> None:
    for _ in range(2):
        gone = await rig.add(500)
        await rig.broker.jobs.cancel(rig.shard, gone, now=NOW)
    claimed = await rig.claim(10)
    assert (claimed.jobs, claimed.more) == ([], False)
    assert await rig.waiting() == []


async def test_suspects_that_are_put_off_count_as_skipped(rig: Rig) -> None:
    for _ in range(3):
        await rig.add(400, now=NOW - HOUR)
        await rig.claim(400, now=NOW - HOUR)
        await rig.broker.maintenance.reap(rig.shard, 400, [0], now=NOW)
    await rig.broker.maintenance.promote(rig.shard, 2000, now=NOW)
    claimed = await rig.claim(10, suspects=0)
    assert (claimed.jobs, claimed.more) == ([], True)
    assert len(await rig.waiting()) == 200


async def test_an_entry_of_a_job_that_is_not_waiting_is_skipped(rig: Rig) -> None:
    """Nothing makes one; were there one, the job must not run twice."""
    ((running, _),) = await rig.held()
    (waiting,) = await rig.add()
    await rig.client.rpush(rig.keys.ready("default", "default"), running, waiting, waiting)
    assert [job.id for job in (await rig.claim(10)).jobs] == [waiting]
    assert await rig.state(running) == {**await rig.state(running), "n": "1"}
