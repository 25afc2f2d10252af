"""Outcomes on their way to the store: batched, and sent again until the store has taken them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from queuey.errors import OutcomeUnknown, ScriptFailed, StoreUnavailable
from queuey.store.broker.broker import Broker
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards
from tests.support.store import Rig, Server, client_for
from tests.support.stores import StartServer
from tests.support.working import (
    HELD,
    PATIENCE,
    AskedAcks,
    FaultyScripts,
    Stage,
    eventually,
    kill,
    start_again,
    working,
)

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


def acks_of(rig: Rig, scripts: Scripts, resend_for: float = 60.0) -> AskedAcks:
    return AskedAcks(Broker(Shards(rig.client, rig.broker.shards.count), scripts), resend_for)


async def test_outcomes_that_come_together_share_a_call_per_kind(rig: Rig) -> None:
    jobs = await rig.held(9)
    scripts = FaultyScripts()
    acks = acks_of(rig, scripts)
    answers = await asyncio.gather(
        *(acks.complete(0, job, token, "1") for job, token in jobs[:3]),
        *(
            acks.fail(0, (job, token, '{"attempt":1,"kind":"error","message":""}', 0, False))
            for job, token in jobs[3:6]
        ),
        *(acks.release(0, job, token) for job, token in jobs[6:8]),
        acks.fail(0, (*jobs[8], '{"attempt":1,"kind":"dead","message":""}', 0, True)),
        acks.release(0, jobs[8][0], "9.other"),
    )
    assert answers == ["ok"] * 3 + ["retry"] * 3 + ["ok"] * 2 + ["dead", "lost"]
    assert sorted(name for name, _ in scripts.calls) == ["complete", "fail", "release"]


@pytest.mark.parametrize("shards", [4])
async def test_each_shard_has_its_own_calls(rig: Rig) -> None:
    scripts = FaultyScripts()
    acks = acks_of(rig, scripts)
    calls = []
    for rig.shard in range(4):
        rig.keys = rig.broker.shards.keys[rig.shard]
        ((job, token),) = await rig.held()
        calls.append(acks.complete(rig.shard, job, token, "1"))
    assert await asyncio.gather(*calls) == ["ok"] * 4
    assert len(scripts.calls) == 4


async def test_jobs_released_last_first_stand_in_order_across_calls(rig: Rig) -> None:
    jobs = [*await rig.held(400), *await rig.held(400)]
    acks = acks_of(rig, FaultyScripts())
    await asyncio.gather(*(acks.release(0, job, token) for job, token in reversed(jobs)))
    assert await rig.waiting() == [job for job, _ in jobs]


@pytest.mark.parametrize("name", ["complete", "fail", "release"])
async def test_a_dropped_reply_is_asked_for_again_and_the_job_moves_once(rig: Rig, name: str) -> None:
    ((job, token),) = await rig.held()
    scripts = FaultyScripts()
    scripts.replies_to_drop[name] = 2
    acks = acks_of(rig, scripts)
    send: dict[str, Callable[[], asyncio.Future[str]]] = {
        "complete": lambda: acks.complete(0, job, token, '"x"'),
        "fail": lambda: acks.fail(0, (job, token, '{"attempt":1,"kind":"error","message":""}', 60_000, False)),
        "release": lambda: acks.release(0, job, token),
    }
    assert await send[name]() == ("retry" if name == "fail" else "ok")
    assert len(scripts.calls) == 3
    counted = {"complete": "succeeded", "fail": "retried", "release": "released"}
    assert (await rig.counters())[counted[name]] == 1


async def test_what_the_store_does_not_take_in_time_is_given_up(rig: Rig) -> None:
    ((first, token), (second, other)) = await rig.held(2)
    scripts = FaultyScripts()
    acks = acks_of(rig, scripts, resend_for=0.05)
    scripts.down = True
    with pytest.raises(StoreUnavailable):
        await acks.complete(0, first, token, "1")
    scripts.down = False
    scripts.replies_to_drop["complete"] = 1000
    with pytest.raises(OutcomeUnknown):
        await acks.complete(0, second, other, "1")
    assert [(await rig.state(job))["s"] for job in (first, second)] == ["r", "s"]


async def test_one_outcome_that_a_script_cannot_take_fails_alone(rig: Rig) -> None:
    good, bad = await rig.held(2)
    acks = acks_of(rig, FaultyScripts())
    answers = await asyncio.gather(
        acks.fail(0, (*good, '{"attempt":1,"kind":"error","message":""}', 0, False)),
        acks.fail(0, (*bad, '{"attempt":1,"kind":"error","message":""}', "soon", False)),
        return_exceptions=True,
    )
    assert answers[0] == "retry"
    assert isinstance(answers[1], ScriptFailed)


# --- outages -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def durable(start_server: StartServer) -> AsyncIterator[tuple[Server, Rig]]:
    server = start_server(*DURABLE)
    client = client_for(server.url)
    yield server, Rig(client, 1, Scripts())
    await client.aclose()


async def _finished(rig: Rig, count: int) -> bool:
    try:
        return (await rig.row())["finished"] == count
    except StoreUnavailable:
        return False


async def test_a_store_that_was_killed_gets_every_outcome_when_it_is_back(durable: tuple[Server, Rig]) -> None:
    server, rig = durable
    jobs = await rig.add(60, now=0, body=HELD)
    stage, scripts = Stage(), FaultyScripts()
    async with working(server.url, stage.app, scripts=scripts, keeper=True, concurrency=50) as worker:
        assert await stage.take(50) == jobs[:50]
        stage.finish(*jobs[:10])
        await eventually(lambda: _finished(rig, 10))
        assert await stage.take(10) == jobs[50:]
        kill(server)
        completed = len(scripts.arguments("complete"))
        stage.finish(*jobs[10:])  # while it is away

        async def sent_in_vain() -> bool:
            return len(scripts.arguments("complete")) > completed + 1

        await eventually(sent_in_vain)
        assert len(worker.running) == 50
        await start_again(server, rig.client)
        await eventually(lambda: _finished(rig, 60))
        (later,) = await rig.add(now=0, body=HELD)  # and the worker takes jobs again, by itself
        assert await stage.next() == later
        stage.finish(later)
        await eventually(lambda: _finished(rig, 61))
    assert stage.ran == [*jobs, later]
    states = [await rig.state(job) for job in jobs]
    assert {(state["s"], state["n"], "x" in state) for state in states} == {("s", "1", False)}


async def test_scripts_that_the_store_has_lost_are_loaded_while_jobs_run(rig: Rig, server: Server) -> None:
    stage = Stage()
    async with working(server.url, stage.app, keeper=True, concurrency=2):
        for _ in range(3):
            jobs = await rig.add(2, now=0, body=HELD)
            assert await stage.take(2) == jobs
            await rig.client.script_flush()
            stage.finish(*jobs)
        await eventually(lambda: _finished(rig, 6))
    assert len(stage.ran) == 6


async def test_a_worker_started_while_the_store_is_away_begins_when_it_comes(durable: tuple[Server, Rig]) -> None:
    server, rig = durable
    jobs = await rig.add(2, now=0, body=HELD)
    kill(server)
    stage, scripts = Stage(), FaultyScripts()
    async with working(server.url, stage.app, scripts=scripts):

        async def has_tried() -> bool:
            return bool(scripts.calls)

        await eventually(has_tried)
        await start_again(server, rig.client)
        assert await stage.take(2) == jobs
        stage.finish(*jobs)
        await eventually(lambda: _finished(rig, 2), within=PATIENCE)
