"""Warnings about a schedule: its times that do not exist in its zone, or come twice."""

from __future__ import annotations

from typing import Final

from queuey.protocol.models.schedules import DAY
from queuey.services.schedules.ticks import MAX_CHANGES, CronTicks, Ticks
from queuey.services.schedules.zones import on_wall

MAX_WARNINGS: Final = 10
AHEAD: Final = 366 * DAY
"""The seconds ahead in which warnings look for changes of the clock."""


def clock_warnings(ticks: Ticks, now_ms: int) -> list[str]:
    """Return a sentence for each change of the clock within a year that moves, drops or repeats a tick.

    A rhythm that matches in every hour of a day, such as every 15 minutes, goes on over a change, so it has none.
    """
    source = ticks.source
    if not isinstance(source, CronTicks) or (source.cron.is_hourly and not source.cron.is_fixed):
        return []
    found: list[str] = []
    start = now_ms // 1000
    until = start + AHEAD
    for _ in range(MAX_CHANGES):
        change = source.zone.change(start, until)
        if change is None or len(found) == MAX_WARNINGS:
            break
        if (warning := _warning(source, change)) is not None and not ticks.is_excluded(change * 1000):
            found.append(warning)
        start = change
    return found


def _warning(source: CronTicks, change: int) -> str | None:
    """Return what happens to the first time between what the clock shows before and after its change."""
    before, after = change + source.zone.offset(change - 1), change + source.zone.offset(change)
    wall = source.cron.minute_after(min(before, after) - 1)
    if wall is None or wall >= max(before, after):
        return None
    time, end = on_wall(wall), on_wall(after)
    if before > after:
        when = "the first time" if source.cron.is_fixed else "both times"
        return f"{time:%Y-%m-%d} has {time:%H:%M} twice: fires {when}"
    if not source.cron.is_fixed:
        return f"{time:%Y-%m-%d} has no {time:%H:%M}: does not fire then"
    day = "" if end.date() == time.date() else f"{end:%Y-%m-%d} "
    return f"{time:%Y-%m-%d} has no {time:%H:%M}: fires {day}{end:%H:%M}"
