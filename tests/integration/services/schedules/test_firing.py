"""The loop that fires schedules: what it does with due ticks, alone and beside others."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import msgspec
import pytest
import structlog

from queuey.protocol import ids
from queuey.protocol.stored.schedules import RUNS_KEPT
from queuey.services.schedules.firing import firer as firing
from queuey.services.schedules.firing.firer import PAGE
from queuey.services.schedules.specs import SCHEDULE
from tests.integration.services.schedules.conftest import MINUTE, Plans, Replica, uid_of
from tests.support.store import HOUR, NOW, SECOND, Rig
from tests.support.stores import KINDS, SHARDS, one_of

kind = one_of(*KINDS)
shards = one_of(*SHARDS)
FIRST = NOW + MINUTE


async def test_a_tick_is_fired_when_it_is_due(rig: Rig, plans: Plans, replica: Replica) -> None:
    await plans.make(every=60)
    await replica.look(FIRST - 1)
    assert (await plans.runs(), replica.counts()) == ([], {})
    await replica.look(FIRST)
    assert await plans.runs() == [(FIRST, "fired", 1)]
    assert await plans.ticks() == {plans.name: FIRST + MINUTE}
    (job_id,) = await rig.waiting()
    assert job_id == ids.of_tick(plans.name, uid_of(plans.name), FIRST)
    (stored,) = await rig.broker.jobs.get(rig.shard, [job_id])
    body = json.loads(stored.definition.split("\n", 1)[1])
    assert (body["type"], body["payload"], body["metadata"][SCHEDULE]) == ("report", 1, plans.name)
    await replica.look(FIRST)
    assert await rig.waiting() == [job_id]
    assert replica.counts() == {"fired": 1}
    assert replica.metrics.enqueued.cell(("default",)) == [1]
    assert replica.metrics.schedule_lag.series(())[:2] == [1, 0]


async def test_it_sleeps_until_the_tick_that_it_has_set(plans: Plans, replica: Replica) -> None:
    await plans.make(every=60)
    await replica.look(FIRST + 1000)
    in_seconds = replica._wake_at - asyncio.get_running_loop().time()
    assert 50 < in_seconds <= 59


async def test_one_that_ends_is_fired_once(plans: Plans, replica: Replica) -> None:
    await plans.make(at="2027-01-15T09:00:00Z")
    tick = (await plans.get()).next_ms
    await replica.look(tick)
    assert await plans.runs() == [(tick, "fired", 1)]
    assert ((await plans.get()).next_ms, await plans.ticks()) == (-1, {})


async def test_a_tick_with_jitter_is_fired_at_its_due_time(plans: Plans, replica: Replica) -> None:
    ticks = await plans.make(every=60, jitter=50)
    due = ticks.due(uid_of(plans.name), FIRST)
    await replica.look(due - 1)
    assert await plans.runs() == []
    await replica.look(due)
    assert await plans.runs() == [(FIRST, "fired", 1)]
    assert (await plans.get()).due_ms == ticks.due(uid_of(plans.name), FIRST + MINUTE)


async def test_a_replaced_interval_goes_on_from_its_anchor(plans: Plans, replica: Replica) -> None:
    await plans.make(every=60)
    await replica.look(FIRST)
    await plans.make(every=60, job={"type": "other"}, created=NOW)
    assert (await plans.get()).next_ms == FIRST
    await replica.look(FIRST + MINUTE)
    assert [(tick, outcome) for tick, outcome, _ in await plans.runs()][-1] == (FIRST + MINUTE, "skipped")


# --- several replicas --------------------------------------------------------------------------------------------


async def many(plans: Plans, count: int, **spec: Any) -> list[str]:
    names: list[str] = []
    number = 0
    while len(names) < count:
        name = f"n{number}"
        number += 1
        if plans.broker.shards.of_schedule(name) == plans.shard:
            names.append(name)
            await plans.make(name, **spec)
    return names


async def test_two_replicas_fire_more_than_a_page_and_none_twice(rig: Rig, plans: Plans) -> None:
    names = await many(plans, PAGE + 107, every=60)
    replicas = [Replica(rig), Replica(rig)]
    for now in (FIRST, FIRST + MINUTE):
        await asyncio.gather(*(each.look(now) for each in replicas))
        for _ in range(4):  # each takes 200 at most
            held = [(job.id, job.token, "") for job in (await rig.claim(200)).jobs]
            await rig.broker.leases.complete(rig.shard, held, now=NOW)
    expected = {ids.of_tick(name, uid_of(name), tick) for name in names for tick in (FIRST, FIRST + MINUTE)}
    history = [run for name in names for run in await plans.history(name)]
    assert Counter(run.job_id for run in history) == Counter(expected)
    assert sum(sum(each.counts().values()) for each in replicas) == len(expected)
    assert all(each.counts().keys() <= {"fired"} for each in replicas)
    assert set((await plans.ticks()).values()) == {FIRST + 2 * MINUTE}


async def test_one_that_comes_too_late_looks_later_than_the_other(rig: Rig, plans: Plans) -> None:
    await plans.make(every=60)
    first, second = Replica(rig), Replica(rig)
    await first.look(FIRST)
    await second.look(FIRST)
    assert (first._behind, second._behind >= firing.BEHIND[0]) == (0.0, True)


async def test_one_that_finds_pages_of_others_goes_on_behind_them(
    rig: Rig, plans: Plans, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All the same, it leaves none."""
    monkeypatch.setattr(firing, "PAGE", 10)
    names = await many(plans, 95, every=60)
    other, skips, taken = Replica(rig), list[int](), list[str]()
    read = rig.broker.schedules.due_schedules

    async def due_schedules(*arguments: Any, skip: int, **options: Any) -> Any:
        """Another replica fires what it reads, until it has read three pages."""
        found = await read(*arguments, skip=skip, **options)
        skips.append(skip)
        if len(skips) <= 3:
            firings = [d.firing for each in found.due for d in other._decider.on_tick(each, found.now_ms)]
            taken.extend((await rig.broker.schedules.fire(rig.shard, firings, now=FIRST)).answers)
        return found

    monkeypatch.setattr(rig.broker.schedules, "due_schedules", due_schedules)
    await replica.look(FIRST)
    assert max(skips) >= 10, "it went on behind those that the other has"
    assert len(await rig.waiting()) == len(names)
    assert (replica.counts()["fired"], set(taken)) == (len(names) - len(taken), {"fired"})


# --- catching up -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("last", [(FIRST, "missed", 9), (FIRST + 9 * MINUTE, "fired", 1)]),
        ("skip", [(FIRST, "missed", 9), (FIRST + 9 * MINUTE, "fired", 1)]),
        ("all", [(FIRST + n * MINUTE, "fired", 1) for n in range(10)]),
    ],
)
async def test_after_a_pause_of_all_replicas(plans: Plans, replica: Replica, rule: str, expected: Any) -> None:
    await plans.make(every=60, catch_up=rule, overlap="allow")
    await replica.look(FIRST + 9 * MINUTE)
    assert await plans.runs() == expected
    assert await plans.ticks() == {plans.name: FIRST + 10 * MINUTE}
    await replica.look(FIRST + 10 * MINUTE)
    assert (await plans.runs())[-1] == (FIRST + 10 * MINUTE, "fired", 1)


@pytest.mark.parametrize(
    ("rule", "window", "outcome"), [("skip", 7200, "missed"), ("last", 60, "missed"), ("last", 7200, "fired")]
)
async def test_a_tick_that_is_missed_gets_no_job(
    rig: Rig, plans: Plans, replica: Replica, rule: str, window: int, outcome: str
) -> None:
    await plans.make(every=86400, catch_up=rule, catch_up_window=window)
    tick = NOW + 24 * HOUR
    await replica.look(tick + HOUR)
    assert await plans.runs() == [(tick, outcome, 1)]
    assert len(await rig.waiting()) == (outcome == "fired")
    assert replica.counts() == {outcome: 1}


async def test_those_before_the_window_are_missed_once(plans: Plans, replica: Replica) -> None:
    await plans.make(every=60, catch_up="all", catch_up_window=120, overlap="allow")
    await replica.look(FIRST + 5 * MINUTE)
    fired = [(FIRST + number * MINUTE, "fired", 1) for number in (3, 4, 5)]
    assert await plans.runs() == [(FIRST, "missed", 3), *fired]
    assert replica.counts() == {"missed": 3, "fired": 3}


async def test_all_goes_on_with_overlap(plans: Plans, replica: Replica) -> None:
    await plans.make(every=60, catch_up="all", overlap="queue_one")
    await replica.look(FIRST + 2 * MINUTE)
    assert await plans.runs() == [(FIRST, "fired", 1), (FIRST + 2 * MINUTE, "skipped", 1)]
    assert (await plans.get()).pending_ms == FIRST + MINUTE


async def test_a_clock_that_is_put_back_fires_each_time_of_a_rhythm(rig: Rig, plans: Plans, replica: Replica) -> None:
    """In Berlin, 2027-10-31 has the hour from 02:00 twice. The replica looks every ten minutes."""
    night = 1_824_937_200_000  # 2027-10-30T23:00:00Z
    await plans.make("", created=night, cron="*/30 2 * * *", timezone="Europe/Berlin", overlap="allow")
    for now in range(night, night + 4 * HOUR, 10 * MINUTE):
        await replica.look(now)
    assert [tick for tick, _, _ in await plans.runs()] == [night + n * 30 * MINUTE for n in (2, 3, 4, 5)]


# --- the last job ------------------------------------------------------------------------------------------------


async def test_a_tick_that_waits_is_fired_when_the_last_job_has_ended(rig: Rig, plans: Plans, replica: Replica) -> None:
    await plans.make(every=60, overlap="queue_one")
    await replica.look(FIRST)
    await replica.look(FIRST + MINUTE)
    assert replica.counts() == {"fired": 1, "pending": 1}
    await replica.look(FIRST + MINUTE + 1)
    (job,) = (await rig.claim()).jobs
    await rig.broker.leases.complete(rig.shard, [(job.id, job.token, "")], now=NOW)
    await replica.look(FIRST + MINUTE + 2)
    assert [run.kind for run in await plans.history()] == ["tick", "tick"]
    assert await plans.runs() == [(FIRST, "fired", 1), (FIRST + MINUTE, "fired", 1)]
    assert await plans.waiting_ticks() == {}


async def test_more_than_a_page_of_ticks_wait(rig: Rig, plans: Plans, replica: Replica) -> None:
    names = await many(plans, PAGE + 5, every=60, overlap="queue_one")
    await replica.look(FIRST)
    await replica.look(FIRST + MINUTE)
    jobs = [ids.of_tick(name, uid_of(name), FIRST) for name in names]
    await rig.broker.jobs.cancel(rig.shard, jobs, now=NOW)
    await replica.look(FIRST + MINUTE + 1)
    assert replica.counts() == {"fired": 2 * len(names), "pending": len(names)}


# --- what goes wrong ---------------------------------------------------------------------------------------------


async def test_in_a_full_store_the_tick_waits_and_the_others_are_looked_at(plans: Plans, replica: Replica) -> None:
    names = await many(plans, PAGE + 3, every=60)
    replica.full = True
    await replica.look(FIRST)
    assert {tuple(await plans.runs(name)) for name in names} == {((FIRST, "full", 1),)}
    assert replica.late == pytest.approx(0, abs=5)
    await replica.look(FIRST + 2 * MINUTE + 1)
    assert replica.late >= 120
    replica.full = False
    await replica.look(FIRST + 2 * MINUTE + 2)
    third = FIRST + 2 * MINUTE
    assert {tuple(await plans.runs(name)) for name in names} == {
        ((FIRST, "full", 1), (third, "full", 1), (FIRST, "missed", 2), (third, "fired", 1))
    }
    assert replica.late == 0


async def test_what_cannot_be_read_hides_nothing_and_is_paused_in_the_end(plans: Plans, replica: Replica) -> None:
    names = [plans.named(f"bad{number}") for number in range(2)]
    for name in names:
        await plans.put(name, spec='{"cron":7}', next=FIRST - 1)
    await plans.make(every=60)
    await replica.look(FIRST)
    assert await plans.runs() == [(FIRST, "fired", 1)]
    assert [(await plans.get(name)).pause for name in names] == ["", ""]
    await replica.look(FIRST - 1 + firing.PAUSE_AFTER_MS - 1)
    assert [(await plans.get(name)).pause for name in names] == ["", ""]
    await replica.look(FIRST - 1 + firing.PAUSE_AFTER_MS)
    for name in names:
        assert "could not read it" in json.loads((await plans.get(name)).pause)["reason"]
    assert await plans.ticks() == {plans.name: (await plans.get()).next_ms}
    assert replica.metrics.schedules_unreadable.cell(())[0] == 2, "each counts once"


async def test_a_page_of_what_cannot_be_read_does_not_hide_the_next_page(
    plans: Plans, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firing, "PAGE", 3)
    for number in range(7):
        await plans.put(plans.named(f"bad{number}"), spec="{}", next=FIRST - 1)
    await plans.make(every=60)
    await replica.look(FIRST)
    assert await plans.runs() == [(FIRST, "fired", 1)]


@pytest.mark.parametrize(
    "spec", ['{"every":60}', '{"every":60,"timezone":"Nowhere/Town","job":{"type":"x"}}', "", "[]"]
)
async def test_specs_that_cannot_be_read(plans: Plans, replica: Replica, spec: str) -> None:
    await plans.put(spec=spec, next=FIRST)
    await replica.look(FIRST + firing.PAUSE_AFTER_MS)
    assert (await plans.get()).pause


async def test_a_fault_that_nobody_foresaw_does_not_end_the_loop(
    plans: Plans, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_tick, broken = replica._decider.on_tick, plans.named("broken")

    def failing(schedule: Any, now_ms: int) -> Any:
        if schedule.name == broken:
            raise OverflowError("year 10000 is out of range")
        return on_tick(schedule, now_ms)

    monkeypatch.setattr(replica._decider, "on_tick", failing)
    await plans.make(broken, every=60)
    await plans.make(every=60)
    await replica.look(FIRST)
    assert (await plans.runs(), await plans.runs(broken)) == ([(FIRST, "fired", 1)], [])
    await replica.look(FIRST + firing.PAUSE_AFTER_MS)
    assert (await plans.get(broken)).pause


def only_texts(payload: bytes) -> object:
    return msgspec.json.decode(payload, type=str)


async def test_a_job_that_no_longer_fits_is_left_to_others_and_then_refused(rig: Rig, plans: Plans) -> None:
    old, new = Replica(rig, only_texts), Replica(rig)
    await plans.make(every=86400)
    tick = NOW + 24 * HOUR
    await old.look(tick)
    assert await plans.runs() == []
    await new.look(tick + 1)
    assert await plans.runs() == [(tick, "fired", 1)]
    tick += 24 * HOUR
    await old.look(tick)
    await old.look(tick + firing.REFUSE_AFTER_MS)
    assert await plans.runs() == [(tick - 24 * HOUR, "fired", 1), (tick, "refused", 1)]
    assert (old.counts(), await plans.ticks()) == ({"refused": 1}, {plans.name: tick + 24 * HOUR})


async def test_that_a_job_no_longer_fits_is_logged_once_until_the_schedule_changes(rig: Rig, plans: Plans) -> None:
    replica = Replica(rig, only_texts)
    await plans.make(every=86400)
    with structlog.testing.capture_logs() as logged:
        for hours, ms in ((24, 0), (24, firing.REFUSE_AFTER_MS), (48, 0), (48, firing.REFUSE_AFTER_MS)):
            await replica.look(NOW + hours * HOUR + ms)
    assert replica.counts() == {"refused": 2}
    assert [(line["event"], line["schedule"]) for line in logged] == [("schedule_refused", plans.name)]


async def test_with_too_many_queues_the_tick_is_over(rig: Rig, plans: Plans, replica: Replica) -> None:
    await rig.broker.jobs.enqueue(rig.shard, [rig.job(queue=f"q{number}") for number in range(256)], now=NOW)
    await plans.make(every=60, job={"type": "x", "queue": "one-more"})
    await replica.look(FIRST)
    assert (await plans.runs(), replica.counts()) == ([(FIRST, "too_many_queues", 1)], {"too_many_queues": 1})


async def test_a_paused_one_is_not_fired(plans: Plans, replica: Replica) -> None:
    await plans.make(every=60)
    await plans.pause()
    await replica.look(FIRST + HOUR)
    assert (await plans.runs(), replica.counts()) == ([], {})


async def test_it_is_paused_or_replaced_just_before_it_fires(
    rig: Rig, plans: Plans, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    await plans.make(every=60)
    fire = rig.broker.schedules.fire

    async def too_late(*arguments: Any, **options: Any) -> Any:
        monkeypatch.undo()
        await plans.make(every=120)
        return await fire(*arguments, **options)

    monkeypatch.setattr(rig.broker.schedules, "fire", too_late)
    await replica.look(FIRST)
    assert (await plans.runs(), replica.counts()) == ([], {})


# --- a clock that jumps ------------------------------------------------------------------------------------------


async def test_a_clock_that_jumps_fires_no_tick_twice(rig: Rig, plans: Plans, replica: Replica) -> None:
    await plans.make(every=60, overlap="allow", catch_up="all")
    for now in (FIRST, FIRST + 5 * MINUTE, FIRST + MINUTE, FIRST, FIRST + 4 * MINUTE, FIRST + 5 * MINUTE):
        await replica.look(now)
    assert [tick for tick, _, _ in await plans.runs()] == [FIRST + n * MINUTE for n in range(6)]
    await replica.look(FIRST + 6 * MINUTE)
    assert len(await rig.waiting()) == 7
    assert len(set(await rig.waiting())) == 7


async def test_a_clock_that_is_set_back_between_reading_and_firing(
    rig: Rig, plans: Plans, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    await plans.make(every=60)
    fire = rig.broker.schedules.fire

    async def earlier(*arguments: Any, now: int, **options: Any) -> Any:
        return await fire(*arguments, now=now - 10 * SECOND, **options)

    with monkeypatch.context() as patch:
        patch.setattr(rig.broker.schedules, "fire", earlier)
        await replica.look(FIRST)
    assert await plans.runs() == []
    assert replica._wake_at - asyncio.get_running_loop().time() <= firing.RETRY_SECONDS
    await replica.look(FIRST)
    assert await plans.runs() == [(FIRST, "fired", 1)]


async def test_the_history_stays_short(plans: Plans, replica: Replica) -> None:
    await plans.make(every=60, overlap="allow")
    for number in range(70):
        await replica.look(FIRST + number * MINUTE)
    assert len(await plans.history()) == RUNS_KEPT
