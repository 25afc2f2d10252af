"""Which of the due ticks get a job, and which were missed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from queuey.protocol.models import PreviewRequest
from queuey.services.schedules.firing.catching_up import MAX_CAUGHT_UP, MAX_COUNTED, MISSED_AFTER_MS, Turn, due_ticks
from queuey.services.schedules.ticks import Ticks

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
UID = "U1"


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def turn(first: int, now: int, catch_up: Any = "last", window: int = HOUR, **spec: Any) -> Turn:
    return due_ticks(Ticks(PreviewRequest(**spec), 0), UID, first, now, catch_up, window)


RULES = ["last", "skip", "all"]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("late", [0, MISSED_AFTER_MS])
@pytest.mark.parametrize("window", [0, HOUR])
def test_one_that_is_less_than_a_minute_late_is_fired_by_any_rule(rule: str, late: int, window: int) -> None:
    assert turn(HOUR, HOUR + late, rule, window, every=3600) == Turn([HOUR], 0, HOUR, 2 * HOUR)


def test_one_that_is_later_is_missed_with_skip() -> None:
    now = HOUR + MISSED_AFTER_MS + 1
    assert turn(HOUR, now, "skip", every=3600) == Turn([], 1, HOUR, 2 * HOUR)
    assert turn(HOUR, now, "last", every=3600) == Turn([HOUR], 0, HOUR, 2 * HOUR)
    assert turn(HOUR, now, "last", 0, every=3600) == Turn([], 1, HOUR, 2 * HOUR)


def test_a_window_bounds_how_late_a_tick_is_fired() -> None:
    assert turn(DAY, DAY + HOUR, "last", every=86400).fired == [DAY]
    assert turn(DAY, DAY + HOUR + 1, "last", every=86400) == Turn([], 1, DAY, 2 * DAY)
    assert turn(DAY, DAY + HOUR + 1, "all", every=86400) == Turn([], 1, DAY, 2 * DAY)


def test_of_several_the_last_one_is_fired() -> None:
    assert turn(MINUTE, 5 * MINUTE + 1, "last", every=60) == Turn([5 * MINUTE], 4, 5 * MINUTE, 6 * MINUTE)
    assert turn(MINUTE, 5 * MINUTE + 1, "skip", every=60) == Turn([5 * MINUTE], 4, 5 * MINUTE, 6 * MINUTE)


def test_all_in_the_window_are_fired() -> None:
    expected = [minute * MINUTE for minute in range(3, 6)]
    assert turn(MINUTE, 5 * MINUTE, "all", 2 * MINUTE, every=60) == Turn(expected, 2, 5 * MINUTE, 6 * MINUTE)


@pytest.mark.parametrize("cron", ["* * * * *", "* 9-17 * * *"])
def test_all_fires_the_last_hundred(cron: str) -> None:
    """Those of the second expression go over a night."""
    ticks, first, now = Ticks(PreviewRequest(cron=cron), 0), at("2027-01-04 09:00"), at("2027-01-08 09:30")
    found = turn(first, now, "all", 30 * DAY, cron=cron)
    every = ticks.between(first - 1, now, 100_000)
    assert (found.fired, found.missed, found.last) == (every[-MAX_CAUGHT_UP:], MAX_COUNTED, now)


def test_missed_ones_are_counted_up_to_a_bound() -> None:
    found = turn(1000, 365 * DAY, "last", every=1)
    assert (found.fired, found.missed) == ([365 * DAY], MAX_COUNTED)


def test_a_schedule_may_end() -> None:
    assert turn(at("2027-01-01"), at("2027-01-01"), at=datetime(2027, 1, 1, tzinfo=UTC)).next is None


def test_a_tick_that_waits_for_its_jitter_is_not_due() -> None:
    spec: dict[str, Any] = {"every": 60, "jitter": 50}
    ticks = Ticks(PreviewRequest(**spec), 0)
    third = 3 * MINUTE
    due = ticks.due(UID, third)
    assert due > third, "the uid gives it some jitter"
    assert turn(MINUTE, due - 1, **spec) == Turn([2 * MINUTE], 1, 2 * MINUTE, third)
    assert turn(MINUTE, due, **spec) == Turn([third], 2, third, 4 * MINUTE)
    assert turn(2 * MINUTE, due - 1, **spec) == Turn([2 * MINUTE], 0, 2 * MINUTE, third)


def test_over_a_clock_that_is_put_back_no_tick_comes_twice_and_none_is_missed() -> None:
    """In Berlin, 2026-10-25 has the hour from 02:00 twice."""
    spec: dict[str, Any] = {"cron": "*/30 * * * *", "timezone": "Europe/Berlin"}
    first, now = at("2026-10-24 23:30"), at("2026-10-25 02:00")
    found = turn(first, now, "all", DAY, **spec)
    assert found.fired == list(range(first, now + 1, 30 * MINUTE))
    fixed: dict[str, Any] = {"cron": "30 2 * * *", "timezone": "Europe/Berlin"}
    found = turn(at("2026-10-24 00:30"), at("2026-10-26 01:30"), "all", 7 * DAY, **fixed)
    assert found.fired == [at("2026-10-24 00:30"), at("2026-10-25 00:30"), at("2026-10-26 01:30")]


@pytest.mark.parametrize("cron", ["*/7 * * * *", "0 9-17 * * 1-5", "* * 1 * *"])
@pytest.mark.parametrize("gap", [1, MINUTE, DAY])
def test_the_last_one_is_found_from_any_guess(cron: str, gap: int) -> None:
    ticks = Ticks(PreviewRequest(cron=cron, timezone="Europe/Berlin"), 0)
    start = at("2027-10-01")
    for hours in range(0, 24 * 45, 211):
        until = start + hours * HOUR
        assert ticks.last_from(start, until, gap) == ticks.last(start, until)
