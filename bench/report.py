"""What a benchmark found, as Markdown to read and JSON to work with, each figure beside what it is held against."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

RESULTS: Final = Path(__file__).parent / "results"


class MissingTool(Exception):
    """A program that a figure needs is not installed: which one, and how to get it."""


class NotBuilt(Exception):
    """What a figure is about does not exist here: how to make it. No check fails for it."""


@dataclass(frozen=True)
class Bound:
    """What a figure must reach: at least, or at most."""

    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        return f">= {number(self.at_least)}" if self.at_least is not None else f"<= {number(self.at_most or 0)}"


def at_least(value: float) -> Bound:
    return Bound(at_least=value)


def at_most(value: float) -> Bound:
    return Bound(at_most=value)


@dataclass
class Row:
    """One figure: the median over its runs with the lowest and highest.

    `target` is what it must reach, `stretch` what we would like; `floor` is what `--check` fails below (or above).
    `mark` is the colour of its bar in a picture (bench/pictures.py)."""

    name: str
    unit: str
    values: Sequence[float]
    target: Bound | None = None
    floor: Bound | None = None
    stretch: Bound | None = None
    mark: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """Of the target, and where that is met, of the stretch target too."""
        if self.target is not None and not self.target.holds(self.median):
            return "missed"
        if self.stretch is not None:
            if self.stretch.holds(self.median):
                return "stretch met"
            return "met, stretch missed" if self.target is not None else "stretch missed"
        return "met" if self.target is not None else ""

    @property
    def below_floor(self) -> bool:
        return self.floor is not None and not self.floor.holds(self.median)


@dataclass
class Section:
    """A table of figures under a heading, with what a reader must know of how they were measured."""

    heading: str
    rows: list[Row] = field(default_factory=list)
    note: str = ""


@dataclass
class Report:
    """All sections of one run of one benchmark. `name` is that of its files."""

    name: str
    title: str
    sections: list[Section] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        return [row for section in self.sections for row in section.rows]

    def markdown(self) -> str:
        parts = [f"# {self.title}", machine()]
        for section in self.sections:
            parts.append(f"## {section.heading}")
            if section.note:
                parts.append(section.note)
            if section.rows:
                parts.append(table(section.rows))
        return "\n\n".join(parts) + "\n"

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "machine": machine(),
            "sections": [
                {
                    "heading": section.heading,
                    "note": section.note,
                    "figures": [
                        {
                            "name": row.name,
                            "unit": row.unit,
                            "median": row.median,
                            "values": list(row.values),
                            "target": str(row.target) if row.target else None,
                            "stretch": str(row.stretch) if row.stretch else None,
                            "floor": str(row.floor) if row.floor else None,
                            "verdict": row.verdict or None,
                            "mark": row.mark,
                        }
                        for row in section.rows
                    ],
                }
                for section in self.sections
            ],
        }

    def save(self) -> Path:
        """Write bench/results/<name>.md and .json; returns the path of the first."""
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{self.name}.json").write_text(json.dumps(self.as_json(), indent=2) + "\n")
        path = RESULTS / f"{self.name}.md"
        path.write_text(self.markdown())
        return path


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table, with a column of stretch targets where one of them has such a target."""
    stretched = any(row.stretch for row in rows)
    lines = [
        f"| what | unit | median | lowest | highest | runs | target |{' stretch |' * stretched} |",
        f"| --- | --- | ---: | ---: | ---: | ---: | --- |{' --- |' * stretched} --- |",
    ]
    for row in rows:
        numbers = " | ".join(number(value) for value in (row.median, min(row.values), max(row.values)))
        target = str(row.target or "") + (f" | {row.stretch or ''}" if stretched else "")
        lines.append(f"| {row.name} | {row.unit} | {numbers} | {len(row.values)} | {target} | {row.verdict} |")
    return "\n".join(lines)


def grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of words, for the note of a section."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def number(value: float) -> str:
    """With as many digits as mean something."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def machine() -> str:
    """Date, commit, and what it ran on, on one line."""
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    system = f"{platform.system()} {platform.release()}, {platform.machine()}"
    python = f"Python {platform.python_version()}"
    return f"{date}, commit {_commit()}; {os.cpu_count()} cores ({_processor()}), {system}, {python}"


def _commit() -> str:
    """The commit, with a + where the checkout differs from it; 'unknown' outside a checkout."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        )
        changes = subprocess.run(["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if changes.stdout.strip() else "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )
