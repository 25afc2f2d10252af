"""How much of its limit each figure of Queuey reaches, run by run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.report import Bound, Row

Run = dict[str, float]
"""What one run found, by the names that the lines below give."""


@dataclass(frozen=True)
class Line:
    """A row of a table. `key` names its value in each run."""

    key: str
    name: str
    unit: str
    target: Bound | None = None

    def row(self, runs: Sequence[Run]) -> Row:
        return Row(self.name, self.unit, [run[self.key] for run in runs], self.target)


@dataclass(frozen=True)
class Share:
    """What is made of a limit: 1 is all of it. A rate is divided by its limit; a time's limit by the time."""

    figure: str
    limit: str
    kind: Literal["rate", "time"]
    name: str
    target: Bound | None = None

    def of(self, run: Run) -> float:
        figure, limit = run[self.figure], run[self.limit]
        return figure / limit if self.kind == "rate" else limit / figure

    def row(self, runs: Sequence[Run]) -> Row:
        return Row(self.name, "of the limit", [self.of(run) for run in runs], self.target)


def pick_up_limit(sync: float, round_trip: float, way_in: float = 0.0) -> float:
    """The least time from a request until a worker has its job durably claimed, in the unit of the parts.

    `way_in`: the request reaches the app. Enqueue is written and synced, and then its reply wakes the worker: a round
    trip. Claim is another, and its write is synced before its reply."""
    return way_in + 2 * (sync + round_trip)
