"""Judges the working tree's figures against a commit's: what each may lose, and whether it lost more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from bench.report import grid, number

STORE_PERCENT: Final = 1.0
"""What a call of the store may cost more. The same code replayed twice differs by at most half of it."""
MEMORY_PERCENT: Final = 1.0
"""What a job may take more of the store's memory, where the allocator's rounding differs from run to run."""
CPU_PERCENT: Final = 5.0
"""What a job may cost more of the process's CPU time, or twice the spread if that is more."""

PASSED: Final = "passed"
FAILED: Final = "failed"
NOT_MEASURED: Final = "not measured"


@dataclass(frozen=True)
class Comparison:
    """One figure of both sides, of which less is better. `percent` is how much more the working tree may take."""

    name: str
    unit: str
    commit: float
    tree: float
    percent: float
    difference: float | None = None
    """In percent, where it is not the one between the two figures."""

    @property
    def change(self) -> float:
        """In percent of the commit's figure; infinite where that is 0 and the tree's is not."""
        if self.difference is not None:
            return self.difference
        if self.commit == self.tree:
            return 0.0
        return (self.tree - self.commit) / self.commit * 100 if self.commit else float("inf")

    @property
    def verdict(self) -> str:
        return PASSED if self.change <= self.percent else FAILED

    def cells(self) -> list[str]:
        """The row of a table."""
        limit = f"+{self.percent:.1f} %" if self.percent else "no more"
        change = "0" if self.change == 0 else f"{self.change:+.3g} %"
        return [self.name, self.unit, number(self.commit), number(self.tree), change, limit, self.verdict]

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "unit": self.unit,
            "commit": self.commit,
            "tree": self.tree,
            "change_percent": self.change,
            "limit_percent": self.percent,
            "verdict": self.verdict,
        }


def table(comparisons: Sequence[Comparison]) -> str:
    """The comparisons as a Markdown table."""
    heads = ["what", "unit", "commit", "working tree", "difference", "limit", "verdict"]
    return grid(heads, [comparison.cells() for comparison in comparisons])


def compare(
    what: str, unit: str, commit: Mapping[str, float], tree: Mapping[str, float], percent: float
) -> list[Comparison]:
    """Compare every figure that both sides have. Raises RuntimeError when one side has others than the other."""
    if commit.keys() != tree.keys():
        raise RuntimeError(f"{what}: the two sides have different figures: {sorted(commit.keys() ^ tree.keys())}")
    return [Comparison(f"{what}: {name}", unit, commit[name], tree[name], percent) for name in commit]


def spread(first: Sequence[float], again: Sequence[float]) -> float:
    """How much one commit differs from itself in a middling round, in percent.

    It is the median of the differences without their signs: with them they would cancel out, and a noisy run could pass
    for a quiet one by luck."""
    return median(abs(relative(b, a)) for a, b in zip(first, again, strict=True))


def relative(value: float, base: float) -> float:
    """How much more a value is than its base, in percent."""
    return (value - base) / base * 100


def compare_cpu(
    name: str, first: Sequence[float], again: Sequence[float], tree: Sequence[float], percent: float = CPU_PERCENT
) -> Comparison:
    """Compare the CPU time of a job in rounds: each round's against the mean of the commit's two in that round.

    The limit is `percent`, or twice the spread of the commit against itself if that is more."""
    commit = [(a + b) / 2 for a, b in zip(first, again, strict=True)]
    difference = median(relative(one, base) for one, base in zip(tree, commit, strict=True))
    limit = max(percent, 2 * spread(first, again))
    return Comparison(name, "µs a job", median(commit), median(tree), limit, difference)
