"""The end of a worker at every phase of a job: each one ends, or goes back as if it had never been claimed.

Before and during the claim, while a handler runs in the loop or refuses to stop, and without a store:
test_worker_drain.py. With real processes and signals: tests/e2e/processes/test_stopping.py and test_stopping_phases.py.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from queuey.worker.handlers.app import App
from queuey.worker.handlers.context import Context
from queuey.worker.worker import Worker
from tests.support.store import Rig, Server
from tests.support.working import HELD, PATIENCE, FaultyScripts, Stage, eventually, working

THREADS = 4
"""The slots for threads of the worker in tests/support/working.py."""
THREAD = '{"type":"thread"}'


class Threads:
    """An App whose jobs of the type `thread` run in threads until `open` is set."""

    def __init__(self) -> None:
        self.app = App()
        self.app.job("thread")(self._run)
        self.open = threading.Event()
        self.ran: list[str] = []

    def _run(self, payload: Any, ctx: Context) -> None:
        self.ran.append(ctx.job_id)
        assert self.open.wait(PATIENCE)

    async def until_running(self, count: int) -> None:
        async def running() -> bool:
            return len(self.ran) == count

        await eventually(running)


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads()
    yield threads
    threads.open.set()


async def drained(worker: Worker, timeout: float) -> None:
    async with asyncio.timeout(PATIENCE):
        await worker.drain(timeout)
    assert worker.running == {}


async def until_claimed(worker: Worker, count: int) -> None:
    async def claimed() -> bool:
        return len(worker.running) == count

    await eventually(claimed)


async def assert_untouched(rig: Rig, released: list[str], unclaimed: list[str]) -> None:
    """They wait in their order, and the claim has cost those that were released nothing."""
    assert await rig.waiting() == [*released, *unclaimed]
    for job in released:
        state = await rig.state(job)
        assert (state["s"], state["o"], "a" in state, "x" in state) == ("w", "l", False, False)
    for job in unclaimed:
        assert await rig.state(job) == {}


async def test_jobs_that_run_in_threads_go_back_before_those_that_were_never_claimed(
    rig: Rig, server: Server, threads: Threads
) -> None:
    jobs = await rig.add(THREADS + 3, now=0, body=THREAD)
    async with working(server.url, threads.app) as worker:
        await until_claimed(worker, THREADS)
        await threads.until_running(THREADS)
        await drained(worker, 0)
        await assert_untouched(rig, jobs[:THREADS], jobs[THREADS:])
        threads.open.set()
    assert sorted(threads.ran) == sorted(jobs[:THREADS])
    await assert_untouched(rig, jobs[:THREADS], jobs[THREADS:])  # what the threads return afterwards is dropped


async def test_jobs_that_run_in_threads_may_finish_and_none_is_claimed_after_them(
    rig: Rig, server: Server, threads: Threads
) -> None:
    jobs = await rig.add(THREADS + 3, now=0, body=THREAD)
    async with working(server.url, threads.app) as worker:
        await until_claimed(worker, THREADS)
        await threads.until_running(THREADS)
        draining = asyncio.create_task(drained(worker, PATIENCE))
        await asyncio.sleep(0)
        threads.open.set()
        await draining
    assert sorted(threads.ran) == sorted(jobs[:THREADS])
    assert (await rig.row())["finished"] == THREADS
    await assert_untouched(rig, [], jobs[THREADS:])


@pytest.mark.parametrize(("script", "status", "place"), [("complete", "s", "finished"), ("fail", "w", "scheduled")])
@pytest.mark.parametrize("timeout", [PATIENCE, 0])
async def test_an_outcome_that_the_store_is_slow_to_answer_is_waited_for(
    rig: Rig, server: Server, stage: Stage, script: str, status: str, place: str, timeout: float
) -> None:
    (job,) = await rig.add(now=0, body=HELD)
    scripts = FaultyScripts()
    scripts.gates[script] = asyncio.Event()
    async with working(server.url, stage.app, scripts=scripts, backoff_base=60.0) as worker:
        assert await stage.next() == job
        if script == "complete":
            stage.finish(job)
        else:
            stage.fail(job, ValueError("no"))
        assert await asyncio.wait_for(scripts.waiting.get(), PATIENCE) == script
        draining = asyncio.create_task(drained(worker, timeout))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not draining.done()
        scripts.gates[script].set()
        await draining
    assert scripts.arguments("release") == []
    assert (await rig.state(job))["s"] == status
    assert (await rig.row())[place] == 1
    assert stage.cancelled == []


async def test_a_job_that_waits_for_its_next_attempt_is_left_to_others(rig: Rig, server: Server, stage: Stage) -> None:
    (job,) = await rig.add(now=0, body=HELD)
    async with working(server.url, stage.app, backoff_base=60.0) as worker:
        assert await stage.next() == job
        stage.fail(job, ValueError("no"))
        await until_claimed(worker, 0)
        due = await rig.scores(rig.keys.scheduled("default", "default"))
        assert list(due) == [job]
        await drained(worker, PATIENCE)
    state = await rig.state(job)
    assert (state["s"], state["a"], state["n"]) == ("w", "1", "1")
    assert await rig.scores(rig.keys.scheduled("default", "default")) == due
    assert stage.ran == [job]
