"""Ticks where a clock is put forward or back, and where there are few or none."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from queuey.protocol.models import MAX_EXCLUDED, PreviewRequest
from queuey.services.schedules.ticks import Ticks


def next_ticks(after: str, count: int = 2, zone: str = "UTC", cron: str = "30 2 * * *", **fields: object) -> list[str]:
    """The next ticks, in UTC."""
    request = PreviewRequest(cron=cron, timezone=zone, **fields)  # type: ignore[arg-type]
    at_ms = int(datetime.fromisoformat(after).timestamp()) * 1000
    found = Ticks(request, at_ms).between(at_ms, at_ms + 10**12, count)
    start = datetime.fromisoformat("1970-01-01")
    return [f"{start + timedelta(milliseconds=tick):%Y-%m-%d %H:%M:%S}" for tick in found]


@pytest.mark.parametrize(
    ("zone", "cron", "after", "expected"),
    [
        ("Europe/Berlin", "30 2 * * *", "2027-03-27T12:00+01:00", "2027-03-28 01:00:00"),
        ("Europe/Berlin", "0,30 2 * * *", "2027-03-28T03:00+02:00", "2027-03-29 00:00:00"),
        ("Europe/Berlin", "*/30 2 * * *", "2027-03-27T12:00+01:00", "2027-03-29 00:00:00"),
        ("Europe/Berlin", "30 2 * * *", "2026-10-25T02:10+02:00", "2026-10-25 00:30:00"),
        ("Europe/Berlin", "30 2 * * *", "2026-10-25T02:10+01:00", "2026-10-26 01:30:00"),
        ("Europe/Berlin", "15 30 2 * * *", "2026-10-25T02:10+01:00", "2026-10-26 01:30:15"),
        ("Europe/Berlin", "30 * * * *", "2026-10-25T02:30+02:00", "2026-10-25 01:30:00"),
        ("Europe/Berlin", "30 2 * * *", "2026-10-25T02:30+02:00", "2026-10-26 01:30:00"),
        ("Australia/Lord_Howe", "* 3 * * *", "2026-10-04T00:30+10:30", "2026-10-03 16:00:00"),
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-04T00:30+10:30", "2026-10-03 15:30:00"),
        ("Pacific/Apia", "0 12 * * *", "2011-12-29T12:00-10:00", "2011-12-30 10:00:00"),
        ("America/Sao_Paulo", "30 23 * * *", "2018-02-17T23:40-03:00", "2018-02-19 02:30:00"),
    ],
)
def test_where_a_clock_is_put_forward_or_back(zone: str, cron: str, after: str, expected: str) -> None:
    assert next_ticks(after, 1, zone, cron) == [expected]


def test_there_is_none_within_eight_years() -> None:
    assert next_ticks("2026-01-01T00:00+00:00", cron="0 0 29 2 *") == ["2028-02-29 00:00:00", "2032-02-29 00:00:00"]
    assert next_ticks("2097-01-01T00:00+00:00", cron="0 0 29 2 *", count=1) == ["2104-02-29 00:00:00"]
    assert next_ticks("2096-02-29T00:00+00:00", cron="0 0 29 2 *", count=1) == ["2104-02-29 00:00:00"]
    leap = [date(2028, 2, 29), date(2032, 2, 29)]
    assert next_ticks("2026-01-01T00:00+00:00", cron="0 0 29 2 *", exclude=leap) == []


@pytest.mark.parametrize("cron", ["* * * * * *", "0 * * * *", "30 2 * * *"])
def test_excluded_days_are_left_in_one_step_each(monkeypatch: pytest.MonkeyPatch, cron: str) -> None:
    """Not tick by tick: a day has 86,400 seconds."""
    days = [date(2026, 1, 1) + timedelta(days=day) for day in range(MAX_EXCLUDED)]
    ticks = Ticks(PreviewRequest(cron=cron, timezone="Europe/Berlin", exclude=days), 0)
    asked = 0
    find = ticks.source.after

    def after(at_ms: int, until_ms: int) -> int | None:
        nonlocal asked
        asked += 1
        return find(at_ms, until_ms)

    monkeypatch.setattr(ticks.source, "after", after)
    found = ticks.after(int(datetime.fromisoformat("2026-01-01T00:00+01:00").timestamp()) * 1000)
    assert found is not None
    assert ticks.zone.day(found // 1000) == date(2026, 4, 11)
    assert asked <= MAX_EXCLUDED + 2


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2006, 10, 28), ["2006-10-29 02:30:00", "2006-10-29 03:30:00"]),
        (date(2006, 10, 29), ["2006-10-29 02:31:00", "2006-10-29 02:32:00"]),
    ],
)
def test_an_excluded_day_that_comes_twice(day: date, expected: list[str]) -> None:
    """At 00:01 on the 29th, the clock was put back to 23:01 on the 28th."""
    assert next_ticks("2006-10-28T23:59:30-02:30", 2, "America/St_Johns", "* * * * *", exclude=[day]) == expected
