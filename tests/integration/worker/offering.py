"""An idle worker, and the Producer of its process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from queuey.metrics import Counter, Metrics
from queuey.protocol.records import NewJob
from queuey.services.jobs.producer import Producer
from queuey.store.broker.broker import Broker
from queuey.store.shards import Shards
from queuey.worker.worker import Worker
from tests.support.store import Moves, Rig, Server
from tests.support.working import HELD, PATIENCE, FaultyScripts, Stage, eventually, working

OFFER = 4
"""The place of an offer in the arguments of `enqueue`."""


class Offering:
    """An idle worker, and the Producer of its process. Both send by the same scripts."""

    def __init__(self, rig: Rig, worker: Worker, stage: Stage, scripts: FaultyScripts, moves: Moves) -> None:
        self.rig = rig
        self.worker = worker
        self.stage = stage
        self.scripts = scripts
        self.moves = moves
        self.metrics = Metrics()
        source: Any = worker._source
        self.claims: Counter = source._metrics.claimed
        self.broker = Broker(Shards(rig.broker.shards.client), scripts, moves)
        self.producer = self.producing(resend_for=PATIENCE)

    def producing(self, *, resend_for: float, copies: int = 0) -> Producer:
        return Producer(self.broker, metrics=self.metrics, resend_for=resend_for, copies=copies, claimers=[self.worker])

    def job(self, **fields: Any) -> NewJob:
        return self.rig.job(body=HELD, **fields)

    async def enqueue(self, job: NewJob) -> str:
        return (await self.producer.enqueue(job)).job_id

    def offers(self) -> list[Any]:
        """The offer of each enqueue, None if it had none."""
        return [each[OFFER] if len(each) > OFFER else None for each in self.scripts.arguments("enqueue")]

    async def has_called(self, name: str) -> bool:
        return name in self.called()

    def called(self) -> list[str]:
        return [name for name, _ in self.scripts.calls]

    async def assert_ran_once(self, job_id: str) -> None:
        """It starts, at its first claim and without a crash, and only once."""
        assert await self.stage.next() == job_id
        state = await self.rig.state(job_id)
        assert (state["s"], state["n"], "x" in state) == ("r", "1", False)
        self.stage.finish(job_id)
        await eventually(self.all_finished)
        assert self.stage.ran.count(job_id) == 1

    async def all_finished(self) -> bool:
        row = await self.rig.row()
        return row["finished"] == len(self.stage.ran)


@asynccontextmanager
async def idle(rig: Rig, server: Server, **options: Any) -> AsyncIterator[Offering]:
    """A worker that has found the store empty. The queues `default` and `mail` are known."""
    stage, scripts = options.pop("stage", None) or Stage(), FaultyScripts()
    await rig.client.sadd(rig.keys.queues, "default", "mail")
    async with working(server.url, stage.app, scripts=scripts, **{"waker": False, **options}) as worker:
        async with asyncio.timeout(PATIENCE):
            await worker.may_wait.wait()
        scripts.calls.clear()
        yield Offering(rig, worker, stage, scripts, Moves())
