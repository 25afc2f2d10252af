"""The service that keeps schedules, as code that declares schedules calls it."""

from __future__ import annotations

import pytest

from queuey.errors import Invalid, NotFound, UpgradeInProgress
from queuey.protocol.models import JobRequest, ScheduleRequest
from queuey.services.jobs.submission import Submission, SubmissionSettings
from queuey.services.jobs.type_queues import TypeQueues
from queuey.services.schedules.keeping import RESERVED, Schedules
from queuey.services.schedules.listing import every_schedule
from queuey.services.schedules.reading import ScheduleReader
from queuey.services.schedules.views import Pause, shown
from queuey.settings.settings import Settings
from queuey.store.deadline import Deadline
from tests.support.store import NOW, Rig
from tests.support.stores import SHARDS, one_of

shards = one_of(*SHARDS)
HOURLY = ScheduleRequest(every=3600, job=JobRequest("report", queue="reports"))
HOUR = 3_600_000


class Clock:
    """A clock in ms that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def schedules(rig: Rig, clock: Clock) -> Schedules:
    await rig.broker.replicas.register()
    settings = SubmissionSettings.of(Settings())
    return Schedules(rig.broker, Submission(settings, lambda _: None, None, TypeQueues()), clock)


def deadline() -> Deadline:
    return Deadline(10)


async def test_a_schedule_of_an_app(rig: Rig, schedules: Schedules) -> None:
    put = await schedules.put("hourly", HOURLY, deadline(), app="shop")
    assert (put.is_new, put.changed) == (True, True)
    assert shown(put.kept).app == "shop"
    async with rig.unchanged():
        again = await schedules.put("hourly", HOURLY, deadline(), app="shop")
    assert (again.is_new, again.changed) == (False, False)
    by_hand = await schedules.put("hourly", HOURLY, deadline())
    assert (by_hand.is_new, by_hand.changed) == (False, True)
    assert shown(by_hand.kept).app is None


async def test_the_ticks_of_an_interval_stay_where_they_are(schedules: Schedules, clock: Clock) -> None:
    await schedules.put("hourly", HOURLY, deadline())
    clock.now += 90 * 60_000
    kept = (await schedules.put("hourly", HOURLY, deadline(), app="shop")).kept
    assert (kept.stored.anchor_ms, kept.stored.next_ms) == (NOW, NOW + 2 * HOUR)


async def test_ticks_during_a_pause_are_left_out(schedules: Schedules, clock: Clock) -> None:
    await schedules.put("hourly", HOURLY, deadline())
    kept = await schedules.pause("hourly", Pause("holidays", "me"), deadline())
    view = shown(kept)
    assert (view.status, view.next, view.due_at) == ("paused", [], None)
    assert (view.pause_reason, view.paused_by) == ("holidays", "me")
    clock.now += 5 * HOUR
    kept = await schedules.resume("hourly", deadline())
    assert kept.stored.next_ms == NOW + 6 * HOUR
    view = shown(kept)
    assert (view.status, view.pause_reason, view.paused_at) == ("active", None, None)


async def test_a_one_off_whose_time_passes_during_a_pause_has_ended(schedules: Schedules, clock: Clock) -> None:
    at = shown((await schedules.put("hourly", HOURLY, deadline())).kept).next[0]
    await schedules.put("once", ScheduleRequest(at=at, job=HOURLY.job), deadline())
    await schedules.pause("once", Pause(), deadline())
    clock.now += 2 * HOUR
    view = shown(await schedules.resume("once", deadline()))
    assert (view.status, view.next) == ("ended", [])
    assert "no further tick" in view.detail


async def test_the_due_time_has_the_jitter(schedules: Schedules) -> None:
    late = 0
    for number in range(10):
        request = ScheduleRequest(every=3600, jitter=600, job=HOURLY.job)
        view = shown((await schedules.put(f"hourly{number}", request, deadline())).kept)
        assert view.due_at is not None
        assert 0 <= (view.due_at - view.next[0]).total_seconds() <= 600
        late += view.due_at > view.next[0]
    assert late > 5


async def test_all_schedules(schedules: Schedules) -> None:
    names = [f"n{number}" for number in range(250)]
    for name in names:
        await schedules.put(name, HOURLY, deadline(), app="shop" if name.endswith("7") else "")
    found = [kept async for kept in every_schedule(schedules, deadline())]
    assert sorted(kept.stored.name for kept in found) == sorted(names)
    assert {kept.stored.name for kept in found if kept.spec.app} == {name for name in names if name.endswith("7")}
    for kept in found:
        await schedules.delete(kept.stored.name, deadline())
    assert [kept async for kept in every_schedule(schedules, deadline())] == []
    with pytest.raises(NotFound, match="There is no schedule 'n1'"):
        await schedules.delete("n1", deadline())


@pytest.mark.parametrize("name", ["", "a b", "x" * 129, RESERVED])
async def test_names_that_no_schedule_can_have(rig: Rig, schedules: Schedules, name: str) -> None:
    async with rig.unchanged():
        with pytest.raises(Invalid, match="The name of the schedule must"):
            await schedules.put(name, HOURLY, deadline())


async def test_what_code_declares_is_checked_as_a_request_is(schedules: Schedules) -> None:
    reader = ScheduleReader(schedules.submission)
    reader.check(HOURLY, NOW)
    wrong = ScheduleRequest(cron="0 0 30 2 *", timezone="Europe", job=JobRequest("report", delay=5))
    with pytest.raises(Invalid) as caught:
        reader.check(wrong, NOW)
    assert [fault.pointer for fault in caught.value.faults] == ["/timezone", "/cron", "/job/delay"]  # type: ignore[union-attr]


async def test_while_older_servers_use_the_store(rig: Rig, schedules: Schedules) -> None:
    for keys in rig.broker.shards.keys:
        await rig.client.hset(keys.meta, "features", "aside")
    with pytest.raises(UpgradeInProgress):
        await schedules.put("hourly", HOURLY, deadline())
