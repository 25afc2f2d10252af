"""reap: running, its lease lapsed -> scheduled, dead_letter at the third crash, or cancelled when flagged."""

from __future__ import annotations

import json

import pytest

from queuey.protocol.records import encode_key
from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig


async def test_a_lapsed_job_is_scheduled_with_a_delay(rig: Rig) -> None:
    ((job_id, token),) = await rig.held(queue="mail", priority="low")
    await rig.marked("mail")
    reaped = await rig.broker.maintenance.reap(rig.shard, 10, [700], now=NOW + LEASE)
    assert (reaped.outcomes, reaped.more) == ([(job_id, "retry")], False)
    state = await rig.state(job_id)
    assert (state["s"], state["x"], state["p"], state["o"]) == ("w", "1", token, "x")
    assert "a" not in state, "a crash is not an attempt"
    assert "h" not in state
    assert await rig.scores(rig.keys.leases("mail")) == {}
    assert await rig.scores(rig.keys.scheduled("mail", "low")) == {job_id: NOW + LEASE + 700}
    assert await rig.marked("mail")
    assert await rig.counters() == {"enqueued": 1, "claimed": 1, "crashed": 1}


async def test_the_error_names_the_worker(rig: Rig) -> None:
    (job_id,) = await rig.add()
    await rig.claim(worker="host-1.4711_a")
    await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + LEASE)
    at, _, error = (await rig.stored(job_id)).state.split("\n")[2].partition(" ")
    assert int(at) == NOW + LEASE
    assert json.loads(error) == {
        "attempt": 1,
        "kind": "lease_lapsed",
        "message": "crash 1 of 3: no heartbeat from worker host-1.4711_a",
        "worker": "host-1.4711_a",
    }


async def test_a_standing_lease_is_left(rig: Rig) -> None:
    await rig.held(2)
    async with rig.unchanged():
        reaped = await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + LEASE - 1)
    assert (reaped.outcomes, reaped.more) == ([], False)


async def test_a_call_that_comes_late_does_nothing_and_tells_the_time(rig: Rig) -> None:
    ((job_id, _),) = await rig.held()
    now = NOW + LEASE
    async with rig.unchanged():
        reaped = await rig.broker.maintenance.reap(rig.shard, 10, [0], by_ms=now - 1, now=now)
    assert (reaped.outcomes, reaped.more, reaped.now_ms) == ([], False, now)
    reaped = await rig.broker.maintenance.reap(rig.shard, 10, [0], by_ms=now, now=now)
    assert (reaped.outcomes, reaped.now_ms) == ([(job_id, "retry")], now)


async def test_the_stores_clock_decides_when_no_time_is_given(rig: Rig) -> None:
    lapsed, standing = rig.job(), rig.job(queue="b")
    await rig.broker.jobs.enqueue(rig.shard, [lapsed, standing])
    await rig.claim(now=1)
    await rig.claim(now=0, queues=["b"])
    assert (await rig.broker.maintenance.reap(rig.shard, 10, [0])).outcomes == [(lapsed.id, "retry")]


async def test_the_delays_are_used_in_turn(rig: Rig) -> None:
    await rig.held(5)
    reaped = await rig.broker.maintenance.reap(rig.shard, 10, [10, 20, 30], now=NOW + LEASE)
    due = await rig.scores(rig.keys.scheduled("default", "default"))
    assert [due[job_id] - NOW - LEASE for job_id, _ in reaped.outcomes] == [10, 20, 30, 10, 20]


async def test_the_third_crash_is_the_last(rig: Rig) -> None:
    job_id = await rig.crashed(crashes=2, key="k")
    (job,) = (await rig.claim()).jobs
    assert (job.attempt, job.crashes) == (1, 2)
    reaped = await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + LEASE)
    assert reaped.outcomes == [(job_id, "dead")]
    stored = await rig.stored(job_id)
    state = await rig.state(job_id)
    assert (state["s"], state["x"], state["f"], state["o"]) == ("d", "3", str(NOW + LEASE), "x")
    assert await rig.scores(rig.keys.dead("default")) == {job_id: NOW + LEASE}
    assert (await rig.row())["dead_bytes"] == len(stored.definition) + len(stored.state)
    assert not await rig.client.exists(rig.keys.dedupe(encode_key("k")))
    assert stored.state.count("\n") == 4
    counters = await rig.counters()
    assert (counters["crashed"], counters["dead"]) == (3, 1)


@pytest.mark.parametrize("crashes", [0, 2])
async def test_a_flagged_job_is_cancelled(rig: Rig, crashes: int) -> None:
    job_id = await rig.crashed(crashes=crashes, key="k")
    await rig.claim()
    await rig.broker.jobs.cancel(rig.shard, [job_id], now=NOW)
    assert (await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + LEASE)).outcomes == [(job_id, "cancelled")]
    state = await rig.state(job_id)
    assert (state["s"], state["x"], state["o"]) == ("c", str(crashes + 1), "x")
    assert "z" not in state
    assert await rig.scores(rig.keys.done("default")) == {job_id: NOW + LEASE + HOUR}
    assert not await rig.client.exists(rig.keys.dedupe(encode_key("k")))


async def test_a_lease_without_a_running_job_is_removed(rig: Rig) -> None:
    """Nothing makes one; were there one, the reaper would meet it for ever."""
    ((running, _),) = await rig.held()
    (waiting,) = await rig.add(queue="mail")
    orphans = {"nobody": NOW, waiting: NOW + 1, running: NOW + 2}
    await rig.client.zadd(rig.keys.leases("mail"), orphans)
    async with rig.unchanged(but=[rig.keys.leases("mail")]):
        reaped = await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + 2)
    assert reaped.outcomes == [(job_id, "orphan") for job_id in orphans]
    assert await rig.scores(rig.keys.leases("mail")) == {}
    assert await rig.scores(rig.keys.leases("default")) == {running: NOW + LEASE}


@pytest.mark.parametrize(("limit", "taken", "more"), [(4, 4, True), (6, 6, True), (7, 6, False)])
async def test_it_stops_at_its_limit(rig: Rig, limit: int, taken: int, more: bool) -> None:
    await rig.held(3, queue="a")
    await rig.held(3, queue="b")
    reaped = await rig.broker.maintenance.reap(rig.shard, limit, [0], now=NOW + LEASE)
    assert (len(reaped.outcomes), reaped.more) == (taken, more)
    assert (await rig.row("a"))["running"] + (await rig.row("b"))["running"] == 6 - taken  # type: ignore[operator]


async def test_again_finds_nothing(rig: Rig) -> None:
    await rig.held()
    await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + LEASE)
    async with rig.unchanged():
        assert (await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + LEASE)).outcomes == []


async def test_a_reaped_job_is_scheduled_not_queued(rig: Rig) -> None:
    """It comes back with its delay, so that a poison job does not take down one process after another at once."""
    await rig.held()
    await rig.broker.maintenance.reap(rig.shard, 10, [SECOND], now=NOW + LEASE)
    assert (await rig.claim(now=NOW + LEASE + SECOND - 1)).jobs == []
    assert len((await rig.claim(now=NOW + LEASE + SECOND)).jobs) == 1
