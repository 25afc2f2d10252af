"""Cron expressions. cronsim reads them, and finds the times that they match on a clock that is never put back.

What a time zone makes of these times is in ticks.py: in aware datetimes, cronsim leaves out times beside a change of
half an hour (docs/adr/0028-schedules.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from cronsim import CronSim, CronSimError

from queuey.errors import Invalid
from queuey.protocol.schema_faults import invalid
from queuey.services.schedules.zones import on_wall, to_wall

NAMES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS: Final = (
    ("second", "0 to 59"),
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of month", "1 to 31, L for the last day, LW for the last day from Monday to Friday"),
    ("month", "1 to 12, or JAN to DEC"),
    ("day of week", "0 to 7 with Sunday as 0 and 7, or SUN to SAT; 1#2 for the second Monday, 1L for the last"),
)
_MAX_FIELD: Final = 30
"""The maximum number of characters of a field in an error."""
_ANY_TIME: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - of a wall clock
MAX_YEARS: Final = 9
"""The years after that of its start in which a time is looked for. The 8 years of ticks.py may end in the ninth."""


class Cron:
    """A cron expression. Raises Invalid for one that is not valid.

    `seconds` are those of each minute that it matches. `is_fixed`: neither the minute nor the hour begins with `*`, so
    it stands for times of the day and not for a rhythm. `is_hourly`: it matches in every hour of its days.
    """

    def __init__(self, text: str) -> None:
        fields = _fields(text)
        parsed = _parsed(fields)
        self.seconds = tuple(sorted(parsed.seconds))
        self.is_fixed = not any(field.startswith("*") for field in fields[1:3])
        self.is_hourly = len(parsed.hours) == 24
        self._minutes = " ".join(fields[1:])

    def minute_after(self, wall: int) -> int | None:
        """Return the first minute after a wall time that it matches, or None if there is none in 9 years."""
        return next((to_wall(time) for time in _Walk(self._minutes, on_wall(wall))), None)


class _Walk(CronSim):
    """Gives up after MAX_YEARS. CronSim itself looks at each day of 50 years, for every change of a clock again."""

    def __init__(self, text: str, start: datetime) -> None:
        super().__init__(text, start)
        self._last_year = start.year + MAX_YEARS

    def advance_month(self) -> None:
        """Go on to a month that matches. CronSim calls this at least once for each month."""
        super().advance_month()
        if self.dt.year > self._last_year:
            raise StopIteration


def _fields(text: str) -> list[str]:
    """Return the six fields."""
    name = text.strip().lower()
    if name.startswith("@") and name not in NAMES:
        raise invalid("/cron", f"has an unknown name. Allowed: {', '.join(NAMES)}")
    fields = NAMES.get(name, text).split()
    if len(fields) not in (5, 6):
        raise invalid(
            "/cron",
            "must have five fields (minute, hour, day of month, month, day of week), or six with the second first, not "
            f"{len(fields)}",
        )
    return fields if len(fields) == 6 else ["0", *fields]


def _parsed(fields: Sequence[str]) -> CronSim:
    try:
        return CronSim(" ".join(fields), _ANY_TIME)
    except CronSimError:
        raise _fault(fields) from None


def _fault(fields: Sequence[str]) -> Invalid:
    """Return the error of an expression that is not valid: the first field that is wrong by itself."""
    for place, (name, allowed) in enumerate(_FIELDS):
        alone = ["*"] * len(fields)
        alone[place] = fields[place]
        try:
            CronSim(" ".join(alone), _ANY_TIME)
        except CronSimError:
            shown = fields[place][:_MAX_FIELD]
            return invalid("/cron", f"has the {name} {shown!r}. Allowed: {allowed}; lists, ranges and steps of them")
    return invalid("/cron", "names days of the month that none of its months has")
