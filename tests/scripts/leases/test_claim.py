"""claim: queued -> running. Its order is in test_claim_order.py, its limits and tombstones in test_claim_limits.py."""

from __future__ import annotations

import pytest

from queuey.protocol.records import parse_fields
from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig


async def test_a_claimed_job_runs_under_a_lease(rig: Rig) -> None:
    (job_id,) = await rig.add(queue="mail", priority="high", max_attempts=2, retention_ms=5)
    claimed = await rig.claim(claim_id="c1", worker="host-1.2:w_3", queues=["mail"], now=NOW + SECOND)
    (job,) = claimed.jobs
    stored = await rig.stored(job_id)
    assert (job.id, job.token, job.attempt, job.crashes) == (job_id, "1.c1", 1, 0)
    assert job.definition == stored.definition
    assert (claimed.due_in_ms, claimed.more, claimed.repeated) == (-1, False, False)
    assert stored.lease_expires_ms == NOW + SECOND + LEASE
    state = f"s=r n=1 h=c1 w=host-1.2:w_3 b={NOW + SECOND} q=mail l=high m=2 t=5 j={len(stored.definition)}"
    assert await rig.state(job_id) == parse_fields(state)
    assert await rig.counters() == {"enqueued": 1, "claimed": 1}
    assert await rig.waiting("mail", "high") == []
    assert await rig.scores(rig.keys.leases("mail")) == {job_id: NOW + SECOND + LEASE}


async def test_fields_that_are_equal_to_their_defaults_are_not_stored(rig: Rig) -> None:
    ((job_id, _),) = await rig.held()
    assert set(await rig.state(job_id)) == set("snhwbj")


async def test_nothing_to_claim_changes_nothing(rig: Rig) -> None:
    await rig.add(queue="other")
    await rig.add(delay_ms=HOUR)
    async with rig.unchanged():
        claimed = await rig.claim(10)
    assert (claimed.jobs, claimed.due_in_ms, claimed.more) == ([], HOUR, False)


async def test_claims_count_on_and_attempts_count_failures(rig: Rig) -> None:
    ((job_id, token),) = await rig.held()
    await rig.broker.leases.fail(rig.shard, [(job_id, token, "{}", 0, False)], now=NOW)
    (second,) = (await rig.claim(claim_id="c2")).jobs
    assert (second.token, second.attempt) == ("2.c2", 2)
    await rig.broker.leases.release(rig.shard, [(job_id, second.token)], now=NOW)
    (third,) = (await rig.claim(claim_id="c3")).jobs
    assert (third.token, third.attempt) == ("3.c3", 2)


async def test_the_stores_clock_decides_when_no_time_is_given(rig: Rig) -> None:
    job = rig.job()
    await rig.broker.jobs.enqueue(rig.shard, [job])
    await rig.claim(now=0)
    seconds, micros = await rig.client.time()
    expiry = (await rig.stored(job.id)).lease_expires_ms
    assert 0 <= seconds * 1000 + micros // 1000 - (expiry - LEASE) < 10 * SECOND


# --- what is due -------------------------------------------------------------------------------------------------


async def test_what_is_due_is_promoted_first(rig: Rig) -> None:
    (late,) = await rig.add(delay_ms=3 * SECOND)
    (soon,) = await rig.add(delay_ms=2 * SECOND)
    (now,) = await rig.add()
    claimed = await rig.claim(10, now=NOW + 2 * SECOND)
    assert [job.id for job in claimed.jobs] == [now, soon]
    assert claimed.due_in_ms == SECOND
    assert await rig.scores(rig.keys.scheduled("default", "default")) == {late: NOW + 3 * SECOND}


async def test_nothing_runs_before_its_time(rig: Rig) -> None:
    (job_id,) = await rig.add(delay_ms=SECOND)
    assert (await rig.claim(10, now=NOW + SECOND - 1)).due_in_ms == 1
    assert [job.id for job in (await rig.claim(10, now=NOW + SECOND)).jobs] == [job_id]


async def test_the_next_due_time_is_that_of_the_claimed_queues(rig: Rig) -> None:
    for queue, delay in (("a", 9), ("b", 7), ("c", 5)):
        await rig.add(queue=queue, delay_ms=delay * SECOND)
    assert (await rig.claim(queues=["a", "b"])).due_in_ms == 7 * SECOND


async def test_a_clock_that_went_back_gives_no_negative_time(rig: Rig) -> None:
    """After a failover to a server whose clock is behind."""
    ((job_id, token),) = await rig.held()
    await rig.add(delay_ms=SECOND)
    assert (await rig.claim(10, now=NOW - HOUR)).due_in_ms == HOUR + SECOND
    assert await rig.broker.leases.extend(rig.shard, LEASE, [(job_id, token)], now=NOW - HOUR) == ["ok"]
    assert (await rig.stored(job_id)).lease_expires_ms == NOW - HOUR + LEASE
    await rig.add(120, delay_ms=SECOND)
    claimed = await rig.claim(1, now=NOW + HOUR)
    assert claimed.due_in_ms == 0


async def test_what_came_due_is_in_the_reply_only_while_somebody_listens(rig: Rig) -> None:
    waiting, (first,), (second,) = await rig.add(2), await rig.add(delay_ms=1), await rig.add(delay_ms=2)
    moves = rig.listen()
    claimed = await rig.claim(3, now=NOW + 2)
    assert (claimed.promoted, claimed.expired) == ([first, second], [])
    assert moves == [
        *((job_id, "running") for job_id in waiting),
        *((first, "queued"), (first, "running"), (second, "queued")),
    ]
    moves.on = False
    await rig.add(delay_ms=1)
    claimed = await rig.claim(3, now=NOW + 2)
    assert (len(claimed.jobs), claimed.promoted) == (2, [])
    assert len(moves) == 5


async def test_a_repeated_reply_has_no_job_that_came_due(rig: Rig) -> None:
    await rig.add(2, delay_ms=1)
    moves = rig.listen()
    first = await rig.claim(1, claim_id="again", now=NOW + 1)
    assert len(first.promoted) == 2
    again = await rig.claim(1, claim_id="again", now=NOW + 1)
    assert (again.jobs, again.repeated, again.promoted, again.expired) == (first.jobs, True, [], [])
    assert [status for _, status in moves] == ["queued", "running", "queued", "running"]


# --- sent again --------------------------------------------------------------------------------------------------


async def test_the_same_claim_id_is_answered_with_the_same_jobs(rig: Rig) -> None:
    await rig.add(3)
    first = await rig.claim(2, claim_id="again")
    async with rig.unchanged():
        again = await rig.claim(2, claim_id="again", now=NOW + SECOND)
    assert again.jobs == first.jobs
    assert (again.due_in_ms, again.more) == (0, True), "it has not looked, so claim once more at once"
    assert (first.repeated, again.repeated) == (False, True)


async def test_a_resent_claim_keeps_only_what_still_bears_its_tokens(rig: Rig) -> None:
    added = await rig.add(4)
    first = await rig.claim(4, claim_id="again")
    held = [(job.id, job.token) for job in first.jobs]
    await rig.broker.leases.complete(rig.shard, [(*held[0], "")], now=NOW)
    await rig.broker.leases.release(rig.shard, [held[1]], now=NOW)
    (reclaimed,) = (await rig.claim(1, claim_id="other")).jobs
    assert reclaimed.id == added[1]
    again = await rig.claim(4, claim_id="again")
    assert [job.id for job in again.jobs] == added[2:]


async def test_a_claim_id_is_remembered_for_one_lease(rig: Rig) -> None:
    await rig.add(2)
    await rig.claim(1, claim_id="c", lease_ms=90 * SECOND)
    assert 80 * SECOND < await rig.client.pttl(rig.keys.claim("c")) <= 90 * SECOND
    await rig.client.pexpire(rig.keys.claim("c"), 0)
    assert len((await rig.claim(1, claim_id="c")).jobs) == 1


async def test_a_lease_of_nothing_aborts_no_claim(rig: Rig) -> None:
    await rig.add()
    assert len((await rig.claim(1, lease_ms=0)).jobs) == 1


async def test_a_claim_that_found_nothing_is_not_remembered(rig: Rig) -> None:
    await rig.claim(1, claim_id="c")
    (job_id,) = await rig.add()
    assert [job.id for job in (await rig.claim(1, claim_id="c")).jobs] == [job_id]


# --- paused queues -----------------------------------------------------------------------------------------------


async def test_a_paused_queue_is_passed_over(rig: Rig) -> None:
    await rig.add(queue="a")
    await rig.add(queue="a", delay_ms=SECOND)
    (job_id,) = await rig.add(queue="b")
    await rig.broker.queues.pause(rig.shard, "a", "by hand")
    claimed = await rig.claim(10, queues=["a", "b"], now=NOW + HOUR)
    assert [job.id for job in claimed.jobs] == [job_id]
    assert claimed.due_in_ms == -1
    await rig.broker.queues.resume(rig.shard, "a")
    assert len((await rig.claim(10, queues=["a", "b"], now=NOW + HOUR)).jobs) == 2


# --- suspects: jobs with crashes ---------------------------------------------------------------------------------


async def test_one_suspect_is_taken_and_the_others_are_put_off(rig: Rig) -> None:
    suspects = [await rig.crashed(now=NOW - HOUR - n * 100_000, queue=f"q{n}") for n in range(3)]
    (innocent,) = await rig.add()
    queues = ["q0", "q1", "q2", "default"]
    await rig.client.delete(*(rig.keys.wake(queue) for queue in queues))
    claimed = await rig.claim(10, queues=queues, suspects=1, defer_ms=700)
    assert [(job.id, job.crashes) for job in claimed.jobs] == [(suspects[0], 1), (innocent, 0)]
    assert await rig.scores(rig.keys.scheduled("q1", "default")) == {suspects[1]: NOW + 700}
    assert await rig.scores(rig.keys.scheduled("q2", "default")) == {suspects[2]: NOW + 700 + 37}
    assert claimed.due_in_ms == 700
    assert await rig.marked("q1"), "the due time is an earlier one"
    assert not await rig.marked("q0")
    assert await rig.waiting("q1") == []


async def test_no_suspect_is_taken_while_the_process_runs_one(rig: Rig) -> None:
    suspect = await rig.crashed()
    claimed = await rig.claim(10, suspects=0)
    assert (claimed.jobs, claimed.due_in_ms) == ([], 1000)
    (again,) = (await rig.claim(10, suspects=1, now=NOW + SECOND)).jobs
    assert (again.id, again.crashes, again.attempt) == (suspect, 1, 1)


async def test_a_suspect_that_was_put_off_can_be_cancelled(rig: Rig) -> None:
    suspect = await rig.crashed()
    await rig.claim(10, suspects=0)
    assert await rig.broker.jobs.cancel(rig.shard, [suspect], now=NOW) == ["cancelled"]
    assert (await rig.row())["scheduled"] == 0
    assert (await rig.row())["default"] == 0


@pytest.mark.parametrize("suspects", [0, 1])
async def test_put_off_times_are_spread_over_half_a_second(rig: Rig, suspects: int) -> None:
    added = await rig.add(40, now=NOW - HOUR)
    await rig.claim(40, now=NOW - HOUR)
    await rig.broker.maintenance.reap(rig.shard, 100, [0], now=NOW)
    await rig.broker.maintenance.promote(rig.shard, 100, now=NOW)
    assert len((await rig.claim(100, suspects=suspects)).jobs) == suspects
    due = await rig.scores(rig.keys.scheduled("default", "default"))
    assert len(due) == len(added) - suspects
    assert min(due.values()) == NOW + 1000
    assert max(due.values()) < NOW + 1500
    assert len(set(due.values())) > 30
