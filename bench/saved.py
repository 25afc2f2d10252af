"""What a benchmark saved, read again: the one source of the tables and of the pictures."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Figure(msgspec.Struct):
    """One figure with all its runs. `mark` groups the rows of a picture by colour."""

    name: str
    unit: str
    median: float
    values: list[float]
    target: str | None = None
    stretch: str | None = None
    floor: str | None = None
    verdict: str | None = None
    mark: str = ""


class Part(msgspec.Struct):
    """The figures under one heading."""

    heading: str
    figures: list[Figure]
    note: str = ""


class Results(msgspec.Struct):
    """A whole run. `machine` has the date, the commit, and what it ran on."""

    title: str
    machine: str
    sections: list[Part]

    def part(self, heading: str) -> Part | None:
        return next((part for part in self.sections if part.heading == heading), None)

    @property
    def figures(self) -> list[Figure]:
        return [figure for part in self.sections for figure in part.figures]


def read(path: Path) -> Results:
    """Raises msgspec.MsgspecError when it is not what `Report.save` writes."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def bound(text: str) -> tuple[str, float]:
    """The sign and the value of a target as it is written: '>= 24,000'."""
    sign, _, value = text.partition(" ")
    return sign, float(value.replace(",", ""))
