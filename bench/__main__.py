"""`python -m bench [--check] [--runs N]`: measure, print a table, save it, and with --check fail below the floors."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import uvloop

from bench import figures
from queuey import __version__

T = TypeVar("T")

RESULTS: Final = Path(__file__).parent / "results"


class Row(NamedTuple):
    """One figure: the median over the runs with the lowest and highest, and the floor or ceiling that --check holds."""

    name: str
    unit: str
    values: list[float]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def missed(self) -> bool:
        too_low = self.at_least is not None and self.median < self.at_least
        return too_low or (self.at_most is not None and self.median > self.at_most)

    @property
    def limit(self) -> str:
        if self.at_least is not None:
            return f">= {_number(self.at_least)}"
        return f"<= {_number(self.at_most)}" if self.at_most is not None else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


async def measure(runs: int) -> list[Row]:
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
    picked_up = [value * 1000 for run in await repeat("pick-up", figures.pick_up) for value in run]
    quantiles = statistics.quantiles(picked_up, n=100)
    memory = await repeat("store memory", figures.store_bytes, 1)
    idle = await repeat("idle replica", figures.idle_commands, 1)
    return [
        Row("drained by one process, 20,000 no-op jobs waiting", "jobs/s", drained, at_least=10_000),
        Row("single enqueue over HTTP, 64 connections", "jobs/s", single, at_least=6_000),
        Row("batch enqueue over HTTP, 1,000 a request, 4 connections", "jobs/s", batch),
        Row("pick-up when idle, over HTTP, p50", "ms", [quantiles[49]]),
        Row("pick-up when idle, over HTTP, p99", "ms", [quantiles[98]]),
        Row("store memory per waiting job, 100-byte payload", "bytes", [waiting for waiting, _ in memory], at_most=300),
        Row("store memory per finished job", "bytes", [finished for _, finished in memory]),
        Row("commands that an idle replica sends", "per s", idle),
    ]


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| what | unit | median | lowest | highest | limit | |", "| --- | --- | ---: | ---: | ---: | ---: | --- |"]
    for row in rows:
        verdict = "" if not row.limit else "MISSED" if row.missed else "ok"
        numbers = " | ".join(_number(value) for value in (row.median, min(row.values), max(row.values)))
        lines.append(f"| {row.name} | {row.unit} | {numbers} | {row.limit} | {verdict} |")
    return "\n".join(lines)


def save(rows: list[Row], runs: int) -> None:
    """Into bench/results/latest.md and latest.json."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    title = f"Queuey {__version__}: {machine}, fsync always, concurrency 100, {runs} runs"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.md").write_text(f"{title}\n\n{table(rows)}\n")
    figures_ = [{**row._asdict(), "median": row.median, "missed": row.missed} for row in rows]
    (RESULTS / "latest.json").write_text(json.dumps({"title": title, "figures": figures_}, indent=2) + "\n")
    print(f"{title}\n\n{table(rows)}\n\nsaved in {RESULTS}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 when a figure misses its limit")
    parser.add_argument("--runs", type=int, default=3, help="runs of each figure (default 3)")
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rows = runner.run(measure(arguments.runs))
    save(rows, arguments.runs)
    missed = [row.name for row in rows if row.missed]
    if arguments.check and missed:
        print(f"missed: {'; '.join(missed)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
