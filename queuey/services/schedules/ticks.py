"""The ticks of a schedule: the times at which it fires. They are milliseconds since 1970 in UTC.

The ticks of a cron expression follow the rules of Debian's cron where a clock is put forward or back:

    fixed   a time that does not exist fires when the clock is put forward, once; one that comes twice fires at the
            first
    rhythm  (the minute or the hour begins with *) fires whenever the clock shows a matching time
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final, Protocol

from queuey.errors import Fault, Invalid
from queuey.protocol.models import PreviewRequest
from queuey.protocol.models.schedules import DAY
from queuey.protocol.schema_faults import invalid
from queuey.services.jobs.submission import since_epoch_ms
from queuey.services.schedules.cron import Cron
from queuey.services.schedules.zones import Zone
from queuey.services.times import to_ms

HORIZON_YEARS: Final = 8
"""A schedule has no next tick if there is none within so many years. The 29 February of a leap year may be that far."""
HORIZON_MS: Final = HORIZON_YEARS * 366 * DAY * 1000
MAX_CHANGES: Final = 100
"""The maximum number of changes of the clock between two ticks."""
MAX_REPEATED: Final = 24 * 60
"""The maximum number of minutes that a clock is put back."""
MAX_STEPS: Final = 4
"""The maximum number of steps over an excluded day: to a change of the clock, and to each of two midnights."""
MAX_WALKED: Final = 8
"""The number of ticks that are walked to the last one, before it is searched for."""
MAX_READ: Final = 500
"""The number of zones and of expressions that are kept, since many schedules share them."""
_ONLY_ONE: Final = ("cron", "every", "at")


class Source(Protocol):
    """Ticks without exclusions."""

    def after(self, at_ms: int, until_ms: int) -> int | None:
        """Return the first tick after a time. One after `until_ms` may be returned as None."""


class CronTicks:
    """The ticks of a cron expression in a time zone."""

    def __init__(self, cron: Cron, zone: Zone) -> None:
        self.cron = cron
        self.zone = zone
        self._minute_after = self._fixed if cron.is_fixed else self._rhythmic

    def after(self, at_ms: int, until_ms: int) -> int | None:
        """Return the first tick after a time."""
        at, seconds = at_ms // 1000, self.cron.seconds
        minute = self._minute_after(at - seconds[-1], until_ms // 1000)
        return None if minute is None else next((minute + s) * 1000 for s in seconds if minute + s > at)

    def _fixed(self, at: int, until: int) -> int | None:
        wall = self.cron.minute_after(at + self.zone.offset(at))
        for _ in range(MAX_REPEATED):
            if wall is None:
                return None
            minute = self.zone.instant(wall)
            if minute > at:  # else the clock shows this time again
                return minute
            wall = self.cron.minute_after(wall)
        return None

    def _rhythmic(self, at: int, until: int) -> int | None:
        start = at + 1
        for _ in range(MAX_CHANGES):
            offset = self.zone.offset(start)
            wall = self.cron.minute_after(start + offset - 1)
            if wall is None:
                return None
            change = self.zone.change(start, min(wall - offset, until))
            if change is None:
                return wall - offset
            start = change
        return None


class EveryTicks:
    """Ticks at equal distances: multiples of `step_ms` since the anchor, without the anchor itself."""

    def __init__(self, step_ms: int, anchor_ms: int) -> None:
        self._step_ms = step_ms
        self._anchor_ms = anchor_ms

    def after(self, at_ms: int, until_ms: int) -> int | None:
        """Return the first tick after a time."""
        passed = max((at_ms - self._anchor_ms) // self._step_ms, 0)
        return self._anchor_ms + (passed + 1) * self._step_ms


class OneTick:
    """The tick of a schedule that fires once."""

    def __init__(self, tick_ms: int) -> None:
        self._tick_ms = tick_ms

    def after(self, at_ms: int, until_ms: int) -> int | None:
        """Return the tick, unless it has passed."""
        return self._tick_ms if self._tick_ms > at_ms else None


class Ticks:
    """The ticks of a schedule, without those on its excluded days.

    `anchor_ms`: the time of its creation, from which the ticks of `every` are counted. It must stay the same, so that
    all replicas have the same ticks, also after a restart. Raises Invalid.
    """

    def __init__(self, request: PreviewRequest, anchor_ms: int) -> None:
        self.zone = _zone(request.timezone)
        self.source = _source(request, self.zone, anchor_ms)
        self.excluded = frozenset(request.exclude)
        self._jitter_ms = to_ms(request.jitter)

    def after(self, at_ms: int) -> int | None:
        """Return the first tick after a time, or None if there is none within 8 years of it."""
        until_ms = at_ms + HORIZON_MS
        tick = self.source.after(at_ms, until_ms)
        for _ in range(MAX_STEPS * len(self.excluded) + 1):
            if tick is None or tick > until_ms:
                return None
            if not self.is_excluded(tick):
                return tick
            tick = self.source.after(self.zone.end_of_day(tick // 1000) * 1000 - 1, until_ms)
        return None

    def between(self, after_ms: int, until_ms: int, limit: int) -> list[int]:
        """Return the ticks after a time, up to and with another, at most `limit` of them."""
        found: list[int] = []
        tick = self.after(after_ms)
        while tick is not None and tick <= until_ms and len(found) < limit:
            found.append(tick)
            tick = self.after(tick)
        return found

    def last(self, after_ms: int, until_ms: int) -> int | None:
        """Return the last tick after a time, up to and with another. It takes about 40 steps for a year of ticks."""
        tick, low, high = None, after_ms, until_ms
        while low < high:  # the next tick after `low` may be in time, and after `high` none is
            middle = (low + high) // 2
            found = self.after(middle)
            if found is not None and found <= until_ms:
                tick = low = found
            else:
                high = middle
        return tick

    def last_from(self, after_ms: int, until_ms: int, gap_ms: int) -> int | None:
        """Return what `last` does. It takes few steps if the last two ticks are about `gap_ms` apart."""
        back_ms, low, tick = max(1, gap_ms), until_ms, None
        while low > after_ms and tick is None:
            low = max(until_ms - back_ms, after_ms)
            found = self.after(low)
            tick = found if found is not None and found <= until_ms else None
            back_ms *= 2
        if tick is None:
            return None
        for _ in range(MAX_WALKED):
            following = self.after(tick)
            if following is None or following > until_ms:
                return tick
            tick = following
        return self.last(tick, until_ms) or tick

    def due(self, uid: str, tick_ms: int) -> int:
        """Return when a tick is fired: later by its jitter, but not later than the next tick.

        The jitter is made from `uid`, the id of the schedule, and the tick, so all replicas have the same.
        """
        if not self._jitter_ms:
            return tick_ms
        following = self.after(tick_ms)
        room = self._jitter_ms if following is None else min(self._jitter_ms, following - tick_ms - 1)
        return tick_ms + int.from_bytes(hashlib.sha256(f"{uid} {tick_ms}".encode()).digest()[:8]) % (room + 1)

    def is_excluded(self, tick_ms: int) -> bool:
        """Return whether a time is on an excluded day."""
        return bool(self.excluded) and self.zone.day(tick_ms // 1000) in self.excluded


_zone: Final = lru_cache(MAX_READ)(Zone)
_cron: Final = lru_cache(MAX_READ)(Cron)


def timing(request: PreviewRequest) -> str:
    """Return which of `cron`, `every` and `at` a schedule has. Raises Invalid unless it has exactly one."""
    given = [name for name in _ONLY_ONE if getattr(request, name) is not None]
    if not given:
        raise invalid("", "needs one of cron, every and at", "The schedule")
    if len(given) > 1:
        detail = f"cannot be given together with {' and '.join(given[1:])}; keep one of them"
        raise Invalid(f"{given[0]} {detail}.", [Fault(f"/{name}", "cannot be given together") for name in given])
    return given[0]


def _source(request: PreviewRequest, zone: Zone, anchor_ms: int) -> Source:
    timing(request)
    if request.cron is not None:
        return CronTicks(_cron(request.cron), zone)
    if request.every is not None:
        return EveryTicks(to_ms(request.every), anchor_ms)
    assert request.at is not None
    return OneTick(since_epoch_ms(request.at))
