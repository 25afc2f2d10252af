"""A worker of several shards, one of which does not answer: the others go on, and it comes back by itself."""

from __future__ import annotations

import asyncio

import pytest

from queuey.errors import StoreUnavailable
from queuey.metrics import Metrics
from queuey.services.jobs.producer import Producer
from queuey.store.broker.broker import Broker
from queuey.store.connections.pipelined import StoreClient
from queuey.store.keys import ShardKeys
from queuey.store.scripts import Scripts
from queuey.worker.lease_keeper import LeaseKeeper, StoreRenewer
from queuey.worker.worker import Worker
from tests.integration.worker.test_lease_keeper import Lease, Troubles, expiries
from tests.support.connections.silent import Apart, BlackHole, id_on, shards_at
from tests.support.store import Rig, Server
from tests.support.working import HELD, PATIENCE, FaultyScripts, Stage, eventually, working

SILENT = 1
TIMEOUT = 1.0
"""Seconds for a call to the store, above those after which a claim is late."""


@pytest.fixture
def shards() -> int:
    return 3


@pytest.fixture
def apart(hole: BlackHole) -> Apart:
    return Apart(hole, SILENT, TIMEOUT)


async def add(rig: Rig, shard: int, count: int = 1) -> list[str]:
    """Enqueue jobs on a shard, past the hole."""
    jobs = [rig.job(id=id_on(rig.broker.shards, shard), body=HELD) for _ in range(count)]
    assert await rig.broker.jobs.enqueue(shard, jobs) == ["new"] * count
    return [job.id for job in jobs]


async def finished(rig: Rig, count: int) -> bool:
    rows = [(await rig.broker.queues.stats(shard)).queues for shard in range(3)]
    return sum(row.finished for of_shard in rows for row in of_shard) == count


async def idle(worker: Worker) -> None:
    async with asyncio.timeout(PATIENCE):
        await worker.may_wait.wait()


async def test_the_others_go_on_and_the_silent_one_comes_back(
    rig: Rig, server: Server, stage: Stage, apart: Apart
) -> None:
    apart.hole.silence()
    (waiting,) = await add(rig, SILENT)
    async with working(server.url, stage.app, shards=3, apart=apart, lease=30.0, keeper=True) as worker:
        await apart.hole.held_call()
        for shard in (0, 2, 0, 2):
            (job,) = await add(rig, shard)
            assert await stage.next() == job
            stage.finish(job)
        await eventually(lambda: finished(rig, 4))
        await idle(worker)
        apart.hole.speak()
        assert await stage.next() == waiting
        stage.finish(waiting)
        await eventually(lambda: finished(rig, 5))
        rig.shard = SILENT
        assert {"n": "1"}.items() <= (await rig.state(waiting)).items(), "one claim, however often it was sent"


async def test_a_late_answer_does_not_exceed_the_slots(rig: Rig, server: Server, stage: Stage, apart: Apart) -> None:
    """Other jobs have taken the slots by then. What has none is given back, and spends no attempt."""
    apart.hole.silence()
    (late,) = await add(rig, SILENT)
    async with working(server.url, stage.app, shards=3, apart=apart, lease=30.0, concurrency=2) as worker:
        await apart.hole.held_call()
        others = [*await add(rig, 0, 2), *await add(rig, 2, 2)]
        first = await stage.take(2)
        apart.hole.speak()
        rig.shard = SILENT
        await eventually(lambda: is_back(rig, late))
        assert len(worker.running) == 2
        stage.finish(*first)
        for _ in range(3):
            stage.finish(await stage.next())
        await eventually(lambda: finished(rig, 5))
        assert sorted(stage.ran) == sorted([late, *others]), "each once"


async def is_back(rig: Rig, job_id: str) -> bool:
    """Whether a job was claimed, and waits again."""
    state = await rig.state(job_id)
    return state.get("n") == "1" and state["s"] != "r" and "a" not in state


async def test_an_offer_to_the_silent_one_stops_no_claim(rig: Rig, server: Server, stage: Stage, apart: Apart) -> None:
    """The enqueue that carries the offer of an idle worker has no answer. Later it brings its job."""
    async with (
        working(server.url, stage.app, shards=3, apart=apart, lease=30.0, waker=False) as worker,
        shards_at(server.url, 3, apart) as own,
    ):
        await rig.client.sadd(rig.broker.shards.keys[SILENT].queues, "default")
        await idle(worker)
        producer = Producer(Broker(own, Scripts()), metrics=Metrics(), resend_for=PATIENCE, claimers=[worker])
        apart.hole.silence()
        offered = rig.job(id=id_on(own, SILENT), body=HELD)
        sent = asyncio.create_task(producer.enqueue(offered))
        await apart.hole.held_call()
        (job,) = await add(rig, 2)
        worker.wake(2)
        assert await stage.next() == job
        apart.hole.speak()
        assert (await sent).job_id == offered.id
        assert await stage.next() == offered.id
        stage.finish(job, offered.id)
        await eventually(lambda: finished(rig, 2))
        assert stage.ran == [job, offered.id]


async def test_a_late_offer_does_not_exceed_the_slots(rig: Rig, server: Server, stage: Stage, apart: Apart) -> None:
    async with (
        working(server.url, stage.app, shards=3, apart=apart, lease=30.0, waker=False, concurrency=2) as worker,
        shards_at(server.url, 3, apart) as own,
    ):
        await rig.client.sadd(rig.broker.shards.keys[SILENT].queues, "default")
        await idle(worker)
        producer = Producer(Broker(own, Scripts()), metrics=Metrics(), resend_for=PATIENCE, claimers=[worker])
        apart.hole.silence()
        offered = rig.job(id=id_on(own, SILENT), body=HELD)
        sent = asyncio.create_task(producer.enqueue(offered))
        await apart.hole.held_call()
        await add(rig, 2, 2)
        worker.wake(2)
        first = await stage.take(2)
        apart.hole.speak()
        await sent
        rig.shard = SILENT
        await eventually(lambda: is_back(rig, offered.id))
        assert sorted(worker.running) == sorted(first)
        stage.finish(*first)
        stage.finish(await stage.next())
        await eventually(lambda: finished(rig, 3))


async def has_parked(worker: Worker, outcomes: int) -> bool:
    return worker._slots.unconfirmed == outcomes


class OutcomesHeld(FaultyScripts):
    """Scripts that take no outcomes on one shard until `taken` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = False

    async def call(
        self, client: StoreClient, name: str, keys: tuple[str, str], argument: bytes, copies: int = 0
    ) -> bytes:
        if name == "complete" and keys == ShardKeys(SILENT).anchors and not self.taken:
            raise StoreUnavailable("held by the test", maybe_done=True)
        return await super().call(client, name, keys, argument, copies)


async def test_outcomes_that_wait_for_one_shard_leave_the_slots_to_the_others(
    rig: Rig, server: Server, stage: Stage
) -> None:
    scripts = OutcomesHeld()
    async with working(server.url, stage.app, scripts=scripts, shards=3, concurrency=2) as worker:
        for _ in range(4):
            await add(rig, SILENT)
            stage.finish(await stage.next())
        await eventually(lambda: has_parked(worker, 4))
        (waiting,) = await add(rig, SILENT)
        for shard in (0, 2, 0, 2):
            (job,) = await add(rig, shard)
            assert await stage.next() == job
            stage.finish(job)
        await idle(worker)
        assert worker.offer(SILENT, "default", lambda: ["held"]) is None
        assert waiting not in stage.ran
        scripts.taken = True
        assert await stage.next() == waiting
        stage.finish(waiting)
        await eventually(lambda: finished(rig, 9))


async def test_leases_of_the_others_are_renewed(rig: Rig, server: Server, apart: Apart) -> None:
    keeper = LeaseKeeper(3600, Troubles())
    before = {}
    for rig.shard in range(3):
        rig.keys = rig.broker.shards.keys[rig.shard]
        (job_id,) = await rig.add(id=id_on(rig.broker.shards, rig.shard), now=0)
        (job,) = (await rig.claim(now=0, lease_ms=60_000)).jobs
        keeper.hold(Lease(job.id, job.token, rig.shard))
        before[rig.shard] = (await expiries(rig))[job_id]
    apart.hole.silence()
    async with shards_at(server.url, 3, apart) as shards:
        with pytest.raises(StoreUnavailable, match=f"Shard {SILENT} of the store: "):
            await keeper.renew_once(StoreRenewer(Broker(shards, Scripts())), 0)
    for rig.shard in (0, 2):
        rig.keys = rig.broker.shards.keys[rig.shard]
        (after,) = (await expiries(rig)).values()
        assert after > before[rig.shard] + 3_000_000
