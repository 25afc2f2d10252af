"""The ticks of schedules against a walk over every minute, in zones whose clocks do odd things."""

from __future__ import annotations

import zoneinfo
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Final, NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from queuey.errors import Invalid
from queuey.protocol.models import PreviewRequest
from queuey.services.schedules.cron import Cron
from queuey.services.schedules.ticks import Ticks

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
MANY: Final = 100_000
UNSHRUNK: Final = (Phase.explicit, Phase.reuse, Phase.generate)
"""A smaller example says no more, and takes longer to find than a test may take."""

ODD_DAYS: Final = (
    ("Europe/Berlin", "2027-03-28"),
    ("Europe/Berlin", "2026-10-25"),
    ("Australia/Lord_Howe", "2026-10-04"),  # half an hour
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Pacific/Apia", "2011-12-30"),  # a day is left out
    ("Antarctica/Troll", "2026-03-29"),  # two hours
    ("Antarctica/Troll", "2026-10-25"),
    ("Africa/Casablanca", "2026-02-15"),
    ("Africa/Casablanca", "2026-03-22"),
    ("America/St_Johns", "2006-10-29"),  # a minute after midnight
    ("America/Sao_Paulo", "2018-02-18"),  # at midnight
    ("America/Sao_Paulo", "2018-11-04"),
    ("Antarctica/Casey", "2020-10-04"),  # three hours
    ("UTC", "2026-10-25"),
)


class Field(NamedTuple):
    """A field of a cron expression, and what it matches."""

    text: str
    values: frozenset[int]


def fields(high: int, most: int | None = None) -> st.SearchStrategy[Field]:
    """Fields whose values may be 0 to `high`. The numbers in them are at most `most`."""
    number = st.integers(0, high if most is None else most)
    return st.one_of(
        st.just(Field("*", frozenset(range(high + 1)))),
        st.integers(2, 30).map(lambda step: Field(f"*/{step}", frozenset(range(0, high + 1, step)))),
        st.lists(number, min_size=1, max_size=3).map(lambda some: Field(",".join(map(str, some)), frozenset(some))),
        st.tuples(number, number).map(
            lambda ends: Field(f"{min(ends)}-{max(ends)}", frozenset(range(min(ends), max(ends) + 1)))
        ),
    )


class Expression(NamedTuple):
    """A cron expression, and what it matches on a clock on the wall."""

    minute: Field
    hour: Field
    weekday: Field

    @property
    def text(self) -> str:
        return f"{self.minute.text} {self.hour.text} * * {self.weekday.text}"

    @property
    def is_fixed(self) -> bool:
        return self.minute.text[0] != "*" != self.hour.text[0]

    def matches(self, time: datetime) -> bool:
        weekday = time.isoweekday() % 7
        return time.minute in self.minute.values and time.hour in self.hour.values and weekday in self.weekday.values


DAILY: Final = Field("*", frozenset(range(7)))
expressions = st.builds(
    Expression, fields(59), st.one_of(fields(23, 3), fields(23, 3), fields(23)), st.one_of(st.just(DAILY), fields(6))
)
every_odd_day = pytest.mark.parametrize(("zone", "day"), ODD_DAYS, ids=[f"{zone} {day}" for zone, day in ODD_DAYS])


def ms(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000


def walked(expression: Expression, zone: str, start_ms: int, end_ms: int, excluded: date | None = None) -> list[int]:
    """The ticks, by a look at what the clock shows in each minute."""
    found, clock = [], zoneinfo.ZoneInfo(zone)
    shown = datetime.fromtimestamp(start_ms / 1000, clock)
    for at in range(start_ms + MINUTE, end_ms + 1, MINUTE):
        before, shown = shown, datetime.fromtimestamp(at / 1000, clock)
        wall = before.replace(tzinfo=None) + timedelta(minutes=1)
        left_out = (shown.replace(tzinfo=None) - wall) // timedelta(minutes=1)
        if expression.is_fixed:
            fires = (expression.matches(shown) and shown.fold == 0) or any(
                expression.matches(wall + timedelta(minutes=minute)) for minute in range(left_out)
            )
        else:
            fires = expression.matches(shown)
        if fires and shown.date() != excluded:
            found.append(at)
    return found


@every_odd_day
@settings(max_examples=12, deadline=None, phases=UNSHRUNK)
@given(expression=expressions, excluded=st.sampled_from([None, -1, 0]), data=st.data())
def test_ticks_are_those_of_a_walk_over_every_minute(
    zone: str, day: str, expression: Expression, excluded: int | None, data: st.DataObject
) -> None:
    """From the start, and resumed from each tick and from any other time."""
    midnight = datetime.fromisoformat(day).replace(tzinfo=zoneinfo.ZoneInfo(zone)).astimezone(UTC)
    middle_ms = int(midnight.timestamp()) * 1000
    start_ms, end_ms = middle_ms - 3 * HOUR, middle_ms + 9 * HOUR
    skipped = None if excluded is None else date.fromisoformat(day) + timedelta(days=excluded)
    request = PreviewRequest(cron=expression.text, timezone=zone, exclude=[skipped] if skipped else [])
    ticks = Ticks(request, start_ms)
    expected = walked(expression, zone, start_ms, end_ms, skipped)
    assert ticks.between(start_ms, end_ms, MANY) == expected
    times = st.integers(start_ms, end_ms)
    for at in data.draw(st.lists(st.one_of(times, st.sampled_from(expected)) if expected else times, max_size=10)):
        following = [tick for tick in expected if tick > at]
        assert ticks.between(at, end_ms, 1) == following[:1]
        assert ticks.last(start_ms, at) == max((tick for tick in expected if tick <= at), default=None)
        assert ticks.last(at, end_ms) == max(following, default=None)


zones = st.sampled_from(sorted(zoneinfo.available_timezones() - {"localtime"}))
times = st.integers(ms("1975-01-01"), ms("2045-01-01"))


@settings(max_examples=100, deadline=None, phases=UNSHRUNK)
@given(zone=zones, expression=expressions, seconds=st.one_of(st.none(), fields(59)), start_ms=times)
def test_ticks_increase_in_any_zone(zone: str, expression: Expression, seconds: Field | None, start_ms: int) -> None:
    text = f"{seconds.text} {expression.text}" if seconds else expression.text
    ticks = Ticks(PreviewRequest(cron=text, timezone=zone), start_ms)
    found = ticks.between(start_ms, start_ms + 400 * 24 * HOUR, 30)
    assert found
    assert all(earlier < later for earlier, later in pairwise([start_ms, *found]))
    assert {tick // 1000 % 60 for tick in found} <= (seconds.values if seconds else {0})


@settings(max_examples=100, deadline=None, phases=UNSHRUNK)
@given(expression=expressions, seconds=fields(59), start_ms=times)
def test_seconds_are_those_of_each_minute(expression: Expression, seconds: Field, start_ms: int) -> None:
    zone = "Europe/Berlin"
    minutes = Ticks(PreviewRequest(cron=expression.text, timezone=zone), 0)
    ticks = Ticks(PreviewRequest(cron=f"{seconds.text} {expression.text}", timezone=zone), 0)
    some = minutes.between(start_ms - MINUTE, start_ms + 400 * 24 * HOUR, 5)
    expected = [minute + second * 1000 for minute in some for second in sorted(seconds.values)]
    found = ticks.between(start_ms, expected[-1], MANY) if expected else []
    assert found == [tick for tick in expected if tick > start_ms]


@settings(max_examples=100, deadline=None, phases=UNSHRUNK)
@given(every=st.floats(1, 1_000_000), anchor_ms=times, later_ms=st.integers(-(10**9), 10**10))
def test_ticks_of_every_are_multiples_since_the_anchor(every: float, anchor_ms: int, later_ms: int) -> None:
    found = Ticks(PreviewRequest(every=every), anchor_ms).between(anchor_ms + later_ms, 10**15, 3)
    step_ms = found[1] - found[0]
    assert step_ms == found[2] - found[1] >= max(1000, every * 1000 - 1)
    assert (found[0] - anchor_ms) % step_ms == 0
    assert found[0] > max(anchor_ms, anchor_ms + later_ms)
    assert found[0] - step_ms <= max(anchor_ms, anchor_ms + later_ms)


@settings(max_examples=40, deadline=None, phases=UNSHRUNK)
@given(expression=expressions, jitter=st.floats(0, 86_400), uid=st.text(max_size=5), start_ms=times)
def test_jitter_is_the_same_on_each_replica_and_keeps_the_order(
    expression: Expression, jitter: float, uid: str, start_ms: int
) -> None:
    request = PreviewRequest(cron=expression.text, timezone="Europe/Berlin", jitter=jitter)
    one, other = Ticks(request, start_ms), Ticks(request, start_ms)
    found = one.between(start_ms, start_ms + 400 * 24 * HOUR, 6)
    for tick, following in pairwise(found):
        due = one.due(uid, tick)
        assert due == other.due(uid, tick)
        assert tick <= due <= tick + jitter * 1000 + 1
        assert due < following


@settings(max_examples=300, deadline=None, phases=UNSHRUNK)
@given(st.one_of(st.text(max_size=30), st.text("0123456789*/,-#LW @SUNMOJA\n", max_size=30)))
def test_any_text_is_a_cron_expression_or_refused(text: str) -> None:
    with suppress(Invalid):
        minute = Cron(text).minute_after(0)
        assert minute is None or minute > 0
