"""`python -m bench [--check] [--runs N] [--only NAME ...]`: measure Queuey, print tables with the targets, save them.

With --check it exits with 1 below a floor of the first releases; a missed target is shown and fails nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop

from bench import cores
from bench.measurements import MEASUREMENTS, NOTES, Measurement
from bench.report import Report, Section
from bench.servers import PLAN
from queuey import __version__


async def measure(measurements: Sequence[Measurement], runs: int) -> list[Section]:
    """Every figure, each run in a folder and with servers of its own."""
    sections: dict[str, Section] = {}
    for measurement in measurements:
        values = []
        for run in range(runs):
            print(f"{measurement.name}, {run + 1} of {runs} ...", file=sys.stderr)
            with tempfile.TemporaryDirectory(prefix="queuey-bench-") as folder:
                values.append(await measurement.figure(Path(folder)))
        name = measurement.section
        sections.setdefault(name, Section(name, note=NOTES[name])).rows.extend(measurement.rows(values))
    return list(sections.values())


def main() -> int:
    names = [measurement.name for measurement in MEASUREMENTS]
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"names: {', '.join(names)}",
    )
    parser.add_argument("--check", action="store_true", help="exit 1 when a figure is below its floor")
    parser.add_argument("--runs", type=int, default=3, help="runs of each figure (default 3)")
    parser.add_argument(
        "--only", nargs="+", choices=names, metavar="NAME", help="measure just these, print them and save nothing"
    )
    arguments = parser.parse_args()
    chosen = [measurement for measurement in MEASUREMENTS if not arguments.only or measurement.name in arguments.only]
    cores.pin(os.getpid(), PLAN.load)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sections = runner.run(measure(chosen, arguments.runs))
    title = f"Queuey {__version__}: fsync always, concurrency 100, medians of {arguments.runs} runs; {PLAN}"
    report = Report("queuey", title, sections)
    print(report.markdown())
    if not arguments.only:
        print(f"saved as {report.save()}")
    missed = [row.name for row in report.rows if row.below_floor]
    if missed:
        print(f"below the floor: {'; '.join(missed)}", file=sys.stderr)
    return 1 if arguments.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
