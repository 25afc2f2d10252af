"""fire while the last job has not finished, and fire by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio.client import PubSub

from queuey.store.keys import cancel_channel
from tests.support.scripts.schedules import MINUTE, UID, Timetable
from tests.support.store import HOUR, NOW, Rig

SECOND_TICK, THIRD_TICK = NOW + MINUTE, NOW + 2 * MINUTE
OVERLAPS = ["skip", "queue_one", "allow", "cancel_previous"]


@pytest.fixture
async def running(plan: Timetable) -> Timetable:
    """A schedule whose first tick has a job that waits in its lane."""
    await plan.put()
    assert await plan.fire_tick() == "fired"
    return plan


@pytest.fixture
async def messages(rig: Rig) -> AsyncIterator[PubSub]:
    """Subscribed to what cancel publishes."""
    pubsub = rig.client.pubsub()
    await pubsub.subscribe(cancel_channel())
    assert (await pubsub.get_message(timeout=5))["type"] == "subscribe"
    yield pubsub
    await pubsub.aclose()


async def finish(rig: Rig, how: str = "complete") -> None:
    """End the job that has waited longest."""
    (job,) = (await rig.claim(now=THIRD_TICK)).jobs
    if how == "complete":
        await rig.broker.leases.complete(rig.shard, [(job.id, job.token, "")], now=THIRD_TICK)
    else:
        failure = (job.id, job.token, "{}", HOUR, how == "die")
        await rig.broker.leases.fail(rig.shard, [failure], now=THIRD_TICK)


async def test_skip_makes_no_job(rig: Rig, running: Timetable) -> None:
    assert await running.fire_tick(SECOND_TICK) == "skipped"
    assert await rig.waiting() == [running.id_of(NOW)]
    assert await running.outcomes() == [(NOW, "fired"), (SECOND_TICK, "skipped")]
    schedule = await running.get()
    assert (schedule.next_ms, schedule.last_tick_ms) == (THIRD_TICK, SECOND_TICK)
    assert schedule.last_job == running.id_of(NOW)


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("how", ["complete", "die"])
async def test_each_rule_fires_when_the_last_job_has_ended(
    rig: Rig, running: Timetable, overlap: str, how: str
) -> None:
    await finish(rig, how)
    assert await running.fire_tick(SECOND_TICK, overlap=overlap) == "fired"


async def test_a_job_between_two_attempts_has_not_ended(rig: Rig, running: Timetable) -> None:
    await finish(rig, "fail")
    assert await running.fire_tick(SECOND_TICK) == "skipped"


async def test_a_job_that_was_deleted_has_ended(rig: Rig, running: Timetable) -> None:
    await rig.broker.jobs.cancel(rig.shard, [running.id_of(NOW)], now=NOW)
    await rig.broker.jobs.delete(rig.shard, [running.id_of(NOW)])
    assert await running.fire_tick(SECOND_TICK) == "fired"


async def test_allow_fires_beside_it(rig: Rig, running: Timetable) -> None:
    assert await running.fire_tick(SECOND_TICK, overlap="allow") == "fired"
    assert await rig.waiting() == [running.id_of(NOW), running.id_of(SECOND_TICK)]


# --- queue_one ---------------------------------------------------------------------------------------------------


async def test_one_tick_waits_and_the_next_ones_are_skipped(running: Timetable) -> None:
    assert await running.fire_tick(SECOND_TICK, overlap="queue_one") == "pending"
    schedule = await running.get()
    assert (schedule.pending_ms, schedule.pending_kind) == (SECOND_TICK, "tick")
    assert schedule.pending_job == running.id_of(SECOND_TICK)
    assert await running.waiting_ticks() == {running.name: 0}
    assert await running.outcomes() == [(NOW, "fired")]
    assert await running.fire_tick(THIRD_TICK, overlap="queue_one") == "skipped"
    assert (await running.get()).pending_ms == SECOND_TICK
    assert await running.ticks() == {running.name: THIRD_TICK + MINUTE}


async def test_the_tick_that_waits_is_fired_once_when_the_job_has_ended(rig: Rig, running: Timetable) -> None:
    await running.fire_tick(SECOND_TICK, overlap="queue_one")
    pending = running.firing(SECOND_TICK, kind="pending", overlap="queue_one")
    async with rig.unchanged():
        assert await running.fire(pending, now=THIRD_TICK) == ["pending"]
    await finish(rig)
    async with rig.unchanged():
        other = running.firing(SECOND_TICK, kind="pending", job=running.job(THIRD_TICK))
        missing = running.firing(SECOND_TICK, kind="pending", job=None)
        assert await running.fire(other, missing, now=THIRD_TICK) == ["taken", "taken"]
    assert await running.fire(pending, pending, now=THIRD_TICK) == ["fired", "taken"]
    assert await rig.waiting() == [running.id_of(SECOND_TICK)]
    assert await running.outcomes() == [(NOW, "fired"), (SECOND_TICK, "fired")]
    schedule = await running.get()
    assert (schedule.pending_ms, schedule.pending_job, schedule.pending_kind) == (-1, "", "")
    assert (schedule.next_ms, schedule.last_job) == (THIRD_TICK, running.id_of(SECOND_TICK))
    assert await running.waiting_ticks() == {}


async def test_it_waits_on_in_a_full_store(rig: Rig, running: Timetable) -> None:
    await running.fire_tick(SECOND_TICK, overlap="queue_one")
    await finish(rig)
    pending = running.firing(SECOND_TICK, kind="pending", overlap="queue_one")
    assert await running.fire(pending, now=THIRD_TICK, full=True) == ["full"]
    assert await running.waiting_ticks() == {running.name: 0}
    assert await running.fire(pending, now=THIRD_TICK) == ["fired"]
    assert await running.outcomes() == [(NOW, "fired"), (SECOND_TICK, "full"), (SECOND_TICK, "fired")]


async def test_behind_it_the_next_tick_waits_in_the_same_call(rig: Rig, running: Timetable) -> None:
    await running.fire_tick(SECOND_TICK, overlap="queue_one")
    await finish(rig)
    items = [
        running.firing(SECOND_TICK, kind="pending", overlap="queue_one"),
        running.firing(THIRD_TICK, overlap="queue_one"),
    ]
    assert await running.fire(*items, now=THIRD_TICK) == ["fired", "pending"]
    assert await running.waiting_ticks() == {running.name: 0}


# --- cancel_previous -----------------------------------------------------------------------------------------------


async def test_a_waiting_job_is_cancelled(rig: Rig, running: Timetable, messages: PubSub) -> None:
    firing = running.firing(SECOND_TICK, overlap="cancel_previous")
    fired = await rig.broker.schedules.fire(rig.shard, [firing], now=SECOND_TICK)
    assert (fired.answers, fired.cancelled) == (["fired"], [running.id_of(NOW)])
    assert (await rig.state(running.id_of(NOW)))["s"] == "c"
    (job,) = (await rig.claim(5, now=SECOND_TICK)).jobs
    assert job.id == running.id_of(SECOND_TICK)


async def test_a_running_job_is_flagged_and_its_worker_is_notified(
    rig: Rig, running: Timetable, messages: PubSub
) -> None:
    (job,) = (await rig.claim()).jobs
    firing = running.firing(SECOND_TICK, overlap="cancel_previous")
    fired = await rig.broker.schedules.fire(rig.shard, [firing], now=SECOND_TICK)
    assert (fired.answers, fired.cancelled) == (["fired"], [])
    assert (await rig.state(job.id))["z"] == "1"
    assert (await messages.get_message(timeout=5))["data"].decode() == job.id


@pytest.mark.parametrize("full", [True, False])
async def test_it_is_cancelled_only_if_another_takes_its_place(rig: Rig, running: Timetable, full: bool) -> None:
    jobs = [rig.job(queue=f"q{number}") for number in range(255)]
    await rig.broker.jobs.enqueue(rig.shard, jobs, now=NOW)
    job = running.job(SECOND_TICK, queue="default" if full else "one-more")
    firing = running.firing(SECOND_TICK, overlap="cancel_previous", job=job)
    answer = "full" if full else "too_many_queues"
    assert await running.fire(firing, now=SECOND_TICK, full=full) == [answer]
    assert await rig.state(running.id_of(NOW)) == {}


async def test_a_job_of_the_same_call_is_not_cancelled(running: Timetable) -> None:
    items = [running.firing(tick, overlap="cancel_previous") for tick in (SECOND_TICK, THIRD_TICK)]
    assert await running.fire(*items, now=THIRD_TICK) == ["fired", "taken"]
    assert await running.fire(items[1], now=THIRD_TICK) == ["fired"]


# --- by hand -----------------------------------------------------------------------------------------------------


async def test_a_trigger_makes_one_job_more_and_leaves_the_next_tick(rig: Rig, plan: Timetable) -> None:
    await plan.put(next=NOW + HOUR)
    job = rig.job()
    trigger = plan.firing(kind="trigger", job=job)
    assert await plan.fire(trigger) == ["fired"]
    async with rig.unchanged():
        assert await plan.fire(trigger, now=NOW + 1) == ["there"]
    (run,) = await plan.history()
    assert (run.tick_ms, run.kind, run.outcome, run.job_id) == (NOW, "trigger", "fired", job.id)
    schedule = await plan.get()
    assert (schedule.next_ms, schedule.last_tick_ms, schedule.last_job) == (NOW + HOUR, -1, job.id)


async def test_a_trigger_works_while_it_is_paused(plan: Timetable) -> None:
    await plan.put()
    await plan.pause()
    assert await plan.fire(plan.firing(kind="trigger", job=plan.rig.job())) == ["fired"]
    assert (await plan.ticks(), (await plan.get()).next_ms) == ({}, NOW)


async def test_a_trigger_that_is_skipped_leaves_no_line(rig: Rig, running: Timetable) -> None:
    async with rig.unchanged():
        assert await running.fire(running.firing(kind="trigger", job=rig.job())) == ["skipped"]


async def test_a_trigger_may_wait_for_the_last_job(rig: Rig, running: Timetable) -> None:
    job = rig.job()
    trigger = running.firing(kind="trigger", job=job, overlap="queue_one")
    assert await running.fire(trigger) == ["pending"]
    async with rig.unchanged():
        assert await running.fire(trigger) == ["pending"]
        other = running.firing(kind="trigger", job=rig.job(), overlap="queue_one")
        assert await running.fire(other) == ["skipped"]
    await finish(rig)
    assert await running.fire(running.firing(kind="pending", job=job)) == ["fired"]
    assert [(run.kind, run.job_id) for run in await running.history()] == [
        ("tick", running.id_of(NOW)),
        ("trigger", job.id),
    ]
    assert await running.fire(trigger) == ["there"]
    await rig.broker.jobs.cancel(rig.shard, [job.id], now=NOW)
    await rig.broker.jobs.delete(rig.shard, [job.id])
    assert await running.fire(trigger) == ["there"], "the history has it"


async def test_while_it_is_paused_no_trigger_waits(running: Timetable) -> None:
    await running.pause()
    trigger = running.firing(kind="trigger", job=running.rig.job(), overlap="queue_one")
    assert await running.fire(trigger) == ["skipped"]


async def test_a_backfill_makes_no_tick_twice(rig: Rig, running: Timetable) -> None:
    ticks = [NOW - HOUR, NOW - MINUTE, NOW]
    items = [running.firing(tick, kind="backfill", overlap="allow") for tick in ticks]
    assert await running.fire(*items) == ["fired", "fired", "there"]
    async with rig.unchanged():
        assert await running.fire(*items) == ["there"] * 3
    assert (await running.get()).next_ms == SECOND_TICK
    for tick in ticks:
        await rig.broker.jobs.cancel(rig.shard, [running.id_of(tick)], now=NOW)
        await rig.broker.jobs.delete(rig.shard, [running.id_of(tick)])
    async with rig.unchanged():
        assert await running.fire(*items) == ["there"] * 3, "the history has them"
    await rig.client.delete(rig.keys.runs(running.name))
    assert await running.fire(*items) == ["fired"] * 3, "neither the jobs nor the history are there"


async def test_a_tick_that_was_skipped_or_missed_can_be_filled_in(running: Timetable) -> None:
    assert await running.fire_tick(SECOND_TICK) == "skipped"
    item = running.firing(SECOND_TICK, kind="backfill", overlap="allow")
    assert await running.fire(item, now=SECOND_TICK) == ["fired"]
    assert await running.fire(running.firing(NOW + HOUR, kind="backfill")) == ["early"]


async def test_a_tick_that_waits_may_be_filled_in(rig: Rig, running: Timetable) -> None:
    await running.fire_tick(SECOND_TICK, overlap="queue_one")
    item = running.firing(SECOND_TICK, kind="backfill", overlap="allow")
    assert await running.fire(item, now=SECOND_TICK) == ["fired"]
    assert await running.fire(running.firing(SECOND_TICK, kind="pending"), now=SECOND_TICK) == ["there"]
    assert await running.waiting_ticks() == {}
    assert await rig.waiting() == [running.id_of(NOW), running.id_of(SECOND_TICK)]


@pytest.mark.parametrize("kind", ["trigger", "backfill"])
async def test_by_hand_it_must_be_the_same_version(rig: Rig, running: Timetable, kind: str) -> None:
    item = running.firing(NOW - HOUR, overlap="allow", mark=f"{UID}.7")
    item.kind = kind  # type: ignore[assignment] # a parameter is any text
    async with rig.unchanged():
        assert await running.fire(item) == ["conflict"]


async def test_in_a_full_store_nothing_is_noted_of_a_trigger(rig: Rig, plan: Timetable) -> None:
    await plan.put()
    async with rig.unchanged():
        assert await plan.fire(plan.firing(kind="trigger", job=rig.job()), full=True) == ["full"]
