"""Figures from the records of finished jobs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

FINISHED = frozenset({"succeeded", "dead_letter", "cancelled"})


@dataclass(frozen=True)
class Spread:
    """The median, the 95th percentile and the maximum, in seconds."""

    p50: float
    p95: float
    longest: float


@dataclass(frozen=True)
class Figures:
    statuses: Counter[str]
    seconds: float  # from the first job's creation to the last one's end
    jobs_per_second: float
    wait: Spread  # from a job's creation to its handler's start
    run: Spread  # by the handler's own clock
    retries: int
    crashes: int


def summarise(records: Sequence[dict[str, Any]]) -> Figures:
    """`records` are answers of `GET /v1/jobs/{id}` for finished jobs, at least one.

    The waiting and running times are those of jobs that succeeded at once: a retried one's wait would
    be mostly backoff.
    """
    first = min(_seconds(record["created_at"]) for record in records)
    last = max(_seconds(record["finished_at"]) for record in records)
    smooth = [r for r in records if r["status"] == "succeeded" and not r["attempts"] and not r["crashes"]]
    runs = [float(record["result"]["seconds"]) for record in smooth]
    lives = [_seconds(record["finished_at"]) - _seconds(record["created_at"]) for record in smooth]
    return Figures(
        statuses=Counter(record["status"] for record in records),
        seconds=last - first,
        jobs_per_second=len(records) / (last - first) if last > first else 0.0,
        wait=spread([max(0.0, life - run) for life, run in zip(lives, runs, strict=True)]),
        run=spread(runs),
        retries=sum(min(record["attempts"], record["max_attempts"] - 1) for record in records),
        crashes=sum(record["crashes"] for record in records),
    )


def spread(seconds: Sequence[float]) -> Spread:
    ordered = sorted(seconds) or [0.0]
    return Spread(_nearest_rank(ordered, 50), _nearest_rank(ordered, 95), ordered[-1])


def _nearest_rank(ordered: Sequence[float], percent: int) -> float:
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
