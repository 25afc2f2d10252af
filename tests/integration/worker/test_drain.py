"""The end of a worker: what runs may finish, the rest goes back as if it had never been claimed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from queuey.lifecycle import end_tasks
from queuey.settings.settings import Settings
from queuey.worker.settings import WorkerSettings
from queuey.worker.worker import Worker
from tests.support.store import Rig, Server
from tests.support.working import HELD, PATIENCE, FaultyScripts, Stage, eventually, until_blocked, working


async def drained(worker: Worker, timeout: float) -> None:
    async with asyncio.timeout(PATIENCE):
        await worker.drain(timeout)
    assert worker.running == {}


async def untouched(rig: Rig, job_id: str) -> bool:
    """Whether the job waits, and the claim that it was given back from has cost it nothing."""
    state = await rig.state(job_id)
    return (state["s"], state["o"], "a" in state, "x" in state) == ("w", "l", False, False)


async def test_what_runs_may_finish_and_nothing_more_is_claimed(rig: Rig, server: Server, stage: Stage) -> None:
    job, waiting = await rig.add(2, now=0, body=HELD)
    async with working(server.url, stage.app, concurrency=1) as worker:
        assert await stage.next() == job
        draining = asyncio.create_task(worker.drain(PATIENCE))
        await asyncio.sleep(0)
        stage.finish(job)
        await asyncio.wait_for(draining, PATIENCE)
        worker.wake(0)
        assert worker.running == {}
    assert (await rig.state(job))["s"] == "s"
    assert await rig.waiting() == [waiting]


async def test_an_idle_worker_has_nothing_to_wait_for(rig: Rig, server: Server, stage: Stage) -> None:
    async with working(server.url, stage.app) as worker:
        await until_blocked(rig.client, 1)
        await drained(worker, PATIENCE)


async def test_the_rest_is_released_in_order_at_the_head_and_no_attempt_is_spent(
    rig: Rig, server: Server, stage: Stage
) -> None:
    """More than one call of the script can take."""
    jobs = []
    for _ in range(3):
        jobs += await rig.add(200, now=0, body=HELD)
    jobs += await rig.add(5, now=0, body=HELD)
    async with working(server.url, stage.app, concurrency=600) as worker:
        assert await stage.take(600) == jobs[:600]
        await drained(worker, 0)
    assert sorted(stage.cancelled) == sorted(jobs[:600])
    assert await rig.waiting() == jobs
    assert all([await untouched(rig, job) for job in (jobs[0], jobs[511], jobs[512], jobs[599])])
    assert await rig.marked()


async def test_jobs_that_stop_late_keep_their_place(rig: Rig, server: Server, stage: Stage) -> None:
    jobs = []
    for kind in ("held", "slow", "held", "slow"):
        jobs += await rig.add(now=0, body=f'{{"type":"{kind}"}}')
    running = asyncio.Semaphore(0)

    @stage.app.job("slow")
    async def slow(payload: Any) -> None:
        running.release()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)

    async with working(server.url, stage.app) as worker:
        await stage.take(2)
        for _ in range(2):
            await running.acquire()
        await drained(worker, 0)
    assert await rig.waiting() == jobs


async def test_a_handler_that_does_not_stop_is_left_behind_and_its_job_released(
    rig: Rig, server: Server, stage: Stage
) -> None:
    over, refused = asyncio.Event(), asyncio.Event()

    @stage.app.job("stubborn")
    async def stubborn(payload: Any) -> None:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                refused.set()

    stubborn_job, job = await rig.add(now=0, body='{"type":"stubborn"}') + await rig.add(now=0, body=HELD)
    async with working(server.url, stage.app, grace=0.1) as worker:
        assert await stage.next() == job
        await drained(worker, 0)
        assert refused.is_set()
        assert await rig.waiting() == [stubborn_job, job]
        assert await untouched(rig, stubborn_job)
        over.set()


async def test_a_job_that_succeeds_after_all_is_not_released(rig: Rig, server: Server, stage: Stage) -> None:
    @stage.app.job("late")
    async def late(payload: Any) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "just in time"
        raise AssertionError

    (job,) = await rig.add(now=0, body='{"type":"late"}')
    async with working(server.url, stage.app) as worker:
        await until_blocked(rig.client, 1)
        await drained(worker, 0)
    assert (await rig.state(job))["s"] == "s"
    assert await rig.waiting() == []


@pytest.mark.parametrize("timeout", [PATIENCE, 0])
async def test_jobs_of_a_claim_that_is_under_way_are_drained_too(
    rig: Rig, server: Server, stage: Stage, timeout: float
) -> None:
    jobs = await rig.add(2, now=0, body=HELD)
    scripts = FaultyScripts()
    scripts.gates["claim"] = asyncio.Event()
    async with working(server.url, stage.app, scripts=scripts) as worker:
        assert await asyncio.wait_for(scripts.waiting.get(), PATIENCE) == "claim"
        draining = asyncio.create_task(worker.drain(timeout))
        await asyncio.sleep(0)
        scripts.gates["claim"].set()
        if timeout:
            stage.finish(*await stage.take(2))
        await asyncio.wait_for(draining, PATIENCE)
        assert worker.running == {}
    if timeout:
        assert (await rig.row())["finished"] == 2
    else:
        assert await rig.waiting() == jobs
        assert await untouched(rig, jobs[0])


async def test_it_ends_in_bounded_time_when_the_store_is_down(rig: Rig, server: Server, stage: Stage) -> None:
    (job,) = await rig.add(now=0, body=HELD)
    scripts = FaultyScripts()
    with capture_logs() as logs:
        async with working(
            server.url, stage.app, scripts=scripts, ack_patience=0.2, ends={"release_seconds": 0.1}
        ) as worker:
            assert await stage.next() == job
            scripts.down = True
            worker.wake(0)  # so that a claim is under way, too
            await drained(worker, 0.05)
    assert [(log["event"], log["job_id"]) for log in logs if log["log_level"] == "error"] == [("not_released", job)]
    assert (await rig.state(job))["s"] == "r"  # its lease lapses, then it comes back


async def test_a_job_whose_outcome_is_on_its_way_is_not_released(rig: Rig, server: Server, stage: Stage) -> None:
    (job,) = await rig.add(now=0, body=HELD)
    scripts = FaultyScripts()
    async with working(server.url, stage.app, scripts=scripts, grace=0.1, ends={"release_seconds": 0.1}) as worker:
        assert await stage.next() == job
        scripts.down = True
        stage.finish(job)
        await eventually(lambda: _has_tried(scripts, "complete"))
        await worker.drain(0)
        assert scripts.arguments("release") == []
        scripts.down = False
        await eventually(lambda: _is_idle(worker))
    assert (await rig.state(job))["s"] == "s"


async def _has_tried(scripts: FaultyScripts, name: str) -> bool:
    return bool(scripts.arguments(name))


async def _is_idle(worker: Worker) -> bool:
    return not worker.running


async def test_a_job_that_was_cancelled_is_not_put_back(rig: Rig, server: Server, stage: Stage) -> None:
    (job,) = await rig.add(now=0, body=HELD)
    async with working(server.url, stage.app) as worker:
        assert await stage.next() == job
        await rig.broker.jobs.cancel(0, [job])
        await drained(worker, 0)
    assert (await rig.state(job))["s"] == "c"
    assert await rig.waiting() == []


async def test_abandoning_waits_for_no_handler(rig: Rig, server: Server, stage: Stage) -> None:
    jobs = await rig.add(3, now=0, body=HELD)
    async with working(server.url, stage.app) as worker:
        assert await stage.take(3) == jobs
        draining = asyncio.create_task(worker.drain(PATIENCE))
        await asyncio.sleep(0)
        await end_tasks([draining])
        await asyncio.wait_for(worker.abandon(), PATIENCE)
        assert await rig.waiting() == jobs
        assert all([await untouched(rig, job) for job in jobs])
        assert stage.cancelled == []


async def test_abandoning_waits_for_a_store_that_is_down_no_longer_than_it_must(
    rig: Rig, server: Server, stage: Stage
) -> None:
    assert WorkerSettings.of(Settings(), "w1", ["default"]).abandon_seconds == 0.5
    await rig.add(now=0, body=HELD)
    scripts = FaultyScripts()
    async with working(
        server.url, stage.app, scripts=scripts, ack_patience=3 * PATIENCE, ends={"abandon_seconds": 0.05}
    ) as worker:
        await stage.next()
        scripts.down = True
        async with asyncio.timeout(PATIENCE):
            await worker.abandon()
        scripts.down = False
