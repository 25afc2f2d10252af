"""A worker holds no more jobs than can begin: the others wait in the store, where everybody sees them as waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from queuey.store import wakeups as waking
from queuey.worker.worker import Worker
from tests.support import handlers
from tests.support.gate import Gate
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

THREAD = body("thread")
LIMIT = 4
"""The place of the limit in the arguments of a claim."""
shards = one_of(1)


@pytest.fixture(autouse=True)
def long_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "BLOCK_SECONDS", ROUND)


def begun(worker: Worker) -> list[str]:
    """The jobs that a worker holds, apart from those that are only being reported."""
    return [job_id for job_id, held in worker.running.items() if not held.reporting]


async def finished(rig: Rig, count: int) -> None:
    async def all_finished() -> bool:
        return (await rig.row())["finished"] == count

    await eventually(all_finished)


async def assert_no_attempt_was_spent(rig: Rig, jobs: list[str]) -> None:
    for job in jobs:
        state = await rig.state(job)
        assert ("a" in state, "x" in state) == (False, False)


@pytest.fixture
def stages() -> Iterator[list[ThreadStage]]:
    made: list[ThreadStage] = []
    yield made
    for stage in made:
        stage.finish_all()


async def test_two_workers_with_one_thread_each_run_half_of_the_jobs_and_hold_one_each(
    rig: Rig, server: Server, stages: list[ThreadStage]
) -> None:
    jobs = await rig.add(8, now=0, body=THREAD)
    stages += [ThreadStage(), ThreadStage()]
    one, two = stages
    async with (
        working(server.url, one.app, threads=1) as first,
        working(server.url, two.app, threads=1, worker_id="w2") as second,
    ):
        for left in (6, 4, 2, 0):
            at_first, at_second = await one.next(within=QUICKLY), await two.next(within=QUICKLY)
            assert (begun(first), begun(second)) == ([at_first], [at_second])
            assert (await rig.row())["default"] == left
            one.finish(at_first)
            two.finish(at_second)
        await finished(rig, 8)
    assert (len(one.ran), len(two.ran)) == (4, 4)
    assert sorted(one.ran + two.ran) == sorted(jobs)


async def test_two_workers_with_one_process_each_run_half_of_the_jobs_and_hold_one_each(
    rig: Rig, server: Server
) -> None:
    """Their App has handlers of other kinds too, so a claim says what each executor has room for."""
    await rig.open_gate()
    visits: Counter[int] = Counter()
    async with Gate() as gate:
        await rig.add(8, now=0, body=f'{{"type":"gate","payload":{{"name":"{gate.path}"}}}}')
        run: dict[str, Any] = {"path": handlers.PATH, "listener": True}
        async with (
            working(server.url, handlers.app, **run) as first,
            working(server.url, handlers.app, worker_id="w2", **run) as second,
        ):
            for left in (6, 4, 2, 0):
                visitors = [await gate.visitor(), await gate.visitor()]
                visits.update(visitor.pid for visitor in visitors)
                assert (len(begun(first)), len(begun(second))) == (1, 1)
                assert (await rig.row())["finished"] == 6 - left
                for visitor in visitors:
                    visitor.let_go("done")
            await finished(rig, 8)
    assert sorted(visits.values()) == [4, 4]


async def test_a_job_of_high_priority_is_the_next_to_start(rig: Rig, server: Server, stages: list[ThreadStage]) -> None:
    low = await rig.add(10, now=0, body=THREAD, priority="low")
    stages.append(stage := ThreadStage())
    async with working(server.url, stage.app, threads=1):
        assert await stage.next() == low[0]
        (high,) = await rig.add(now=0, body=THREAD, priority="high")
        stage.finish(low[0])
        assert await stage.next() == high
        await rig.broker.queues.pause(0, "default", "the end")
        stage.finish(high)
        await finished(rig, 2)


async def test_jobs_that_have_not_begun_are_paused_purged_and_expire_like_all_that_wait(
    rig: Rig, server: Server, stages: list[ThreadStage]
) -> None:
    jobs = await rig.add(3, now=0, body=THREAD)
    expiring = await rig.add(2, now=0, body=THREAD, expires_ms=1)
    stages.append(stage := ThreadStage())
    async with working(server.url, stage.app, threads=1) as worker:
        assert await stage.next() == jobs[0]
        assert begun(worker) == [jobs[0]]
        assert [await rig.state(job) for job in (*jobs[1:], *expiring)] == [{}] * 4
        await rig.broker.queues.pause(0, "default", "no more")
        stage.finish(jobs[0])
        await finished(rig, 1)
        await until_blocked(rig.client, 1)
        row = await rig.row()
        assert (row["running"], row["default"]) == (0, 4)
        await rig.client.lrem(rig.keys.ready("default", "default"), 0, jobs[1])
        await rig.broker.queues.resume(0, "default")
        assert await stage.next() == jobs[2]
        stage.finish(jobs[2])
        await finished(rig, 4)
    assert [(await rig.state(job))["s"] for job in expiring] == ["c", "c"]
    assert stage.ran == [jobs[0], jobs[2]]


async def test_a_purge_cancels_all_that_has_not_begun(rig: Rig, server: Server, stages: list[ThreadStage]) -> None:
    jobs = await rig.add(5, now=0, body=THREAD)
    stages.append(stage := ThreadStage())
    async with working(server.url, stage.app, threads=1):
        assert await stage.next() == jobs[0]
        purged = await rig.broker.queues.purge(0, "default", queued=True, scheduled=True, limit=100)
        assert purged.cancelled == 4
        stage.finish(jobs[0])
        await finished(rig, 5)
    assert stage.ran == jobs[:1]


async def test_threads_that_do_not_return_hold_no_other_jobs(
    rig: Rig, server: Server, stage: Stage, stages: list[ThreadStage]
) -> None:
    await rig.open_gate()
    stages.append(threads := ThreadStage(app=stage.app))
    hanging = await rig.add(2, now=0, body='{"type":"thread","timeout":0.01}', max_attempts=1)
    async with working(server.url, stage.app, threads=2, concurrency=10, grace=0.01, listener=True) as worker:
        assert sorted(await threads.take(2)) == sorted(hanging)
        await eventually(lambda: _is_dead(rig, hanging))
        waiting = await rig.add(5, now=0, body=THREAD)
        quick = await rig.add(2, now=0, body=HELD)
        assert await stage.take(2) == quick
        assert begun(worker) == quick
        assert [await rig.state(job) for job in waiting] == [{}] * 5
        await eventually(lambda: _has_stuck(worker, 2))
        assert worker._execution.blocked_types() == ("thread",)
        threads.finish(hanging[0])
        assert await threads.next(within=QUICKLY) == waiting[0]
        assert begun(worker) == [*quick, waiting[0]]
        await rig.broker.queues.pause(0, "default", "the end")
        stage.finish(*quick)
        threads.finish_all()
        await finished(rig, 3)


async def _has_stuck(worker: Worker, threads: int) -> bool:
    return [thread.type for thread in worker._execution.stuck_threads()] == ["thread"] * threads


async def _is_dead(rig: Rig, jobs: list[str]) -> bool:
    return [(await rig.state(job)).get("s") for job in jobs] == ["d"] * len(jobs)


async def test_a_black_hole_leaves_the_jobs_to_another_worker(
    rig: Rig, server: Server, stages: list[ThreadStage]
) -> None:
    """All threads of one worker hang for ever, without a timeout. The other one runs everything else."""
    stages += [ThreadStage(), ThreadStage()]
    hung, sound = stages
    async with AsyncExitStack() as stack:
        worker = await stack.enter_async_context(working(server.url, hung.app, threads=2))
        stuck = await rig.add(2, now=0, body=THREAD)
        assert sorted(await hung.take(2)) == sorted(stuck)
        await stack.enter_async_context(working(server.url, sound.app, threads=1, worker_id="w2"))
        others = await rig.add(10, now=0, body=THREAD)
        for job in others:
            assert await sound.next(within=QUICKLY) == job
            sound.finish(job)
        await finished(rig, 10)
        assert sorted(begun(worker)) == sorted(stuck)
        hung.finish_all()
        await finished(rig, 12)


# --- which claim is made -----------------------------------------------------------------------------------------


async def test_a_mixed_worker_claims_without_types_while_32_jobs_of_each_kind_can_begin(
    rig: Rig, server: Server, stage: Stage, stages: list[ThreadStage]
) -> None:
    await rig.open_gate()
    stages.append(threads := ThreadStage(app=stage.app))
    scripts = FaultyScripts()
    quick = await rig.add(40, now=0, body=HELD)
    async with working(server.url, stage.app, threads=33, concurrency=200, scripts=scripts):
        assert await stage.take(40) == quick
        assert {name for name, _ in scripts.calls} <= {"claim"}
        assert {arguments[LIMIT] for arguments in scripts.arguments("claim")} == {33}
        two = await rig.add(2, now=0, body=THREAD)
        assert sorted(await threads.take(2)) == sorted(two)
        (last,) = await rig.add(now=0, body=HELD)
        assert await stage.next() == last
        typed = scripts.arguments("claim_typed")[-1]
        assert typed[-4:] == [[[31, ["thread"]]], True, {}, []]
        stage.finish(*quick, last)
        threads.finish_all()
        await finished(rig, 43)


async def test_a_worker_of_one_kind_never_names_types(rig: Rig, server: Server, stages: list[ThreadStage]) -> None:
    stages.append(stage := ThreadStage())
    scripts = FaultyScripts()
    jobs = await rig.add(5, now=0, body=THREAD)
    async with working(server.url, stage.app, threads=2, scripts=scripts):
        for _job in jobs:
            stage.finish(await stage.next())
        await finished(rig, 5)
    assert not scripts.arguments("claim_typed")
    assert max(arguments[LIMIT] for arguments in scripts.arguments("claim")) == 2
