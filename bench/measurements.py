"""What `make bench` measures: each figure with its name, its rows, and what they are held against."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bench.figures import costs, draining, enqueueing, idleness, latency, pulling
from bench.report import Bound, Row, at_least, at_most

Figure = Callable[[Path], Awaitable[Sequence[float]]]
"""Measures once, in an empty folder; one number for each row."""


@dataclass(frozen=True)
class Line:
    """A row of the report, before it has values."""

    name: str
    unit: str
    target: Bound | None = None
    floor: Bound | None = None

    def row(self, values: Sequence[float]) -> Row:
        return Row(self.name, self.unit, values, self.target, self.floor)


@dataclass(frozen=True)
class Measurement:
    """`name` is for --only; `figure` gives one number for each of `lines`."""

    name: str
    section: str
    figure: Figure
    lines: Sequence[Line]

    def rows(self, runs: Sequence[Sequence[float]]) -> list[Row]:
        """From what the figure gave in each run."""
        return [line.row(values) for line, values in zip(self.lines, zip(*runs, strict=True), strict=True)]


def one(figure: Callable[[Path], Awaitable[float]]) -> Figure:
    """Of a figure that is a single number."""

    async def measure(folder: Path) -> Sequence[float]:
        return (await figure(folder),)

    return measure


def quantiles(figure: Callable[[Path], Awaitable[Sequence[float]]]) -> Figure:
    """Of a figure that is many times in seconds: the median and the 99th percentile, in ms."""

    async def measure(folder: Path) -> Sequence[float]:
        cuts = statistics.quantiles(await figure(folder), n=100)
        return cuts[49] * 1000, cuts[98] * 1000

    return measure


def in_microseconds(batch: int, options: tuple[str, ...]) -> Figure:
    async def measure(folder: Path) -> Sequence[float]:
        return astuple(await costs.cpu(folder, batch, options))

    return measure


def _p50_p99(what: str, p50: Bound | None = None, p99: Bound | None = None) -> list[Line]:
    return [Line(f"{what}, p50", "ms", p50), Line(f"{what}, p99", "ms", p99)]


def _cpu_lines(what: str, life: Bound | None = None) -> list[Line]:
    return [
        Line(f"store CPU of a job's whole life, {what}", "µs", life),
        *(Line(f"of that, inside {script}", "µs") for script in ("enqueue", "claim", "complete")),
    ]


def _payloads() -> list[Measurement]:
    sizes = (("100 B", 100, 20_000), ("10 kB", 10_000, 10_000), ("256 kB", 256_000, 1_000))
    enqueue = [
        Measurement(
            f"enqueue-{text.replace(' ', '')}",
            PAYLOADS,
            one(partial(enqueueing.single_enqueue, jobs=jobs, size=size)),
            [Line(f"single enqueue over HTTP, {text}", "jobs/s")],
        )
        for text, size, jobs in sizes
    ]
    drain = [
        Measurement(
            f"drain-{text.replace(' ', '')}",
            PAYLOADS,
            one(partial(draining.drain_payload, size=size, jobs=jobs)),
            [Line(f"drained, {text}, {jobs:,} jobs waiting", "jobs/s")],
        )
        for text, size, jobs in sizes
    ]
    return enqueue + drain


SPEED: Final = "Speed"
LATENCY: Final = "Latency"
WAITING: Final = "Many waiting jobs"
PAYLOADS: Final = "Payloads"
SPREAD: Final = "Processes and shards"
COST: Final = "Cost"
STORE_CPU: Final = "CPU of the store"

NOTES: Final = {
    SPEED: "Payloads of 100 bytes. A drain is timed from the moment that a paused queue is resumed until the last job "
    "is done; enqueues, with no worker beside. Over HTTP: from the first lease until the last outcome is confirmed, on "
    "a server that runs no handlers.",
    LATENCY: "Pick-up: from before the call until the handler runs, or the worker that waits has its reply; one job at "
    "a time. Half load: requests come at random times, half as many a second as the same server has just taken at "
    "most, and each counts from when it was due to be sent. Lateness: from when a job is due until its handler runs; "
    "1,000 jobs due within 5 s.",
    WAITING: f"{draining.HELD_JOBS:,} jobs pass through a queue that is held at its length by as many new ones: the "
    "enqueueing, which costs some of the rate, is the same in all three. No rewrite of the append-only file falls "
    "into it.",
    PAYLOADS: "The size is that of the payload's JSON.",
    SPREAD: "Two processes are `queuey serve --processes 2`. Where processes are compared, one as well as "
    "two, nothing is pinned: they, the store and the load generator share all cores. With shards, all is pinned as "
    "above.",
    COST: "A finished job is weighed once the record of its claim, which is kept for as long as a lease, is gone.",
    STORE_CPU: "The scripts are called in batches on a store without a server; it has the server's core. Fsync always "
    "is the default, no file is without the append-only file. A job's whole life is enqueue, claim and complete, user "
    "and system time of the store's whole process; inside a script: by the store's own statistics.",
}
"""What a reader must know of each section."""

MEASUREMENTS: Final = [
    Measurement(
        "drain",
        SPEED,
        one(draining.drain),
        [Line("drained by one process, 20,000 no-op jobs waiting", "jobs/s", floor=at_least(10_000))],
    ),
    Measurement(
        "drain-256",
        SPEED,
        one(partial(draining.drain, flags=("--concurrency", "256"))),
        [Line("the same at concurrency 256", "jobs/s")],
    ),
    Measurement(
        "single",
        SPEED,
        one(enqueueing.single_enqueue),
        [Line("single enqueue over HTTP, 64 connections", "jobs/s", floor=at_least(6_000))],
    ),
    Measurement(
        "batch",
        SPEED,
        one(enqueueing.batch_enqueue),
        [Line("batch enqueue over HTTP, 1,000 a request", "jobs/s", at_least(50_000))],
    ),
    Measurement(
        "pull",
        SPEED,
        one(pulling.drain),
        [Line("claimed and completed over HTTP, 500 a lease, by 4 workers", "jobs/s", at_least(20_000))],
    ),
    Measurement(
        "pick-up-in-process",
        LATENCY,
        quantiles(latency.pick_up_in_process),
        _p50_p99("pick-up when idle, enqueued in process", at_most(1.0), at_most(2.5)),
    ),
    Measurement(
        "pick-up-http",
        LATENCY,
        quantiles(latency.pick_up),
        _p50_p99("pick-up when idle, over HTTP", at_most(1.5), at_most(4)),
    ),
    Measurement(
        "pick-up-long-poll",
        LATENCY,
        quantiles(pulling.pick_up),
        _p50_p99("pick-up through a long poll, both over HTTP", at_most(1.5), at_most(4)),
    ),
    Measurement(
        "half-load",
        LATENCY,
        quantiles(enqueueing.half_load),
        _p50_p99("single enqueue over HTTP at half load"),
    ),
    Measurement(
        "lateness",
        LATENCY,
        quantiles(latency.lateness),
        _p50_p99("lateness of scheduled jobs", p99=at_most(20)),
    ),
    Measurement(
        "waiting",
        WAITING,
        draining.held_waiting,
        [
            *(Line(f"drained with {waiting} waiting", "jobs/s") for waiting in ("1,000", "100,000", "1,000,000")),
            Line("1,000,000 waiting over 1,000 waiting", "ratio", at_least(0.8)),
        ],
    ),
    *_payloads(),
    Measurement(
        "processes-no-op",
        SPREAD,
        partial(draining.processes, job_type="bench.noop", jobs=draining.JOBS),
        [
            Line("drained by one process, no-op", "jobs/s"),
            Line("drained by two processes, no-op", "jobs/s"),
            Line("two over one, no-op", "ratio"),
        ],
    ),
    Measurement(
        "processes-1ms",
        SPREAD,
        partial(draining.processes, job_type="bench.cpu", jobs=draining.CPU_JOBS),
        [
            Line("drained by one process, 1 ms of CPU a job", "jobs/s"),
            Line("drained by two processes, 1 ms of CPU a job", "jobs/s"),
            Line("two over one, 1 ms of CPU a job", "ratio", at_least(1.7)),
        ],
    ),
    Measurement(
        "drain-4-shards",
        SPREAD,
        one(partial(draining.drain, shards=4)),
        [Line("drained by one process, 4 shards (1 shard: above)", "jobs/s")],
    ),
    Measurement(
        "single-4-shards",
        SPREAD,
        one(partial(enqueueing.single_enqueue, flags=("--shards", "4"))),
        [Line("single enqueue over HTTP, 4 shards (1 shard: above)", "jobs/s")],
    ),
    Measurement(
        "memory",
        COST,
        costs.memory,
        [
            Line("store memory per waiting job, 100-byte payload", "bytes", at_most(290), at_most(300)),
            Line("store memory per finished job, 100-byte payload and result", "bytes", at_most(600)),
        ],
    ),
    Measurement(
        "idle",
        COST,
        idleness.idle,
        [
            Line("commands that an idle replica sends", "per s", at_most(3)),
            Line("CPU of an idle replica", "% of a core", at_most(1)),
        ],
    ),
    Measurement(
        "trim", STORE_CPU, one(costs.trim), [Line("store CPU of trimming one finished job, batches of 500", "µs")]
    ),
    *(
        Measurement(
            f"store-cpu-{batch}{suffix}",
            STORE_CPU,
            in_microseconds(batch, options),
            _cpu_lines(f"batches of {batch}, {what}", target if options == costs.FSYNC_ALWAYS else None),
        )
        for batch, target in ((100, at_most(25)), (250, at_most(20)))
        for suffix, options, what in (
            ("", costs.FSYNC_ALWAYS, "fsync always"),
            ("-no-file", costs.NO_FILE, "no file"),
        )
    ),
]
