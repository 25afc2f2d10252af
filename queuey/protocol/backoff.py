"""When a failed job is tried again."""

from __future__ import annotations

from random import Random
from typing import Final

from queuey.protocol.models import Backoff

DEFAULT: Final = Backoff()


def delay_ms(backoff: Backoff, failed_attempts: int, rng: Random) -> int:
    """The milliseconds until the next attempt, after `failed_attempts` (1 or more) have failed.

    min(cap, base * factor ** (failed_attempts - 1)) seconds, of which the upper half is drawn by chance, so that
    jobs that failed together do not come back together.
    """
    return round(full_delay(backoff, failed_attempts) * (500 + 500 * rng.random()))


def full_delay(backoff: Backoff, failed_attempts: int) -> float:
    """The seconds before jitter: what `delay_ms` never exceeds, and never halves."""
    try:
        growth = float(backoff.factor) ** max(0, failed_attempts - 1)
    except OverflowError:
        return backoff.cap
    return min(backoff.cap, backoff.base * growth)
