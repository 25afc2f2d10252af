"""claim: a job that was not started in time becomes cancelled, and never runs."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from queuey.protocol.records import encode_key, to_job
from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig


async def test_it_runs_until_its_time_is_up_and_not_from_then_on(rig: Rig) -> None:
    in_time, late = await rig.add(2, expires_ms=SECOND)
    assert [job.id for job in (await rig.claim(1, now=NOW + SECOND - 1)).jobs] == [in_time]
    assert (await rig.claim(5, now=NOW + SECOND)).jobs == []
    job = to_job(late, await rig.stored(late))
    assert (job.status, job.last_error, job.attempts) == ("cancelled", "expired before it started", 0)
    assert [(error.kind, error.attempt) for error in job.errors] == [("expired", 1)]
    assert (await rig.state(late))["f"] == str(NOW + SECOND)
    counters = await rig.counters()
    assert (counters["expired"], counters["cancelled"], counters["claimed"]) == (1, 1, 1)


async def test_it_leaves_nothing_behind(rig: Rig) -> None:
    (job_id,) = await rig.add(expires_ms=SECOND, key="k", queue="mail", priority="low", retention_ms=HOUR * 2)
    await rig.claim(queues=["mail"], now=NOW + SECOND)
    assert await rig.client.get(rig.keys.dedupe(encode_key("k"))) is None
    stored, row = await rig.stored(job_id), await rig.row("mail")
    assert (row["low"], row["finished"]) == (0, 1)
    assert row["finished_bytes"] == len(stored.definition) + len(stored.state)
    assert await rig.scores(rig.keys.done("mail")) == {job_id: NOW + SECOND + 2 * HOUR}


async def test_the_jobs_behind_it_are_claimed(rig: Rig) -> None:
    await rig.add(40, expires_ms=SECOND)
    behind = await rig.add(3)
    claimed = await rig.claim(2, now=NOW + HOUR)
    assert [job.id for job in claimed.jobs] == behind[:2]
    assert claimed.more
    assert [job.id for job in (await rig.claim(2, now=NOW + HOUR)).jobs] == behind[2:]


async def test_its_time_counts_from_when_it_was_accepted(rig: Rig) -> None:
    (job_id,) = await rig.add(expires_ms=10 * SECOND, delay_ms=9 * SECOND)
    job = to_job(job_id, await rig.stored(job_id))
    assert job.expires_at == job.created_at + timedelta(seconds=10)
    assert (await rig.claim(now=NOW + 10 * SECOND)).jobs == []
    assert (await rig.state(job_id))["s"] == "c"


async def test_a_job_that_was_started_does_not_expire(rig: Rig) -> None:
    retried, crashed, released = await rig.held(3, expires_ms=SECOND)
    await rig.broker.leases.fail(rig.shard, [(*retried, "{}", SECOND, False)], now=NOW)
    await rig.broker.leases.release(rig.shard, [released], now=NOW)
    await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + LEASE)
    claimed = await rig.claim(5, now=NOW + HOUR)
    assert {job.id for job in claimed.jobs} == {retried[0], crashed[0], released[0]}


async def test_one_that_was_only_watched_or_hastened_does(rig: Rig) -> None:
    watched, hastened = (await rig.add(expires_ms=SECOND))[0], (await rig.add(expires_ms=SECOND, delay_ms=1))[0]
    await rig.broker.jobs.watch_end(rig.shard, [watched])
    await rig.broker.jobs.run_now(rig.shard, "r", [hastened], now=NOW)
    assert (await rig.claim(5, now=NOW + SECOND)).jobs == []
    assert [(await rig.state(job_id))["s"] for job_id in (watched, hastened)] == ["c", "c"]


async def test_its_id_is_in_the_reply_only_while_somebody_listens(rig: Rig) -> None:
    (expired,), (behind,) = await rig.add(expires_ms=SECOND), await rig.add()
    (came_due,) = await rig.add(expires_ms=2, delay_ms=1)
    moves = rig.listen()
    claimed = await rig.claim(5, now=NOW + SECOND)
    assert (claimed.expired, claimed.promoted) == ([expired, came_due], [came_due])
    assert moves == [(behind, "running"), (came_due, "queued"), (expired, "cancelled"), (came_due, "cancelled")]
    moves.on = False
    await rig.add(expires_ms=SECOND)
    assert (await rig.claim(5, now=NOW + SECOND)).expired == []
    assert (await rig.counters())["expired"] == 3


@pytest.mark.parametrize("kind", ["valkey"])
async def test_a_claim_passes_a_thousand_and_says_that_there_are_more(rig: Rig) -> None:
    for _ in range(3):
        await rig.add(500, expires_ms=SECOND)
    (behind,) = await rig.add()
    first = await rig.claim(1, now=NOW + SECOND)
    assert (first.jobs, first.more) == ([], True)
    second = await rig.claim(1, now=NOW + SECOND)
    assert [job.id for job in second.jobs] == [behind]
    assert (await rig.counters())["expired"] == 1500


async def test_words_in_a_payload_expire_nothing(rig: Rig) -> None:
    body = json.dumps({"type": "t", "payload": " x=1 c=1"})
    (job_id,) = await rig.add(body=body, max_attempts=3)
    assert [job.id for job in (await rig.claim(now=NOW + HOUR)).jobs] == [job_id]
