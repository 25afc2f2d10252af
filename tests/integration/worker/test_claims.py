"""What a worker claims: as much as fits, from all its queues in turn, and nothing that another could run sooner."""

from __future__ import annotations

import asyncio

import pytest

from queuey.store import wakeups as waking
from tests.support.store import HOUR, LEASE, NOW, Rig, Server
from tests.support.working import HELD, QUICKLY, ROUND, FaultyScripts, Stage, claims, eventually, until_blocked, working

LIMIT = 4
SUSPECTS = 7
"""Places in the arguments of claim."""


@pytest.fixture(autouse=True)
def long_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "BLOCK_SECONDS", ROUND)


async def test_free_slots_are_filled_and_no_more(rig: Rig, server: Server, stage: Stage) -> None:
    jobs = await rig.add(5, now=0, body=HELD)
    async with working(server.url, stage.app, concurrency=2) as worker:
        assert await stage.take(2) == jobs[:2]
        row = await rig.row()
        assert (row["running"], row["default"]) == (2, 3)
        stage.finish(jobs[1])
        assert await stage.next() == jobs[2]
        assert list(worker.running) == [jobs[0], jobs[2]]
        row = await rig.row()
        assert (row["running"], row["default"]) == (2, 2)
        stage.finish(jobs[0], jobs[2])
        assert await stage.take(2) == jobs[3:]
        stage.finish(*jobs[3:])
        await eventually(lambda: _all_finished(rig, 5))
    assert stage.ran == jobs


async def _all_finished(rig: Rig, count: int) -> bool:
    return (await rig.row())["finished"] == count


async def test_one_job_that_has_crashed_a_process_at_a_time(rig: Rig, server: Server, stage: Stage) -> None:
    """The next claim goes out before what the last one brought has begun, and knows of it all the same."""
    suspect = await rig.crashed(body=HELD)
    (plain,) = await rig.add(now=0, body=HELD)
    scripts = FaultyScripts()
    async with working(server.url, stage.app, scripts=scripts, concurrency=2):
        assert await stage.take(2) == [suspect, plain]
        assert [arguments[LIMIT] for arguments in scripts.arguments("claim")[:2]] == [1, 1]
        assert [arguments[SUSPECTS] for arguments in scripts.arguments("claim")[:2]] == [1, 0]
        stage.finish(suspect, plain)


async def test_nothing_is_claimed_while_too_much_is_unconfirmed(rig: Rig, server: Server, stage: Stage) -> None:
    (held,) = await rig.add(now=0, body=HELD)
    await rig.add(40, now=0, body='{"type":"quick"}')
    ran = asyncio.Semaphore(0)

    @stage.app.job("quick")
    async def quick(payload: None) -> None:
        ran.release()

    scripts = FaultyScripts()
    scripts.gates["complete"] = asyncio.Event()
    async with working(server.url, stage.app, scripts=scripts, concurrency=4):
        for _ in range(2 * 4):
            await ran.acquire()
        for _ in range(20):  # as many round trips as another claim would need, and more
            await rig.row()
        limits = [arguments[LIMIT] for arguments in scripts.arguments("claim")]
        assert min(limits) >= 1
        assert len(limits) <= 8
        scripts.gates["complete"].set()
        await eventually(lambda: _all_finished(rig, 40))
        stage.finish(held)


async def test_a_claim_right_behind_an_enqueue_of_its_own(rig: Rig, server: Server, stage: Stage) -> None:
    scripts = FaultyScripts()
    async with working(server.url, stage.app, scripts=scripts, waker=False) as worker:
        await worker.may_wait.wait()
        await eventually(lambda: _claims(scripts, 1))
        later, elsewhere = rig.job(delay_ms=HOUR), rig.job(queue="other")
        worker.expect(0, [later, elsewhere])
        assert worker.may_wait.is_set(), "none of these can be claimed here now"
        (job,) = await rig.add(now=0, body=HELD)
        worker.expect(0, [later, rig.job()])
        assert await stage.next() == job
        assert len(scripts.arguments("claim")) == 2
        stage.finish(job)


async def _claims(scripts: FaultyScripts, count: int) -> bool:
    return len(scripts.arguments("claim")) == count


async def test_a_full_process_leaves_the_markers_to_others(rig: Rig, server: Server, stage: Stage) -> None:
    (first,) = await rig.add(now=0, body=HELD)
    async with working(server.url, stage.app, concurrency=1):
        assert await stage.next() == first
        other = Stage()
        async with working(server.url, other.app, worker_id="w2"):
            await until_blocked(rig.client, 1)
            (second,) = await rig.add(now=0, body=HELD)
            assert await other.next(within=QUICKLY) == second
            other.finish(second)
        stage.finish(first)


async def test_a_marker_that_comes_to_a_process_just_filled_goes_on_to_another(
    rig: Rig, server: Server, stage: Stage
) -> None:
    (first,) = await rig.add(now=0, body=HELD, delay_ms=HOUR)
    async with working(server.url, stage.app, concurrency=1) as worker:
        await until_blocked(rig.client, 1)
        await rig.client.zadd(rig.keys.scheduled("default", "default"), {first: 1})
        worker.wake(0)  # as the timer does, which fills the only slot while the process waits for a marker
        assert await stage.next(within=QUICKLY) == first
        other = Stage()
        async with working(server.url, other.app, worker_id="w2"):
            await until_blocked(rig.client, 2)
            (second,) = await rig.add(now=0, body=HELD)
            assert await other.next(within=QUICKLY) == second
            other.finish(second)
        stage.finish(first)


async def test_a_claim_whose_reply_was_lost_is_sent_again_and_its_jobs_run_once(
    rig: Rig, server: Server, stage: Stage
) -> None:
    jobs = await rig.add(3, now=0, body=HELD)
    scripts = FaultyScripts()
    scripts.replies_to_drop["claim"] = 2
    async with working(server.url, stage.app, scripts=scripts):
        assert await stage.take(3) == jobs
        assert len(set(claims(scripts)[:3])) == 1
        stage.finish(*jobs)
        await eventually(lambda: _all_finished(rig, 3))
    assert stage.ran == jobs
    assert [(await rig.state(job))["n"] for job in jobs] == ["1", "1", "1"]


async def test_each_claim_that_was_answered_is_followed_by_one_with_an_id_of_its_own(
    rig: Rig, server: Server, stage: Stage
) -> None:
    jobs = await rig.add(3, now=0, body=HELD)
    scripts = FaultyScripts()
    async with working(server.url, stage.app, scripts=scripts, concurrency=1):
        for job in jobs:
            assert await stage.next() == job
            stage.finish(job)
        await eventually(lambda: _all_finished(rig, 3))
    assert len(set(claims(scripts))) == len(claims(scripts)) >= 3


async def test_a_scheduled_job_starts_when_it_is_due_without_being_waited_for(
    rig: Rig, server: Server, stage: Stage
) -> None:
    async with working(server.url, stage.app):
        await until_blocked(rig.client, 1)
        (late,) = await rig.add(now=0, body=HELD, delay_ms=400)
        (early,) = await rig.add(now=0, body=HELD, delay_ms=150)
        assert [await stage.next(within=QUICKLY), await stage.next(within=QUICKLY)] == [early, late]
        stage.finish(early, late)
    for job in (early, late):
        state = await rig.state(job)
        definition = (await rig.stored(job)).definition
        assert int(state["b"]) >= int(definition.partition(" ")[0].removeprefix("r="))


async def test_one_job_that_has_crashed_before_runs_at_a_time(rig: Rig, server: Server, stage: Stage) -> None:
    suspects = [job for job, _ in await rig.held(2, now=NOW - LEASE, body=HELD)]
    await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW)
    await rig.broker.maintenance.promote(rig.shard, 10, now=NOW)
    fresh = await rig.add(3, now=0, body=HELD)
    scripts = FaultyScripts()
    async with working(server.url, stage.app, scripts=scripts):
        first, *others = await stage.take(4)
        assert first in suspects
        assert others == fresh
        (second,) = {*suspects} - {first}
        assert (await rig.row())["scheduled"] == 1
        stage.finish(*fresh)
        (more,) = await rig.add(now=0, body=HELD)
        assert await stage.next() == more  # others are claimed past it
        allowed = [arguments[7] for arguments in scripts.arguments("claim")]
        assert allowed[0] == 1
        assert set(allowed[1:]) == {0}
        stage.finish(first, more)
        assert await stage.next() == second
        stage.finish(second)
        await eventually(lambda: _all_finished(rig, 6))


async def test_queues_take_turns(rig: Rig, server: Server, stage: Stage) -> None:
    queue_by_job: dict[str, str] = {}
    for queue in ("a", "b", "c"):
        queue_by_job |= dict.fromkeys(await rig.add(2, now=0, body=HELD, queue=queue), queue)
    async with working(server.url, stage.app, queues=["a", "b", "c"], concurrency=1):
        order = ""
        for _ in queue_by_job:
            job = await stage.next()
            order += queue_by_job[job]
            stage.finish(job)
    assert order in ("abcabc", "bcabca", "cabcab")


@pytest.mark.parametrize("shards", [2])
async def test_queues_take_turns_on_each_shard(rig: Rig, server: Server, stage: Stage) -> None:
    """Shards take turns too. With as many queues, none may always be the first of its shard."""
    places: dict[str, tuple[int, str]] = {}
    for rig.shard in range(2):
        for queue in ("a", "b"):
            places |= dict.fromkeys(await rig.add(3, now=0, body=HELD, queue=queue), (rig.shard, queue))
    order = ["", ""]
    async with working(server.url, stage.app, shards=2, queues=["a", "b"], concurrency=1):
        for _ in places:
            job = await stage.next()
            shard, queue = places[job]
            order[shard] += queue
            stage.finish(job)
    assert set(order) <= {"ababab", "bababa"}


@pytest.mark.parametrize("shards", [4])
async def test_every_shard_gets_its_turn(rig: Rig, server: Server, stage: Stage) -> None:
    jobs = []
    for rig.shard in range(4):
        jobs += await rig.add(2, now=0, body=HELD)
    async with working(server.url, stage.app, shards=4, concurrency=1):
        order = []
        for _ in jobs:
            job = await stage.next()
            order.append(rig.broker.shards.of_job(job))
            stage.finish(job)
    assert order == [*range(4), *range(4)]


# --- what it costs -----------------------------------------------------------------------------------------------


async def test_a_full_drain_takes_less_than_a_call_per_ten_jobs(rig: Rig, server: Server, stage: Stage) -> None:
    @stage.app.job("noop")
    async def noop(payload: None) -> None:
        return None

    await rig.broker.queues.pause(0, "default", "filling")
    for _ in range(10):
        await rig.add(500, now=0, body='{"type":"noop"}')
    scripts = FaultyScripts()
    async with working(server.url, stage.app, scripts=scripts, concurrency=100):
        await until_blocked(rig.client, 1)
        await rig.broker.queues.resume(0, "default")
        await eventually(lambda: _all_finished(rig, 5000))
    assert len(scripts.calls) < 500


async def test_a_worker_waits_for_no_marker_while_it_runs_a_suspect_by_itself(
    rig: Rig, server: Server, stage: Stage
) -> None:
    """It would take the marker, get nothing and put the marker back, again and again."""
    suspect = await rig.crashed(crashes=2, body=HELD)
    await rig.open_gate()
    async with working(server.url, stage.app, concurrency=2) as worker:
        assert await stage.next() == suspect
        assert not worker.may_wait.is_set()
        (fresh,) = await rig.add(now=0, body=HELD)
        assert await rig.marked(), "others are woken for the job"
        assert not worker.may_wait.is_set()
        stage.finish(suspect)
        assert await stage.next() == fresh
        stage.finish(fresh)
        await eventually(lambda: _all_finished(rig, 2))
