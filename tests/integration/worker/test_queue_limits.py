"""`--queues mail:2`: never more jobs of a queue at a time in a process, all are done, and other queues go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from queuey.store import wakeups as waking
from queuey.worker.handlers.app import App
from queuey.worker.handlers.context import Context
from queuey.worker.worker import Worker
from tests.integration.worker.test_concurrency import Counts
from tests.support.store import Rig, Server
from tests.support.stores import one_of
from tests.support.working import (
    HELD,
    QUICKLY,
    ROUND,
    FaultyScripts,
    Stage,
    ThreadStage,
    body,
    eventually,
    until_blocked,
    working,
)

QUEUES = ("mail", "images", "rest")
LIMITS = {"mail": 3, "images": 1}
PASSES = 200
"""Passes of the event loop in which a handler runs, so that the worker claims meanwhile."""
QUEUES_ASKED = 5
"""The place of the queues in the arguments of a claim."""
STUCK = '{"type":"thread","timeout":0.01}'
shards = one_of(1)


@pytest.fixture(autouse=True)
def long_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "BLOCK_SECONDS", ROUND)


async def finished(rig: Rig, **counts: int) -> None:
    async def all_finished() -> bool:
        return all([(await rig.row(queue))["finished"] == count for queue, count in counts.items()])

    await eventually(all_finished)


def held(worker: Worker) -> list[str]:
    return sorted(each.work.queue for each in worker.running.values() if not each.ended_at)


@pytest.mark.parametrize("kind", ["valkey"])
@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("shards", [1, 3])
async def test_no_queue_has_more_than_its_limit_and_all_are_done(
    rig: Rig, server: Server, shards: int, gate: bool
) -> None:
    """In the loop and in threads, with a type that has a limit of its own too."""
    if gate:
        await rig.open_gate()
    app, counts = App(), Counts("queue")

    async def run(payload: Any, ctx: Context) -> None:
        counts.enter(ctx.queue)
        for _ in range(PASSES):
            await asyncio.sleep(0)
        counts.leave(ctx.queue)

    def run_in_thread(payload: Any, ctx: Context) -> None:
        counts.enter(ctx.queue)
        counts.leave(ctx.queue)

    app.job("loop")(run)
    app.job("few", concurrency=2)(run)
    app.job("thread")(run_in_thread)
    for _ in range(5):
        for queue in QUEUES:
            for type in ("loop", "few", "thread"):
                await rig.add(2, now=0, body=body(type), queue=queue)
    options: dict[str, Any] = {"queues": QUEUES, "concurrency": 20, "threads": 2, "listener": True, "shards": shards}
    async with working(server.url, app, limits=LIMITS, **options) as worker:
        counts.worker = worker
        await finished(rig, mail=30, images=30, rest=30)
    assert counts.done == dict.fromkeys(QUEUES, 30)
    for queue, limit in LIMITS.items():
        assert counts.most[queue] <= limit
        assert counts.held[queue] <= limit, "no more were claimed than could begin"


@pytest.mark.parametrize("kind", ["valkey"])
async def test_a_full_queue_leaves_its_jobs_and_their_marker_to_others(rig: Rig, server: Server, stage: Stage) -> None:
    """Jobs of other queues begin meanwhile, and the worker claims again once a job of the queue has ended."""
    first = await rig.add(2, now=0, body=HELD, queue="images")
    other = Stage()
    options: dict[str, Any] = {"queues": QUEUES, "concurrency": 10}
    async with working(server.url, stage.app, limits=LIMITS, **options) as worker:
        assert await stage.next() == first[0]
        mails = await rig.add(4, now=0, body=HELD, queue="mail")
        (rest,) = await rig.add(now=0, body=HELD, queue="rest")
        assert set(await stage.take(4)) == {*mails[:3], rest}
        assert held(worker) == ["images", "mail", "mail", "mail", "rest"]
        await until_blocked(rig.client, 1)
        async with working(server.url, other.app, worker_id="w2", **options):
            assert {await other.next(within=QUICKLY) for _ in range(2)} == {first[1], mails[3]}
            await until_blocked(rig.client, 2)
            (third,) = await rig.add(now=0, body=HELD, queue="images")
            assert await other.next(within=QUICKLY) == third, "the full one has left the marker to it"
            other.finish(first[1], mails[3], third)
            await finished(rig, images=2, mail=1)
        late = await rig.add(2, now=0, body=HELD, queue="images")
        stage.finish(first[0])
        assert await stage.next(within=QUICKLY) == late[0], "no marker told it"
        assert held(worker).count("images") == 1
        stage.finish(late[0])
        assert await stage.next(within=QUICKLY) == late[1]
        stage.finish(late[1], rest, *mails[:3])
        await finished(rig, images=5, mail=4, rest=1)


@pytest.mark.parametrize("kind", ["valkey"])
async def test_an_idle_worker_waits_again_for_a_queue_that_was_full(rig: Rig, server: Server, stage: Stage) -> None:
    (first,) = await rig.add(now=0, body=HELD, queue="images")
    options: dict[str, Any] = {"queues": QUEUES, "concurrency": 10}
    async with working(server.url, stage.app, limits={"images": 1}, **options):
        assert await stage.next() == first
        await until_blocked(rig.client, 1)
        stage.finish(first)
        await finished(rig, images=1)
        (second,) = await rig.add(now=0, body=HELD, queue="images")
        assert await stage.next(within=QUICKLY) == second
        stage.finish(second)
        await finished(rig, images=2)


@pytest.mark.parametrize("kind", ["valkey"])
@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("backlog", [0, 30])
async def test_a_queue_with_little_room_does_not_make_the_claims_for_others_small(
    rig: Rig, server: Server, stage: Stage, gate: bool, backlog: int
) -> None:
    """One place of two is left to `mail`. Its jobs are claimed one by one, and those of the other queue by tens."""
    if gate:
        await rig.open_gate()

    @stage.app.job("quick")
    async def quick(payload: Any) -> None: ...

    (first,) = await rig.add(now=0, body=HELD, queue="mail")
    scripts = FaultyScripts()
    options: dict[str, Any] = {"queues": QUEUES, "concurrency": 20, "scripts": scripts, "listener": True}
    async with working(server.url, stage.app, limits={"mail": 2}, **options) as worker:
        assert await stage.next() == first
        await until_blocked(rig.client, 1)
        scripts.calls.clear()
        if backlog:
            await rig.add(backlog, now=0, body=body("quick"), queue="mail")
        await rig.add(300, now=0, body=body("quick"), queue="rest")
        await finished(rig, mail=backlog, rest=300)
        asked = [each for name in ("claim", "claim_typed") for each in scripts.arguments(name)]
        by_tens, one_by_one = 300 / 10, 300 / 10 + backlog
        assert len(asked) < by_tens + one_by_one + 10
        assert held(worker) == ["mail"]
        stage.finish(first)
        await finished(rig, mail=backlog + 1)


@pytest.mark.parametrize("kind", ["valkey"])
async def test_after_a_claim_for_others_the_queue_with_little_room_is_asked_again(rig: Rig, server: Server) -> None:
    """Without a marker, since nothing waits for any here."""
    app = App()

    @app.job("quick")
    async def quick(payload: Any) -> None: ...

    await rig.add(now=0, body=body("quick"), queue="rest")
    await rig.add(5, now=0, body=body("quick"), queue="mail")
    scripts = FaultyScripts()
    options: dict[str, Any] = {"queues": QUEUES, "concurrency": 20, "scripts": scripts, "waker": False}
    async with working(server.url, app, limits={"mail": 2}, **options):
        await finished(rig, mail=5, rest=1)
    asked = [set(each[QUEUES_ASKED]) for each in scripts.arguments("claim")]
    assert asked[:3] == [set(QUEUES), {"images", "rest"}, set(QUEUES)]


@pytest.fixture
async def threads(stage: Stage) -> AsyncIterator[ThreadStage]:
    threads = ThreadStage(app=stage.app)
    yield threads
    threads.finish_all()


async def is_dead(rig: Rig, jobs: list[str]) -> bool:
    return [(await rig.state(job)).get("s") for job in jobs] == ["d"] * len(jobs)


@pytest.mark.parametrize("kind", ["valkey"])
async def test_a_thread_that_does_not_return_keeps_its_place(
    rig: Rig, server: Server, stage: Stage, threads: ThreadStage
) -> None:
    """Its job has ended by its timeout. When it returns, the next job begins at once, though no marker tells of it."""
    stuck = await rig.add(2, now=0, body=STUCK, queue="mail", max_attempts=1)
    options: dict[str, Any] = {"queues": QUEUES, "concurrency": 10, "grace": 0.01}
    async with working(server.url, stage.app, limits={"mail": 2}, **options) as worker:
        assert await threads.take(2) == stuck
        await eventually(lambda: is_dead(rig, stuck))
        mails = await rig.add(4, now=0, body=body("thread"), queue="mail")
        (rest,) = await rig.add(now=0, body=HELD, queue="rest")
        assert await stage.next() == rest
        await until_blocked(rig.client, 1)
        assert [await rig.state(mail) for mail in mails] == [{}] * 4
        assert threads.ran == stuck
        threads.finish(stuck[0])
        assert await threads.next(within=QUICKLY) == mails[0]
        assert held(worker) == ["mail", "rest"]
        threads.finish(mails[0])
        assert await threads.next(within=QUICKLY) == mails[1]
        assert held(worker) == ["mail", "rest"]
        threads.finish(stuck[1])
        assert await threads.next(within=QUICKLY) == mails[2]
        assert held(worker) == ["mail", "mail", "rest"]
        threads.finish(*mails[1:3])
        assert await threads.next(within=QUICKLY) == mails[3]
        threads.finish(mails[3])
        stage.finish(rest)
        await finished(rig, mail=4, rest=1)
