"""What the figures of `make bench` are held to: the one table of targets, stretch targets and floors.

A target is what a figure must reach, a stretch target is what we would like, and below a floor `make bench CHECK=1`
fails. Rates depend on the machine and on the hour; instructions do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.report import Bound, at_least, at_most


@dataclass(frozen=True)
class Target:
    """What one figure is held to; any of the three may be missing."""

    must: Bound | None = None
    stretch: Bound | None = None
    floor: Bound | None = None


SHARE_OF_UVICORN: Final = Target(at_least(0.8), at_least(0.9))
SINGLE: Final = Target(floor=at_least(24_000))
SINGLE_P99: Final = Target(at_most(8), at_most(5), floor=at_most(8))
BATCH: Final = Target(at_least(120_000), at_least(200_000), floor=at_least(120_000))
PULL: Final = Target(at_least(20_000), at_least(80_000))
"""It must also be above bunqueue in memory, which `make bench-peers` shows."""
DRAIN: Final = Target(floor=at_least(10_000))
DRAIN_256: Final = Target(at_least(52_000), at_least(67_000), floor=at_least(52_000))

MIXED_LONG: Final = Target(at_least(0.95))
"""Jobs of 10 ms in threads and on the loop: what the threads lose by waiting for jobs."""

PICK_UP_HTTP: Final = Target(at_most(1.5), at_most(1.2), floor=at_most(1.5))
PICK_UP_HTTP_P99: Final = Target(at_most(4))
PICK_UP_POLL: Final = Target(at_most(1.9), at_most(1.6))
PICK_UP_POLL_P99: Final = Target(at_most(4))
PICK_UP_INSIDE: Final = Target(at_most(1.0))
PICK_UP_INSIDE_P99: Final = Target(at_most(2.5))
LATENESS_P99: Final = Target(at_most(20))
LONGEST_REPLY: Final = Target(stretch=at_most(50))

ENQUEUE_INSTRUCTIONS: Final = Target(at_most(14_000), floor=at_most(14_000))
CLAIM_INSTRUCTIONS: Final = Target(at_most(27_000), floor=at_most(27_000))
COMPLETE_INSTRUCTIONS: Final = Target(at_most(22_000), floor=at_most(22_000))
ALL_INSTRUCTIONS: Final = Target(at_most(63_000), at_most(58_000))

RESIDENT: Final = Target(stretch=at_most(350))
WAITING_MEMORY: Final = Target(at_most(290), floor=at_most(300))
FINISHED_MEMORY: Final = Target(at_most(600))
IDLE_COMMANDS: Final = Target(at_most(3))
IDLE_CPU: Final = Target(at_most(1))
SCHEDULES: Final = {
    "from the tick to the job p99, due over a minute": Target(at_most(2_000)),
    "fired, due over a minute": Target(at_least(10_000)),
    "fired, due at one moment": Target(at_least(10_000)),
}
STORE_CPU_100: Final = Target(at_most(25))
STORE_CPU_250: Final = Target(at_most(20))

BINARY_SIZE: Final = Target(at_most(60))
FIRST_START: Final = Target(at_most(1.5))
LATER_START: Final = Target(at_most(1))

DEEP_QUEUE: Final = Target(at_least(0.8))
TWO_PROCESSES: Final = Target(at_least(1.7))

LATEST_INSTRUCTIONS: Final = {"enqueue": 13_200, "claim": 25_600, "complete": 21_200, "claim_typed": 35_300}
"""Instructions of the store for a job, 500 a call, as measured last. The tests allow `ROOM` more.

Lower a figure when its script has become cheaper; a higher one needs a reason."""
ROOM: Final = 1.05
