"""In which order a worker writes its calls, counts outcomes and takes jobs in, on a store whose replies the test gives.

The store has something to do while the worker is busy only if the next calls are written first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from types import SimpleNamespace
from typing import Any

from queuey.lifecycle import end_tasks
from queuey.metrics import Metrics
from queuey.services.leases.acks import Acks
from queuey.settings.settings import Settings
from queuey.store.replies import Claimed, ClaimedJob
from queuey.store.taskless import Pending
from queuey.worker.handlers.app import App
from queuey.worker.handlers.attempt import Failed, Work
from queuey.worker.settings import WorkerSettings
from queuey.worker.store_source import ANSWER_AFTER, StoreSource
from queuey.worker.worker import Worker
from tests.support.executions import executing
from tests.support.virtual_time import in_virtual_time

HALF = 4
"""A claim asks for half of the slots."""
SETTINGS = WorkerSettings.of(Settings(concurrency=2 * HALF), "w", ["default"])


class Store:
    """The part of a Broker that the worker calls. It answers what was written, in order, when the test says so."""

    def __init__(self, jobs: int) -> None:
        self.shards = SimpleNamespace(count=1)
        self.leases = self
        self.events: list[str] = []
        self.completed: list[int] = []
        """The number of jobs of each call."""
        self.writes = 0
        self._jobs = [
            ClaimedJob(id=f"j{number}", token="1.a", attempt=1, crashes=0, definition='r=0\n{"type":"noop"}')
            for number in range(jobs)
        ]
        self._unwritten: list[tuple[Pending, object]] = []
        self._written: list[tuple[Pending, object]] = []

    async def claim(self, shard: int, *, limit: int, **_: object) -> Claimed:
        self.events.append("claim")
        jobs, self._jobs = self._jobs[:limit], self._jobs[limit:]
        reply: Claimed = await self._call(Claimed(jobs=jobs, due_in_ms=-1, more=bool(self._jobs)))
        return reply

    async def complete(self, shard: int, jobs: Sequence[object]) -> list[str]:
        self.events.append("complete")
        self.completed.append(len(jobs))
        reply: list[str] = await self._call(["ok"] * len(jobs))
        return reply

    fail = release = checkpoint = complete

    def _call(self, reply: object) -> Pending:
        if not self._unwritten:  # as the connection does it: what is called in one pass is written in the next
            asyncio.get_running_loop().call_soon(self._write)
        pending = Pending(loop=asyncio.get_running_loop())
        self._unwritten.append((pending, reply))
        return pending

    def _write(self) -> None:
        self.events.append("write")
        self.writes += 1
        self._written += self._unwritten
        self._unwritten = []

    def reply(self) -> bool:
        """Answer what was written, in one pass as the connection does. Return whether there was anything."""
        written, self._written = self._written, []
        for pending, reply in written:
            pending.settle(reply, None)
        return bool(written)

    async def answer(self) -> bool:
        """Answer what was written, and let the worker do all that follows."""
        answered = self.reply()
        await until_idle()
        return answered


async def until_idle() -> None:
    """Run what is ready, and what comes of it. The clock is a virtual one, which jumps only when nothing is."""
    await asyncio.sleep(0.001)


@asynccontextmanager
async def working(store: Store) -> AsyncIterator[Worker]:
    app = App()

    @app.job("noop")
    async def noop(payload: Any) -> None:
        store.events.append("run")

    class Source(StoreSource):
        def read(self, job: ClaimedJob) -> tuple[Work, Failed | None]:
            store.events.append("take in")
            return super().read(job)

    class Counting(Metrics):
        def job_ended(self, *_: object) -> None:
            store.events.append("count")

    broker: Any = store
    metrics, reports = Counting(), SimpleNamespace()
    acks = Acks(broker, 60.0, answer_after=ANSWER_AFTER)
    source = Source(broker, acks, reports, reports, SETTINGS, metrics=metrics)  # type: ignore[arg-type]
    async with executing(app, None) as execution:
        worker = Worker(source, execution, SETTINGS, metrics=metrics)
        running = asyncio.create_task(worker.run())
        await until_idle()
        yield worker
        await end_tasks([running])


def told(events: Sequence[str]) -> list[str]:
    """The events, and how often each came in a row."""
    return [f"{event} {len([*times])}" for event, times in groupby(events)]


@in_virtual_time
async def test_the_next_calls_are_written_before_outcomes_are_counted_and_jobs_taken_in() -> None:
    store = Store(jobs=8 * HALF)
    async with working(store):
        for _ in range(3):  # from here on each answer brings a half, and takes the outcomes of the one before
            await store.answer()
        for _ in range(3):
            store.events.clear()
            await store.answer()
            assert told(store.events) == [
                "complete 1",
                "claim 1",
                "write 1",
                f"count {HALF}",
                f"take in {HALF}",
                f"run {HALF}",
            ]


@in_virtual_time
async def test_each_claim_of_a_drain_goes_with_the_outcomes_of_the_half_before() -> None:
    store = Store(jobs=8 * HALF)
    async with working(store) as worker:
        while await store.answer():
            pass
        assert worker.running == {}
    assert store.completed == [HALF] * 8
    assert store.events.count("claim") == 8
    assert store.writes == 8 + 2, "the outcomes of the last two halves have no claim to go with"


@in_virtual_time
async def test_a_drain_waits_until_the_outcomes_are_counted() -> None:
    store = Store(jobs=1)
    async with working(store) as worker:
        await store.answer()
        draining = asyncio.create_task(worker.drain(60.0))
        await until_idle()
        assert not draining.done()
        await store.answer()
        assert draining.done()
        assert store.events[-1] == "count"
        assert worker.running == {}


@in_virtual_time
async def test_jobs_that_were_claimed_and_not_taken_in_are_given_back_at_once() -> None:
    store = Store(jobs=HALF)
    async with working(store) as worker:
        store.reply()
        await asyncio.sleep(0)
        assert "take in" not in store.events
        abandoning = asyncio.create_task(worker.abandon())
        await until_idle()
        await store.answer()
        assert abandoning.done()
        assert worker.running == {}
    assert store.completed == [HALF], "they were released"
    assert "run" not in store.events
