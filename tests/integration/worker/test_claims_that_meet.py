"""With several shards, a claim that is answered late and one that is answered in time bring jobs for the same slot."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from queuey.metrics import Metrics
from queuey.services.jobs.producer import Producer
from queuey.store.broker.broker import Broker
from queuey.store.connections.pipelined import StoreClient
from queuey.store.keys import ShardKeys
from queuey.worker.claims import under_way
from queuey.worker.handlers.app import App
from queuey.worker.worker import Worker
from tests.support.connections.silent import id_on, shards_at
from tests.support.store import Rig, Server
from tests.support.stores import one_of
from tests.support.working import HELD, PATIENCE, FaultyScripts, Stage, eventually, working

LATE, IN_TIME = 0, 1
"""The shard whose claim is answered late, and the other one."""
AT_ONCE = 0.001
NEVER = 3600.0
kind = one_of("valkey")
shards = one_of(2)


class Meeting(FaultyScripts):
    """Scripts whose first claim is late at once, and no other call ever.

    The replies of a shard wait until it may answer, apart from claims without jobs.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(under_way, "LATE_SECONDS", AT_ONCE)
        self.held: list[asyncio.Queue[None]] = [asyncio.Queue(), asyncio.Queue()]
        """By shard: the replies with jobs that wait."""
        self.may_answer = [asyncio.Event(), asyncio.Event()]

    async def call(
        self, client: StoreClient, name: str, keys: tuple[str, str], argument: bytes, copies: int = 0
    ) -> bytes:
        shard = [ShardKeys(each).anchors for each in (LATE, IN_TIME)].index(keys)
        if name == "claim":
            self._monkeypatch.setattr(under_way, "LATE_SECONDS", NEVER)  # the alarm of the first is set by now
        reply = await super().call(client, name, keys, argument, copies)
        if name == "enqueue" or (name == "claim" and b"held" in reply):
            self.held[shard].put_nowait(None)
            async with asyncio.timeout(PATIENCE):
                await self.may_answer[shard].wait()
        return reply

    async def until_held(self, shard: int) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.held[shard].get()

    def answer(self, shard: int) -> None:
        self.may_answer[shard].set()


async def add(rig: Rig, shard: int) -> str:
    job = rig.job(id=id_on(rig.broker.shards, shard), body=HELD)
    assert await rig.broker.jobs.enqueue(shard, [job]) == ["new"]
    return job.id


async def is_back(rig: Rig, job_id: str) -> bool:
    """Whether a job was claimed, and waits again with no attempt spent."""
    rig.shard = IN_TIME
    state = await rig.state(job_id)
    return state.get("n") == "1" and state["s"] != "r" and "a" not in state and "x" not in state


async def finished(rig: Rig, count: int) -> bool:
    rows = [(await rig.broker.queues.stats(shard)).queues for shard in (LATE, IN_TIME)]
    return sum(row.finished for of_shard in rows for row in of_shard) == count


def limited(how: str) -> tuple[Stage, dict[str, Any]]:
    """A worker that can run one job at a time: it has one slot, or the type or the queue has."""
    stage = Stage()
    if how == "type":
        stage.app = App()
        stage.app.job("held", concurrency=1)(stage._held)
    options: dict[str, Any] = {"concurrency": 1 if how == "slots" else 10}
    return stage, options | ({"limits": {"default": 1}} if how == "queue" else {})


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Has the number of loops that claim, as `claim`."""
    found, claim_in_turn = Counter[str](), Worker._claim_in_turn

    async def counted(worker: Worker) -> None:
        found["claim"] += 1
        try:
            await claim_in_turn(worker)
        finally:
            found["claim"] -= 1

    monkeypatch.setattr(Worker, "_claim_in_turn", counted)
    return found


async def both_run_in_turn(rig: Rig, stage: Stage, worker: Worker, late: str, in_time: str) -> None:
    await eventually(lambda: is_back(rig, in_time))
    assert list(worker.running) == [late]
    stage.finish(late)
    assert await stage.next() == in_time
    stage.finish(in_time)
    await eventually(lambda: finished(rig, 2))
    assert stage.ran == [late, in_time], "each once"


@pytest.mark.parametrize("how", ["slots", "type", "queue"])
async def test_the_answer_in_time_gives_back_what_the_late_one_has_taken(
    rig: Rig, server: Server, monkeypatch: pytest.MonkeyPatch, loops: Counter[str], how: str
) -> None:
    (late, in_time), scripts = [await add(rig, shard) for shard in (LATE, IN_TIME)], Meeting(monkeypatch)
    stage, options = limited(how)
    async with working(server.url, stage.app, scripts=scripts, shards=2, **options) as worker:
        await scripts.until_held(LATE)
        await scripts.until_held(IN_TIME)
        scripts.answer(LATE)
        assert await stage.next() == late
        scripts.answer(IN_TIME)
        await both_run_in_turn(rig, stage, worker, late, in_time)
        assert loops["claim"] == 1, "the loop of the late one has ended"


async def test_so_does_one_that_is_late_only_once_it_gives_back(
    rig: Rig, server: Server, monkeypatch: pytest.MonkeyPatch, loops: Counter[str]
) -> None:
    """Another loop goes on claiming then, so its own ends."""
    (late, in_time), scripts = [await add(rig, shard) for shard in (LATE, IN_TIME)], Meeting(monkeypatch)
    stage, options = limited("slots")
    scripts.gates["release"] = asyncio.Event()
    async with working(server.url, stage.app, scripts=scripts, shards=2, **options) as worker:
        await scripts.until_held(LATE)
        await scripts.until_held(IN_TIME)
        scripts.answer(LATE)
        assert await stage.next() == late
        scripts.answer(IN_TIME)
        async with asyncio.timeout(PATIENCE):
            assert await scripts.waiting.get() == "release"
        worker._under_way._now_late(IN_TIME, worker._go_on_claiming)
        scripts.gates.pop("release").set()
        await both_run_in_turn(rig, stage, worker, late, in_time)
        assert loops["claim"] == 1


@pytest.mark.parametrize("how", ["slots", "type", "queue"])
async def test_so_does_an_offer_that_was_taken_in_time(
    rig: Rig, server: Server, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    late, scripts = await add(rig, LATE), Meeting(monkeypatch)
    stage, options = limited(how)
    for keys in rig.broker.shards.keys:
        await rig.client.sadd(keys.queues, "default")
    async with (
        working(server.url, stage.app, scripts=scripts, shards=2, **options) as worker,
        shards_at(server.url, 2) as own,
    ):
        await scripts.until_held(LATE)
        async with asyncio.timeout(PATIENCE):
            await worker.may_wait.wait()
        producer = Producer(Broker(own, scripts), metrics=Metrics(), resend_for=PATIENCE, claimers=[worker])
        offered = rig.job(id=id_on(own, IN_TIME), body=HELD)
        sent = asyncio.create_task(producer.enqueue(offered))
        await scripts.until_held(IN_TIME)
        scripts.answer(LATE)
        assert await stage.next() == late
        scripts.answer(IN_TIME)
        assert (await sent).job_id == offered.id
        await both_run_in_turn(rig, stage, worker, late, offered.id)
