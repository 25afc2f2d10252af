"""The backoff: the wait before a failed job is tried again."""

from __future__ import annotations

from random import Random
from typing import Final

from queuey.protocol.models import Backoff

DEFAULT: Final = Backoff()


def delay_ms(backoff: Backoff, failed_attempts: int, rng: Random) -> int:
    """Return the milliseconds until the next attempt, after `failed_attempts` (1 or more) have failed.

    The wait is min(cap, base * factor ** (failed_attempts - 1)) seconds. Its upper half is random, so that jobs that
    failed together do not run again together.
    """
    return round(full_delay(backoff, failed_attempts) * (500 + 500 * rng.random()))


def full_delay(backoff: Backoff, failed_attempts: int) -> float:
    """Return the seconds before jitter. The delay is at least half of them and at most all."""
    try:
        growth = float(backoff.factor) ** max(0, failed_attempts - 1)
    except OverflowError:
        return backoff.cap
    return min(backoff.cap, backoff.base * growth)
