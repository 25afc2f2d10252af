"""Ten thousand jobs that fail at once do not come back at once, and no call to the store grows with their number."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from queuey.protocol.models import Backoff
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import MAX_BATCH
from queuey.store.replies import ClaimedJob
from queuey.store.shards import Shards
from queuey.worker.execution import Execution
from queuey.worker.handlers.app import App
from queuey.worker.handlers.attempt import Failed, Work, error_json
from queuey.worker.settings import ExecutionSettings
from tests.support.store import NOW, Rig
from tests.support.working import AskedAcks, FaultyScripts

JOBS = 10_000
BACKOFF = Backoff(base=4.0, factor=2.0, cap=60.0)
BUCKET_MS = 100
BUCKETS = 2_000 // BUCKET_MS
"""The upper half of the first backoff, in buckets."""


def failing() -> Execution:
    app = App()

    @app.job("t")
    async def fail(payload: Any) -> None:
        raise ValueError("the service is down")

    settings = ExecutionSettings.of(Settings(data_dir=Path("/unused"), thread_slots=1, process_slots=1, grace=1.0))
    settings = msgspec.structs.replace(settings, default_backoff=BACKOFF)
    execution = Execution(app, None, settings, on_event=lambda event, /, **fields: None)
    execution._random = Random(7)
    return execution


async def claimed(rig: Rig) -> list[ClaimedJob]:
    jobs: list[ClaimedJob] = []
    for first in range(0, JOBS, MAX_BATCH):
        count = min(MAX_BATCH, JOBS - first)
        await rig.add(count)
        jobs += (await rig.claim(count)).jobs
    assert len(jobs) == JOBS
    return jobs


async def fail(acks: AskedAcks, execution: Execution, job: ClaimedJob) -> str:
    """One job's way through the worker."""
    work = Work(job.id, "t", "default", b"null", job.token, job.attempt, 5)
    outcome = await execution.run(work)
    assert isinstance(outcome, Failed)
    error = error_json(outcome, attempt=1, worker="w1")
    return await acks.fail(0, (job.id, job.token, error, outcome.retry_after_ms, outcome.dead))


async def test_ten_thousand_failures_at_once_come_back_evenly(rig: Rig) -> None:
    scripts = FaultyScripts()
    broker = Broker(Shards(rig.client, 1), scripts)
    acks = AskedAcks(broker, 60.0)
    execution = failing()
    await execution.start()
    jobs = await claimed(rig)
    answers = await asyncio.gather(*(fail(acks, execution, job) for job in jobs))
    await execution.stop(abandon=True)
    assert answers == ["retry"] * JOBS
    sizes = [len(arguments[1]) for arguments in scripts.arguments("fail")]
    assert sum(sizes) == JOBS
    assert max(sizes) <= MAX_BATCH

    delays = {item[0]: item[3] for arguments in scripts.arguments("fail") for item in arguments[1]}
    upper_half = range(round(BACKOFF.base * 500), round(BACKOFF.base * 1000) + 1)
    assert all(delay in upper_half for delay in delays.values())
    buckets = Counter((delay - upper_half.start) // BUCKET_MS for delay in delays.values())
    assert max(buckets.values()) < 1.3 * JOBS / BUCKETS
    assert min(buckets[bucket] for bucket in range(BUCKETS)) > 0.7 * JOBS / BUCKETS
    assert await due_after_failure(rig, jobs) == delays


async def due_after_failure(rig: Rig, jobs: list[ClaimedJob]) -> dict[str, int]:
    """The milliseconds between the moment at which each job's failure was noted and its next attempt."""
    due = await rig.scores(rig.keys.scheduled("default", "default"))
    waits = {}
    for first in range(0, JOBS, MAX_BATCH):
        ids = [job.id for job in jobs[first : first + MAX_BATCH]]
        for job_id, stored in zip(ids, await rig.broker.jobs.get(0, ids), strict=True):
            failed_at, _, _ = stored.state.split("\n")[2].partition(" ")
            waits[job_id] = due[job_id] - int(failed_at)
    return waits


async def test_ten_thousand_jobs_that_are_due_at_once_move_in_bounded_steps(rig: Rig) -> None:
    """As after a store that was away for longer than every backoff."""
    for first in range(0, JOBS, MAX_BATCH):
        await rig.add(min(MAX_BATCH, JOBS - first), delay_ms=1)
    later = NOW + 1
    claim = await rig.claim(10, now=later)
    assert len(claim.jobs) == 10
    row = await rig.row()
    assert (row["scheduled"], row["default"]) == (JOBS - 100, 90)
    steps = 0
    while (promoted := await rig.broker.maintenance.promote(0, 500, now=later)).count:
        assert promoted.count <= 500
        steps += 1
        assert steps <= JOBS // 500
    row = await rig.row()
    assert (row["scheduled"], row["default"]) == (0, JOBS - 10)
