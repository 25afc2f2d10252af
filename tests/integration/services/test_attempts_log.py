"""What a job tells of its runs: when each began and ended, who ran it, and why it failed."""

from __future__ import annotations

from typing import Any

import msgspec

from queuey.protocol.records import StoredJob, to_job
from queuey.worker.handlers.attempt import Failed, error_json
from tests.support.store import LEASE, NOW, SECOND, Rig
from tests.support.stores import KINDS, SHARDS, one_of

kind = one_of(*KINDS)
shards = one_of(*SHARDS)

WAIT = 10 * SECOND


async def log(rig: Rig, job_id: str) -> list[tuple[Any, ...]]:
    """attempt, began, ended (ms after NOW), worker, error."""
    job = to_job(job_id, await rig.stored(job_id))

    def since(time: Any) -> int | None:
        return None if time is None else round(time.timestamp() * 1000) - NOW

    return [
        (run.attempt, since(run.started_at), since(run.ended_at), run.worker, run.error) for run in job.attempts_log
    ]


async def run(rig: Rig, at: int, worker: str) -> tuple[str, str, int]:
    await rig.broker.maintenance.promote(rig.shard, 10, now=NOW + at)
    (job,) = (await rig.claim(now=NOW + at, worker=worker, suspects=1)).jobs
    return job.id, job.token, job.attempt


async def fail(rig: Rig, held: tuple[str, str, int], at: int, worker: str, *, dead: bool = False) -> None:
    job_id, token, attempt = held
    error = error_json(Failed("error", f"no {attempt}"), attempt=attempt, worker=worker)
    (answer,) = await rig.broker.leases.fail(rig.shard, [(job_id, token, error, WAIT, dead)], now=NOW + at)
    assert answer in ("retry", "dead")


async def test_each_run_with_its_times_worker_and_error(rig: Rig) -> None:
    (job_id,) = await rig.add()
    assert await log(rig, job_id) == []
    held = await run(rig, 1, "w1")
    assert await log(rig, job_id) == [(1, 1, None, "w1", None)]
    await fail(rig, held, 5, "w1")
    first = (1, 1, 5, "w1", "no 1")
    assert await log(rig, job_id) == [first]
    await run(rig, 5 + WAIT, "w2")
    await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + 5 + WAIT + LEASE)
    crash = (2, 5 + WAIT, 5 + WAIT + LEASE, "w2", "crash 1 of 3: no heartbeat from worker w2")
    assert await log(rig, job_id) == [first, crash]
    began = 6 + WAIT + LEASE
    held = await run(rig, began, "w3")
    await rig.broker.leases.complete(rig.shard, [(held[0], held[1], "1")], now=NOW + began + 1)
    assert await log(rig, job_id) == [first, crash, (2, began, began + 1, "w3", None)]


async def test_a_run_that_was_given_back_is_none(rig: Rig) -> None:
    ((job_id, token),) = await rig.held()
    await rig.broker.leases.release(rig.shard, [(job_id, token)], now=NOW)
    assert await log(rig, job_id) == []


async def test_a_job_that_expired_never_ran(rig: Rig) -> None:
    (job_id,) = await rig.add(expires_ms=1)
    await rig.claim(now=NOW + 1)
    assert await log(rig, job_id) == []


async def test_what_a_pull_worker_calls_expired_is_a_run(rig: Rig) -> None:
    ((job_id, token),) = await rig.held()
    error = '{"attempt":1,"kind":"expired","message":"the offer has","worker":"w1"}'
    await rig.broker.leases.fail(rig.shard, [(job_id, token, error, 0, False)], now=NOW + 1)
    assert await log(rig, job_id) == [(1, 0, 1, "w1", "the offer has")]


async def test_a_new_run_of_a_dead_job_keeps_what_was(rig: Rig) -> None:
    (job_id,) = await rig.add()
    await fail(rig, await run(rig, 1, "w1"), 2, "w1", dead=True)
    await rig.broker.dlq.replay(rig.shard, "r", [job_id], now=NOW + 3)
    await run(rig, 4, "w2")
    assert await log(rig, job_id) == [(1, 1, 2, "w1", "no 1"), (1, 4, None, "w2", None)]


async def test_of_many_the_last_ten_and_their_own_times(rig: Rig) -> None:
    (job_id,) = await rig.add(max_attempts=20)
    for number in range(13):
        at = number * 2 * WAIT
        await fail(rig, await run(rig, at, "w"), at + number, "w")
    expected = [(n + 1, n * 2 * WAIT, n * 2 * WAIT + n, "w", f"no {n + 1}") for n in range(3, 13)]
    assert await log(rig, job_id) == expected


def test_what_an_earlier_version_did_not_write_down_is_none() -> None:
    error = msgspec.json.encode({"attempt": 1, "kind": "error", "message": "no"}).decode()
    old = StoredJob(f'r={NOW}\n{{"type":"t"}}', f"s=w a=2 n=2 g=5\n\n{NOW} {error}\n{NOW} {error}", -1, -1)
    assert [run.started_at is None for run in to_job("ID", old).attempts_log] == [True, False]


async def attempt(rig: Rig, job_id: str) -> tuple[int, int, int | None]:
    """The current or last attempt, the failed ones, and that of the last error."""
    job = to_job(job_id, await rig.stored(job_id))
    return job.attempt, job.attempts, job.last_error_attempt


async def test_the_attempt_that_runs_or_ran_last(rig: Rig) -> None:
    (job_id,) = await rig.add()
    assert await attempt(rig, job_id) == (0, 0, None)
    held = await run(rig, 1, "w1")
    assert await attempt(rig, job_id) == (1, 0, None)
    await fail(rig, held, 5, "w1")
    assert await attempt(rig, job_id) == (1, 1, 1)
    await run(rig, 5 + WAIT, "w2")
    await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + 5 + WAIT + LEASE)
    assert await attempt(rig, job_id) == (2, 1, 2)
    held = await run(rig, 6 + WAIT + LEASE, "w3")
    await rig.broker.leases.complete(rig.shard, [(held[0], held[1], "1")], now=NOW + 7 + WAIT + LEASE)
    assert await attempt(rig, job_id) == (2, 1, 2)


async def test_a_replayed_job_has_had_no_attempt(rig: Rig) -> None:
    (job_id,) = await rig.add()
    await fail(rig, await run(rig, 1, "w1"), 2, "w1", dead=True)
    assert await attempt(rig, job_id) == (1, 1, 1)
    await rig.broker.dlq.replay(rig.shard, "r", [job_id], now=NOW + 3)
    assert await attempt(rig, job_id) == (0, 0, 1)


async def test_a_job_that_crashed_to_death_had_an_attempt_and_none_once_it_is_replayed(rig: Rig) -> None:
    (job_id,) = await rig.add()
    at, crashes = 1, 0
    while to_job(job_id, await rig.stored(job_id)).status != "dead_letter":
        await run(rig, at, "w1")
        at += LEASE + 1
        await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + at)
        crashes += 1
        assert crashes <= 10
    assert (await attempt(rig, job_id))[:2] == (1, 0)
    await rig.broker.dlq.replay(rig.shard, "r", [job_id], now=NOW + at)
    assert (await attempt(rig, job_id))[:2] == (0, 0)


async def test_an_attempt_that_was_cancelled_while_it_ran_began(rig: Rig) -> None:
    ((job_id, token),) = await rig.held()
    await rig.broker.jobs.cancel(rig.shard, [job_id], now=NOW)
    error = error_json(Failed("cancelled", "cancelled while it ran"), attempt=1)
    await rig.broker.leases.fail(rig.shard, [(job_id, token, error, 0, False)], now=NOW + 1)
    assert (await attempt(rig, job_id))[:2] == (1, 1)
