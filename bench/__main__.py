"""`python -m bench [--check] [--runs N] [--only NAME ...]`: measure Queuey, print tables with the targets, save them.

With --check it exits with 1 when a figure is below its floor, or could not be measured; a missed target is shown and
fails nothing. bench/targets.py has all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import uvloop

from bench import cores
from bench.figures import pausing
from bench.measurements import MEASUREMENTS, Measurement, fields
from bench.report import MissingTool, NotBuilt, Report, Section, number
from bench.sections import NOTES
from bench.servers import PLAN
from queuey import __version__

RUNS: Final = 5
MOST_MINUTES: Final = 120


@dataclass
class Found:
    """The tables, and by measurement why there are no figures of it: a tool is missing, or what it is about."""

    sections: list[Section]
    missing: dict[str, str]
    skipped: dict[str, str] = field(default_factory=dict)


async def measure(measurements: Sequence[Measurement], runs: int) -> Found:
    """Every figure, each run in a folder and with servers of its own."""
    sections: dict[str, Section] = {}
    missing: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for measurement in measurements:
        values = []
        for run in range(runs):
            print(f"{measurement.name}, {run + 1} of {runs} ...", file=sys.stderr)
            with tempfile.TemporaryDirectory(prefix="queuey-bench-") as folder:
                try:
                    values.append(await measurement.figure(Path(folder)))
                except MissingTool as error:
                    missing[measurement.name] = str(error)
                    break
                except NotBuilt as error:
                    skipped[measurement.name] = str(error)
                    break
        else:
            name = measurement.section
            sections.setdefault(name, Section(name, note=NOTES[name])).rows.extend(measurement.rows(values))
    return Found(list(sections.values()), missing, skipped)


def chosen(names: Sequence[str] | None, minutes: float | None) -> list[Measurement]:
    """Those that are named, or all that need not be asked for. `minutes`: how long `pauses` takes."""
    some = [one for one in MEASUREMENTS if (one.name in names if names else not one.asked)]
    if minutes is None:
        return some
    pauses = fields(partial(pausing.pauses, seconds=60 * minutes))
    return [replace(one, figure=pauses) if one.name == "pauses" else one for one in some]


def _minutes(text: str) -> float:
    value = float(text)
    if not 0 < value <= MOST_MINUTES:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most {MOST_MINUTES}")
    return value


def main() -> int:
    names = [measurement.name for measurement in MEASUREMENTS]
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"names: {', '.join(names)}",
    )
    parser.add_argument("--check", action="store_true", help="exit 1 when a figure is below its floor")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"runs of each figure (default {RUNS})")
    parser.add_argument("--minutes", type=_minutes, help="how long `--only pauses` takes (default 1)")
    parser.add_argument(
        "--only", nargs="+", choices=names, metavar="NAME", help="measure just these, print them and save nothing"
    )
    arguments = parser.parse_args()
    cores.pin(os.getpid(), PLAN.load)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(measure(chosen(arguments.only, arguments.minutes), arguments.runs))
    title = f"Queuey {__version__}: fsync always, concurrency 100, medians of {arguments.runs} runs; {PLAN}"
    report = Report("queuey", title, found.sections)
    print(report.markdown())
    if not arguments.only:
        print(f"saved as {report.save()}")
    for name, reason in (found.missing | found.skipped).items():
        print(f"{name}: not measured: {reason}", file=sys.stderr)
    missed = [f"{row.name}: {number(row.median)}, floor {row.floor}" for row in report.rows if row.below_floor]
    if missed:
        print(f"below the floor: {'; '.join(missed)}", file=sys.stderr)
    return 1 if arguments.check and (missed or found.missing) else 0


if __name__ == "__main__":
    sys.exit(main())
