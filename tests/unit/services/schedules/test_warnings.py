"""What a preview warns about."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from queuey.protocol.models import PreviewRequest
from queuey.services.schedules.ticks import Ticks
from queuey.services.schedules.warnings import clock_warnings

NOW = "2026-11-30T00:00:00+00:00"


def warnings(cron: str, zone: str, *excluded: str, now: str = NOW) -> list[str]:
    days = [date.fromisoformat(day) for day in excluded]
    now_ms = int(datetime.fromisoformat(now).timestamp()) * 1000
    return clock_warnings(Ticks(PreviewRequest(cron=cron, timezone=zone, exclude=days), now_ms), now_ms)


MOVED = "2027-03-28 has no 02:30: fires 03:00"
TWICE = "2027-10-31 has 02:30 twice: fires the first time"


def test_a_time_that_does_not_exist_and_one_that_comes_twice() -> None:
    assert warnings("30 2 * * *", "Europe/Berlin") == [MOVED, TWICE]
    assert warnings("15 30 2 * * *", "Europe/Berlin") == [MOVED, TWICE]


@pytest.mark.parametrize("cron", ["*/15 * * * *", "0 * * * *", "30 4 * * *", "30 2 * 6 *", "30 2 * * 1-5"])
def test_nothing_where_no_change_meets_a_tick(cron: str) -> None:
    assert warnings(cron, "Europe/Berlin") == []


def test_a_rhythm_of_some_hours() -> None:
    assert warnings("*/15 2 * * *", "Europe/Berlin") == [
        "2027-03-28 has no 02:00: does not fire then",
        "2027-10-31 has 02:00 twice: fires both times",
    ]


def test_an_excluded_day_has_none() -> None:
    assert warnings("30 2 * * *", "Europe/Berlin", "2027-03-28") == [TWICE]


def test_a_day_that_is_left_out() -> None:
    now = "2011-12-01T00:00:00+00:00"
    assert "2011-12-30 has no 12:00: fires 2011-12-31 00:00" in warnings("0 12 * * *", "Pacific/Apia", now=now)


def test_other_schedules_have_none() -> None:
    ticks = Ticks(PreviewRequest(every=3600, timezone="Europe/Berlin"), 0)
    assert clock_warnings(ticks, 0) == []
    assert warnings("30 2 * * *", "UTC") == []
