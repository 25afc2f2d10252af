"""An offer is made only for jobs that can begin in this worker."""

from __future__ import annotations

import asyncio

from tests.integration.worker.offering import idle
from tests.support.store import Rig, Server
from tests.support.stores import one_of
from tests.support.working import PATIENCE, Stage, ThreadStage, body, eventually

shards = one_of(1)


async def test_no_offer_for_jobs_of_a_type_that_the_worker_does_not_know(rig: Rig, server: Server) -> None:
    async with idle(rig, server, waker=True) as offering:
        await offering.producer.enqueue_many([offering.job(), rig.job(body=body("newer"))])
        assert offering.offers() == [None]
        job = await offering.stage.next()
        offering.stage.finish(job)
        await eventually(lambda: _finished(rig, 1))


async def test_an_offer_has_the_room_of_the_executor(rig: Rig, server: Server) -> None:
    await rig.open_gate()
    stage = Stage()
    threads = ThreadStage(app=stage.app)
    async with idle(rig, server, stage=stage, threads=2, concurrency=20, waker=True) as offering:
        jobs = [offering.rig.job(body=body("thread")) for _ in range(3)]
        await offering.producer.enqueue_many(jobs)
        assert sorted(await threads.take(2)) == sorted(job.id for job in jobs[:2])
        assert [offer[3] for offer in offering.offers()] == [2]
        await eventually(lambda: offering.has_called("claim_typed"))
        async with asyncio.timeout(PATIENCE):
            await offering.worker.may_wait.wait()
        offering.scripts.calls.clear()
        waiting = offering.rig.job(body=body("thread"))
        await offering.enqueue(waiting)
        quick = offering.job()
        await offering.enqueue(quick)
        assert await offering.stage.next() == quick.id
        assert offering.offers() == [None, None], "no thread has room, and then a list is set aside"
        offering.stage.finish(quick.id)
        threads.finish_all()
        assert sorted(await threads.take(2)) == sorted([jobs[2].id, waiting.id])
        threads.finish_all()
        await eventually(lambda: _finished(rig, 5))


async def _finished(rig: Rig, count: int) -> bool:
    return (await rig.row())["finished"] == count
