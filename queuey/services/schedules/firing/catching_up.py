"""The ticks of a schedule that are due: which of them get a job, and which were missed."""

from __future__ import annotations

from typing import Final, NamedTuple

from queuey.protocol.models.schedules import CatchUp
from queuey.services.schedules.ticks import Ticks

MISSED_AFTER_MS: Final = 60_000
"""A tick that is due for a shorter time is late, and not missed, whatever the catch-up rule says."""
MAX_CAUGHT_UP: Final = 100
"""The maximum number of ticks that `catch_up: all` fires at once: the last ones."""
MAX_COUNTED: Final = 100
"""Missed ticks are counted up to this number, since each one takes up to 0.1 ms."""


class Turn(NamedTuple):
    """The due ticks of a schedule. `fired`: those that get a job, the oldest first. `last`: the last due one.

    `missed`: how many come before the first of `fired`; without any, how many there are. `next`: the tick after `last`.
    """

    fired: list[int]
    missed: int
    last: int
    next: int | None


def due_ticks(ticks: Ticks, uid: str, first_ms: int, now_ms: int, catch_up: CatchUp, window_ms: int) -> Turn:
    """Return the outcome of the due ticks. `first_ms`: the next tick of the schedule, which is due."""
    last, following = first_ms, ticks.after(first_ms)
    if following is not None and ticks.due(uid, following) <= now_ms:
        last = _last_due(ticks, uid, first_ms, following, now_ms)
        following = ticks.after(last)
    cutoff_ms = now_ms - (MISSED_AFTER_MS if catch_up == "skip" else max(MISSED_AFTER_MS, window_ms))
    if ticks.due(uid, last) < cutoff_ms:
        return Turn([], len(ticks.between(first_ms - 1, last, MAX_COUNTED)), last, following)
    fired = _last_ones(ticks, max(first_ms, cutoff_ms), last) if catch_up == "all" else [last]
    missed = len(ticks.between(first_ms - 1, fired[0] - 1, MAX_COUNTED)) if fired[0] > first_ms else 0
    return Turn(fired, missed, last, following)


def _last_due(ticks: Ticks, uid: str, first_ms: int, following_ms: int, now_ms: int) -> int:
    """Return the last tick that is due, if the one that follows the first is."""
    gap_ms = following_ms - first_ms
    last = ticks.last_from(first_ms, now_ms, gap_ms) or following_ms
    if ticks.due(uid, last) > now_ms:  # it has come, and waits for its jitter, which no earlier one does
        last = ticks.last_from(first_ms, last - 1, gap_ms) or first_ms
    return last


def _last_ones(ticks: Ticks, first_ms: int, last_ms: int) -> list[int]:
    """Return the ticks from a time on, with the last one, at most MAX_CAUGHT_UP of them."""
    found = ticks.between(first_ms - 1, last_ms, MAX_CAUGHT_UP + 1)
    if len(found) <= MAX_CAUGHT_UP:
        return found or [last_ms]
    backwards, gap_ms = [last_ms], found[1] - found[0]
    while len(backwards) < MAX_CAUGHT_UP:
        tick = ticks.last_from(first_ms - 1, backwards[-1] - 1, gap_ms)
        if tick is None:
            break
        gap_ms = backwards[-1] - tick
        backwards.append(tick)
    return backwards[::-1]
