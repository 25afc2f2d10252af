"""Cron expressions: what is refused, and in which words."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from queuey.errors import Fault, Invalid
from queuey.services.schedules.cron import NAMES, Cron

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - of a clock on the wall
MONDAY = datetime(2026, 11, 30, 10, 20)  # noqa: DTZ001 - the same


def next_time(text: str) -> str:
    minute = Cron(text).minute_after((MONDAY - EPOCH) // timedelta(seconds=1))
    assert minute is not None
    return f"{EPOCH + timedelta(seconds=minute):%Y-%m-%d %H:%M}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@hourly", "2026-11-30 11:00"),
        ("@daily", "2026-12-01 00:00"),
        ("@midnight", "2026-12-01 00:00"),
        ("@weekly", "2026-12-06 00:00"),
        ("@monthly", "2026-12-01 00:00"),
        ("@yearly", "2027-01-01 00:00"),
        ("@annually", "2027-01-01 00:00"),
        (" @Daily ", "2026-12-01 00:00"),
        ("0 9 * * mon-fri", "2026-12-01 09:00"),
        ("15 0 9 * * *", "2026-12-01 09:00"),
        ("0 9 13 * 5", "2026-12-04 09:00"),
        ("0 9 */13 * 5", "2027-01-01 09:00"),
        ("0 9 L * *", "2026-12-31 09:00"),
        ("0 9 * * 1#2", "2026-12-14 09:00"),
        ("0 0 29 2 *", "2028-02-29 00:00"),
    ],
)
def test_the_next_time_on_a_clock(text: str, expected: str) -> None:
    assert next_time(text) == expected


def test_the_names_are_those_that_are_tested() -> None:
    assert len(NAMES) == 7


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must have five fields"),
        ("* * * *", "not 4"),
        ("* * * * * * *", "not 7"),
        ("@reboot", "has an unknown name. Allowed: @hourly,"),
        ("@daily @daily", "has an unknown name"),
        ("60 * * * *", "has the minute '60'. Allowed: 0 to 59"),
        ("60 * * * * *", "has the second '60'. Allowed: 0 to 59"),
        ("* 24 * * *", "has the hour '24'. Allowed: 0 to 23"),
        ("* * 0 * *", "has the day of month '0'. Allowed: 1 to 31"),
        ("* * * 13 *", "has the month '13'. Allowed: 1 to 12"),
        ("* * * * 8", "has the day of week '8'. Allowed: 0 to 7"),
        ("*/0 * * * *", "has the minute '*/0'"),
        ("5-1 * * * *", "has the minute '5-1'"),
        ("1,,2 * * * *", "has the minute '1,,2'"),
        ("a b c d e", "has the minute 'a'"),
        ("0 0 30 2 *", "names days of the month that none of its months has"),
        ("0 0 31 2,4,6,9,11 *", "names days of the month that none of its months has"),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Invalid) as caught:
        Cron(text)
    (fault,) = caught.value.faults
    assert isinstance(fault, Fault)
    assert fault.pointer == "/cron"
    assert reason in fault.detail
    assert len(fault.detail) < 200


@pytest.mark.parametrize(
    ("text", "is_fixed", "is_hourly"),
    [
        ("30 2 * * *", True, False),
        ("0 0-23 * * *", True, True),
        ("*/15 2 * * *", False, False),
        ("0 */2 * * *", False, False),
        ("*/15 * * * *", False, True),
        ("10 30 2 * * *", True, False),
    ],
)
def test_fixed_times_and_rhythms(text: str, is_fixed: bool, is_hourly: bool) -> None:
    cron = Cron(text)
    assert (cron.is_fixed, cron.is_hourly) == (is_fixed, is_hourly)


def test_a_time_that_never_comes() -> None:
    assert Cron("* * */20 * 1L").minute_after(0) is None


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        ("0 0 29 2 *", datetime(2096, 2, 29), datetime(2104, 2, 29)),  # noqa: DTZ001 - of a wall clock
        ("0 0 */28 2 WED#5", datetime(2030, 12, 31), None),  # noqa: DTZ001 - the same
        ("0 0 */28 2 WED#5", datetime(2031, 1, 1), datetime(2040, 2, 29)),  # noqa: DTZ001 - the same
        ("0 0 */31 * MON#5", datetime(2026, 1, 1), None),  # noqa: DTZ001 - the same
    ],
)
def test_a_time_is_looked_for_in_nine_years(text: str, start: datetime, expected: datetime | None) -> None:
    minute = Cron(text).minute_after((start - EPOCH) // timedelta(seconds=1))
    assert (minute is not None and EPOCH + timedelta(seconds=minute)) == (expected or False)
