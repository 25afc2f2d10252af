"""`python -m bench [--check] [--runs N]`: measure Queuey, print a table with the targets, save it.

With --check it exits with 1 below a floor of the first releases; a missed target is shown and fails nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import uvloop

from bench import cores, figures
from bench.report import Report, Row, Section, at_least, at_most
from bench.servers import PLAN
from queuey import __version__

T = TypeVar("T")


async def measure(runs: int) -> list[Section]:
    """Every figure, each run in a folder and with servers of its own."""

    async def repeat(what: str, figure: Callable[[Path], Awaitable[T]], times: int = runs) -> list[T]:
        values = []
        for run in range(times):
            print(f"{what}, {run + 1} of {times} ...", file=sys.stderr)
            with tempfile.TemporaryDirectory(prefix="queuey-bench-") as folder:
                values.append(await figure(Path(folder)))
        return values

    drained = await repeat("drain", figures.drain)
    single = await repeat("single enqueue", figures.single_enqueue)
    batch = await repeat("batch enqueue", figures.batch_enqueue)
    picked_up = [_quantiles(run) for run in await repeat("pick-up", figures.pick_up)]
    memory = await repeat("store memory", figures.store_bytes)
    idle = await repeat("idle replica", figures.idle_commands)
    return [
        Section(
            "Speed",
            [
                Row("drained by one process, 20,000 no-op jobs waiting", "jobs/s", drained, floor=at_least(10_000)),
                Row("single enqueue over HTTP, 64 connections", "jobs/s", single, floor=at_least(6_000)),
                Row("batch enqueue over HTTP, 1,000 a request", "jobs/s", batch, target=at_least(50_000)),
                Row("pick-up when idle, over HTTP, p50", "ms", [p50 for p50, _ in picked_up], at_most(1.5)),
                Row("pick-up when idle, over HTTP, p99", "ms", [p99 for _, p99 in picked_up], at_most(4)),
            ],
        ),
        Section(
            "Cost",
            [
                Row(
                    "store memory per waiting job, 100-byte payload",
                    "bytes",
                    [waiting for waiting, _ in memory],
                    target=at_most(290),
                    floor=at_most(300),
                ),
                Row("store memory per finished job", "bytes", [finished for _, finished in memory], at_most(600)),
                Row("commands that an idle replica sends", "per s", idle, at_most(3)),
            ],
        ),
    ]


def _quantiles(seconds: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile, in ms."""
    cuts = statistics.quantiles(seconds, n=100)
    return cuts[49] * 1000, cuts[98] * 1000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 when a figure is below its floor")
    parser.add_argument("--runs", type=int, default=3, help="runs of each figure (default 3)")
    arguments = parser.parse_args()
    cores.pin(os.getpid(), PLAN.load)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sections = runner.run(measure(arguments.runs))
    title = f"Queuey {__version__}: fsync always, concurrency 100; {PLAN}"
    report = Report("queuey", title, sections)
    path = report.save()
    print(f"{report.markdown()}\nsaved as {path}")
    missed = [row.name for row in report.rows if row.below_floor]
    if missed:
        print(f"below the floor: {'; '.join(missed)}", file=sys.stderr)
    return 1 if arguments.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
