"""Converting durations of requests and settings into those of the store."""

from __future__ import annotations

import math


def to_ms(seconds: float) -> int:
    """Return whole milliseconds, rounded up so that nothing happens early. Less than a nanosecond is a float error."""
    return math.ceil(round(seconds * 1000, 6))
