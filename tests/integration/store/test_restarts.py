"""The store is killed again and again while a worker consumes: it goes on after each start, and no job is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from queuey.lifecycle import end_tasks
from queuey.metrics import Metrics
from queuey.services.jobs.producer import Producer
from queuey.store.scripts import Scripts
from queuey.worker.handlers.app import App
from queuey.worker.handlers.context import Context
from tests.support.store import Rig, client_for
from tests.support.stores import StartServer
from tests.support.working import PATIENCE, eventually, restart, working

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
PER_ROUND = 10
"""Jobs that have ended, and jobs that have been taken, before the store is killed once more."""


class Counting:
    """An App that counts the jobs which its handler has run. Some of them run while the store is away."""

    def __init__(self) -> None:
        self.app = App()
        self.app.job("t")(self._run)
        self.ran: set[str] = set()

    async def _run(self, payload: Any, ctx: Context) -> None:
        self.ran.add(ctx.job_id)


async def submit_for_ever(rig: Rig, producer: Producer, taken: list[str]) -> None:
    """Jobs without end, a few at a time. `taken` gets those that the store has acknowledged."""
    while True:
        jobs = [rig.job() for _ in range(4)]
        await asyncio.gather(*(producer.enqueue(job) for job in jobs))
        taken += [job.id for job in jobs]


@asynccontextmanager
async def submitting(rig: Rig) -> AsyncIterator[list[str]]:
    """Submits during the block. Gives what has been taken so far."""
    producer = Producer(rig.broker, metrics=Metrics(), resend_for=PATIENCE)
    taken: list[str] = []
    task = asyncio.create_task(submit_for_ever(rig, producer, taken))
    yield taken
    assert not task.done()
    await end_tasks([task])
    await producer.drain()


@pytest.mark.parametrize(
    "restarts",
    [5, pytest.param(50, marks=[pytest.mark.stress, pytest.mark.timeout(600)])],
)
async def test_after_each_restart_the_worker_goes_on_and_no_job_is_lost(
    start_server: StartServer, restarts: int
) -> None:
    store = start_server(*DURABLE)
    client = client_for(store.url)
    rig = Rig(client, 1, Scripts())
    app = Counting()
    async with working(store.url, app.app, keeper=True, concurrency=8):
        async with submitting(rig) as taken:
            for _ in range(restarts):
                await more(rig, taken)
                await restart(store, client)
            await more(rig, taken)
        await eventually(lambda: nothing_is_left(rig))
    assert set(taken) <= app.ran
    statuses = {(await rig.state(job))["s"] for job in taken}
    assert statuses == {"s"}
    counters = await rig.counters()
    assert counters["succeeded"] == (await rig.row())["finished"] == len(app.ran)
    assert not counters.keys() & {"dead", "crashed", "retried"}
    await client.aclose()


async def more(rig: Rig, taken: list[str]) -> None:
    """Wait until some more jobs have been taken, and some more have succeeded."""
    taken_before, succeeded_before = len(taken), await succeeded(rig)

    async def reached() -> bool:
        return len(taken) >= taken_before + PER_ROUND and await succeeded(rig) >= succeeded_before + PER_ROUND

    await eventually(reached)


async def succeeded(rig: Rig) -> int:
    return (await rig.counters()).get("succeeded", 0)


async def nothing_is_left(rig: Rig) -> bool:
    row = await rig.row()
    return not any(row[place] for place in ("high", "default", "low", "scheduled", "running"))
