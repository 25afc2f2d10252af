"""Checkpoints of a worker on a real store: they outlast attempts, and a stale worker writes none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from queuey import App, CheckpointFailed, Context, Retry, Snooze
from queuey.store.broker.leases import LeaseCalls
from tests.support.store import HOUR, Rig, Server
from tests.support.working import eventually, working

BODY = '{"type":"%s"}'


class Counting:
    """An App whose handlers count up to 3 by their checkpoints, one step an attempt."""

    def __init__(self) -> None:
        self.app = App()
        self.seen: list[Any] = []
        self.begun = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self.refused: list[str] = []

        @self.app.job("loop")
        async def in_loop(payload: Any, ctx: Context) -> int:
            step = self._step(ctx)
            await ctx.checkpoint({"step": step})
            return self._end(step)

        @self.app.job("thread")
        def in_thread(payload: Any, ctx: Context) -> int:
            step = self._step(ctx)
            ctx.checkpoint({"step": step})
            return self._end(step)

        @self.app.job("slow")
        async def slow(payload: Any, ctx: Context) -> None:
            self.begun.set()
            await self.may_go_on.wait()
            try:
                await ctx.checkpoint("stale")
            except CheckpointFailed as error:
                self.refused.append(error.reason)
                raise

        @self.app.job("crowd")
        async def crowd(payload: Any, ctx: Context) -> None:
            if ctx.attempt == 1:
                await asyncio.gather(*(ctx.checkpoint(number) for number in range(20)))
                self.seen.append(ctx.last_checkpoint)
                raise Retry(after=0)
            self.seen.append(ctx.last_checkpoint)

        @self.app.job("crowd-of-threads")
        def crowd_of_threads(payload: Any, ctx: Context) -> None:
            if ctx.attempt == 1:
                with ThreadPoolExecutor(8) as threads:
                    for _ in threads.map(ctx.checkpoint, range(20)):
                        pass
                self.seen.append(ctx.last_checkpoint)
                raise Retry(after=0)
            self.seen.append(ctx.last_checkpoint)

    def _step(self, ctx: Context) -> int:
        self.seen.append(ctx.last_checkpoint)
        return int((ctx.last_checkpoint or {"step": 0})["step"]) + 1

    def _end(self, step: int) -> int:
        if step == 1:
            raise ValueError("broken")
        if step == 2:
            raise Snooze(0.01)
        return step


@pytest.mark.parametrize("type", ["loop", "thread"])
async def test_each_attempt_goes_on_where_the_last_one_was(rig: Rig, server: Server, type: str) -> None:
    (job_id,) = await rig.add(now=0, body=BODY % type)
    counting = Counting()

    async def is_done() -> bool:
        return (await rig.state(job_id)).get("s") == "s"

    async with working(server.url, counting.app, backoff_base=0.02, backoff_cap=0.02):
        await eventually(is_done)
    assert counting.seen == [None, {"step": 1}, {"step": 2}]
    state = await rig.state(job_id)
    assert (state["a"], state["S"], state.get("K")) == ("1", "1", None)
    assert (await rig.stored(job_id)).state.split("\n")[1] == "3"


async def test_a_stale_worker_does_not_overwrite_the_new_attempt(rig: Rig, server: Server) -> None:
    (job_id,) = await rig.add(now=0, body=BODY % "slow")
    counting = Counting()
    async with working(server.url, counting.app):
        await counting.begun.wait()
        shard = rig.broker.shards.of_job(job_id)
        await rig.client.zadd(rig.keys.leases("default"), {job_id: 0})
        reaped = await rig.broker.maintenance.reap(shard, 1, [HOUR])
        assert reaped.outcomes == [(job_id, "retry")]
        await rig.broker.jobs.run_now(shard, "now", [job_id])
        (job,) = (await rig.claim(worker="other", now=0)).jobs
        await rig.broker.leases.checkpoint(shard, [(job_id, job.token, '"new"')])
        counting.may_go_on.set()

        async def is_refused() -> bool:
            return bool(counting.refused)

        await eventually(is_refused)
    assert counting.refused == ["another worker has the job now, or it has finished"]
    assert (await rig.stored(job_id)).state.split("\n")[1] == '"new"'


@pytest.mark.parametrize("type", ["crowd", "crowd-of-threads"])
async def test_of_those_that_are_kept_at_once_the_last_one_is_known(
    rig: Rig, server: Server, type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job_id,) = await rig.add(now=0, body=BODY % type)
    counting, numbers = Counting(), list[Any]()

    async def counted(calls: LeaseCalls, shard: int, items: Sequence[Any]) -> list[str]:
        numbers.extend(item[3] for item in items)
        return await keep(calls, shard, items)

    keep = LeaseCalls.checkpoint
    monkeypatch.setattr(LeaseCalls, "checkpoint", counted)

    async def is_done() -> bool:
        return (await rig.state(job_id)).get("s") == "s"

    async with working(server.url, counting.app):
        await eventually(is_done)
    first, second = counting.seen
    assert first == second
    assert numbers == [*range(1, 21)]
