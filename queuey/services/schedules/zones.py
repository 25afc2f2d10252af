"""Time zones: what a clock on the wall shows, and when it is put forward or back.

Instants are whole seconds since 1970 in UTC. Wall times are the same number for what the clock shows: the instant plus
the zone's offset from UTC.
"""

from __future__ import annotations

import difflib
import zoneinfo
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache
from typing import Final

from queuey.protocol.models.schedules import DAY
from queuey.protocol.schema_faults import invalid

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - of wall times
_LOCAL: Final = "localtime"
"""A name in the zone data of some systems. It means another zone on each machine."""


class Zone:
    """A time zone. Raises Invalid for a name that no zone has."""

    def __init__(self, name: str) -> None:
        if name not in _names():
            close = difflib.get_close_matches(name, sorted(_names()), n=1, cutoff=0.8)
            hint = f"did you mean {close[0]}?" if close else "give a name such as Europe/Berlin, or UTC"
            raise invalid("/timezone", f"is not a known time zone: {name!r}; {hint}")
        self.name = name
        self._zone: tzinfo = UTC if name == "UTC" else zoneinfo.ZoneInfo(name)

    def offset(self, at: int) -> int:
        """Return the seconds by which the clock is ahead of UTC."""
        return _seconds(datetime.fromtimestamp(at, self._zone).utcoffset())

    def change(self, after: int, until: int) -> int | None:
        """Return the first instant after `after`, and not after `until`, with another offset than that at `after`.

        Two changes within a day that cancel each other are not noticed. No zone has had such since 1970.
        """
        if self._zone is UTC:
            return None
        offset = self.offset(after)
        for day in range(after, until, DAY):
            end = min(day + DAY, until)
            if self.offset(end) != offset:
                return self._bisected(day, end, offset)
        return None

    def instant(self, wall: int) -> int:
        """Return the first instant at which the clock shows a time, or shows a later one since it is put forward."""
        time = (_EPOCH + timedelta(seconds=wall)).replace(tzinfo=self._zone)
        first, second = _seconds(time.utcoffset()), _seconds(time.replace(fold=1).utcoffset())
        if second <= first:
            return wall - first
        return self._bisected(wall - second, wall - first, self.offset(wall - second))

    def day(self, at: int) -> date:
        """Return the date."""
        return datetime.fromtimestamp(at, self._zone).date()

    def end_of_day(self, at: int) -> int:
        """Return an instant after `at`, before which only times of its day come: midnight, or a change of the clock.

        There may be a few of them in a day.
        """
        midnight = datetime.combine(self.day(at) + timedelta(days=1), datetime.min.time(), self._zone)
        times = (int(midnight.replace(fold=fold).timestamp()) for fold in (0, 1))
        end = min(time for time in times if time > at)
        return self.change(at, end) or end

    def _bisected(self, before: int, end: int, offset: int) -> int:
        """Return the first instant without this offset. The instant `before` has it, and `end` has another."""
        while end - before > 1:
            middle = (before + end) // 2
            if self.offset(middle) == offset:
                before = middle
            else:
                end = middle
        return end


def on_wall(wall: int) -> datetime:
    """Return a wall time as a datetime without a zone."""
    return _EPOCH + timedelta(seconds=wall)


def to_wall(time: datetime) -> int:
    """Return the wall time of a datetime without a zone."""
    return _seconds(time - _EPOCH)


@cache
def _names() -> frozenset[str]:
    """Return the names of all zones. They are read once, so a process has the zone data of its start.

    ZoneInfo itself takes names of folders, and fails with other errors for them.
    """
    return frozenset(zoneinfo.available_timezones()) - {_LOCAL}


def _seconds(span: timedelta | None) -> int:
    assert span is not None
    return span // timedelta(seconds=1)
