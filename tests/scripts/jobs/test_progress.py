"""progress: how far running jobs have come, told by their lease holders."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from queuey.protocol.records import to_job
from queuey.worker.handlers.app import App
from queuey.worker.handlers.context import Context
from queuey.worker.worker import Worker
from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig, Server
from tests.support.working import eventually, working

TOLD = '{"done":3,"total":10}'


async def test_the_last_one_is_kept_beside_the_state_while_the_job_runs(rig: Rig) -> None:
    ((job_id, token),) = await rig.held()
    async with rig.unchanged(but=[rig.keys.progress("")]):
        heads = await rig.broker.jobs.progress(rig.shard, [(job_id, token, '{"done":1}')], now=NOW)
        assert heads == [f'r={NOW}\n{{"type":"t"}}']
        await rig.broker.jobs.progress(rig.shard, [(job_id, token, TOLD)], now=NOW + SECOND)
    assert (await rig.stored(job_id)).progress == f"{NOW + SECOND} {TOLD}"
    await rig.broker.leases.complete(rig.shard, [(job_id, token, "")], now=NOW)
    assert (await rig.stored(job_id)).progress == ""


async def test_it_goes_by_itself(rig: Rig) -> None:
    ((job_id, token),) = await rig.held()
    await rig.broker.jobs.progress(rig.shard, [(job_id, token, TOLD)], HOUR, now=NOW)
    assert HOUR - 60 * SECOND < await rig.client.pttl(rig.keys.progress(job_id)) <= HOUR


async def test_who_does_not_hold_the_lease_tells_nothing(rig: Rig) -> None:
    (done, retried, running) = await rig.held(3)
    (waiting,) = await rig.add()
    await rig.broker.leases.complete(rig.shard, [(*done, "")], now=NOW)
    await rig.broker.leases.fail(rig.shard, [(*retried, "{}", HOUR, False)], now=NOW)
    strangers = [(*done, TOLD), (*retried, TOLD), (running[0], "1.x", TOLD), (waiting, "1.c", TOLD), ("no", "", TOLD)]
    async with rig.unchanged():
        assert await rig.broker.jobs.progress(rig.shard, strangers, now=NOW) == [""] * 5


async def test_the_next_lease_begins_with_none(rig: Rig) -> None:
    ((job_id, token),) = await rig.held()
    await rig.broker.jobs.progress(rig.shard, [(job_id, token, TOLD)], now=NOW)
    await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + LEASE)
    (again,) = (await rig.claim(now=NOW + LEASE)).jobs
    assert again.id == job_id
    assert (await rig.stored(job_id)).progress == ""


async def test_again_is_answered_alike(rig: Rig) -> None:
    ((job_id, token),) = await rig.held()
    heads = await rig.broker.jobs.progress(rig.shard, [(job_id, token, TOLD)], now=NOW)
    assert heads * 2 == await rig.broker.jobs.progress(rig.shard, [(job_id, token, TOLD)] * 2, now=NOW)
    assert await rig.broker.jobs.progress(rig.shard, [], now=NOW) == []


@pytest.mark.parametrize("kind", ["valkey"])
async def test_a_handlers_progress_is_seen_in_its_job(rig: Rig, server: Server, shards: int) -> None:
    app, end = App(), asyncio.Event()

    @app.job("t")
    async def counts(payload: Any, ctx: Context) -> None:
        ctx.progress(1, 3, "one of three")
        await end.wait()

    (job_id,) = await rig.add(now=0)

    async def seen() -> bool:
        job = to_job(job_id, await rig.stored(job_id))
        return job.progress is not None and (job.progress.done, job.progress.total) == (1, 3)

    async with working(server.url, app, shards=shards) as worker:
        await eventually(seen)
        end.set()
        await eventually(lambda: idle(worker))
    job = to_job(job_id, await rig.stored(job_id))
    assert (job.status, job.progress) == ("succeeded", None)


async def idle(worker: Worker) -> bool:
    return not worker.running


async def test_of_a_large_definition_only_the_head_comes(rig: Rig) -> None:
    ((job_id, token),) = await rig.held(body='{"type":"t","payload":"' + "x" * 100_000 + '"}')
    (head,) = await rig.broker.jobs.progress(rig.shard, [(job_id, token, TOLD)], now=NOW)
    assert len(head) == 1024
