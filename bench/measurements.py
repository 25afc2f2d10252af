"""What `make bench` measures: each figure with its name, its rows, and what they are held against."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench import targets
from bench.figures import (
    binary,
    costs,
    draining,
    enqueueing,
    handler_loops,
    hooks,
    idleness,
    instructions,
    latency,
    mixing,
    pausing,
    pulling,
    scheduling,
    singles,
)
from bench.report import Row
from bench.sections import (
    BINARY,
    COST,
    HANDLER_LOOPS,
    LATENCY,
    MIXED,
    PAUSES,
    PAYLOADS,
    SCHEDULES,
    SPEED,
    SPREAD,
    STORE_CPU,
    WAITING,
)
from bench.targets import Target

NONE: Final = Target()

Figure = Callable[[Path], Awaitable[Sequence[float]]]
"""Measures once, in an empty folder; one number for each row."""


@dataclass(frozen=True)
class Line:
    """A row of the report, before it has values."""

    name: str
    unit: str
    held_to: Target = NONE

    def row(self, values: Sequence[float]) -> Row:
        held = self.held_to
        return Row(self.name, self.unit, values, held.must, held.floor, held.stretch)


@dataclass(frozen=True)
class Measurement:
    """`name` is for --only; `figure` gives one number for each of `lines`. `asked`: only measured when it is named."""

    name: str
    section: str
    figure: Figure
    lines: Sequence[Line]
    asked: bool = False

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


def fields(figure: Callable[[Path], Awaitable[Any]]) -> Figure:
    """The fields of a figure's result, in their order."""

    async def measure(folder: Path) -> Sequence[float]:
        return astuple(await figure(folder))

    return measure


async def counted(folder: Path) -> Sequence[float]:
    """Instructions a job: the scripts, and the sum of those of a whole life."""
    found = await instructions.measure(folder)
    return *astuple(found), found.all


def in_microseconds(batch: int, options: tuple[str, ...]) -> Figure:
    return fields(partial(costs.cpu, batch=batch, options=options))


def _p50_p99(what: str, p50: Target = NONE, p99: Target = NONE) -> list[Line]:
    return [Line(f"{what}, p50", "ms", p50), Line(f"{what}, p99", "ms", p99)]


def _cpu_lines(what: str, life: Target = NONE) -> list[Line]:
    return [
        Line(f"store CPU of a job's whole life, {what}", "µs", life),
        *(Line(f"of that, inside {script}", "µs") for script in ("enqueue", "claim", "complete")),
    ]


def _mixed() -> Measurement:
    """Rows for each number of slots: no-op jobs, the same without threads, and jobs that take time."""
    costs_of = [("store CPU of a job", "µs"), ("server CPU of a job", "µs"), ("calls of scripts", "per job")]
    lines = []
    for threads, loop in mixing.SLOTS:
        slots = f"{threads} + {loop} slots"
        for kind in ("mixed", "async only"):
            rows = [("drained", "jobs/s"), *costs_of]
            lines += [Line(f"{what}, no-op, {kind}, {slots}", unit) for what, unit in rows]
        lines.append(Line(f"share of the threads' most, 10 ms, mixed, {slots}", "ratio", targets.MIXED_LONG))
        lines += [Line(f"{what}, 10 ms, mixed, {slots}", unit) for what, unit in [("drained", "jobs/s"), *costs_of]]
    return Measurement("mixed", MIXED, mixing.all_sizes, lines, asked=True)


def _handler_loops() -> Measurement:
    """Rows for each --handler-loop: what it costs, and what requests wait beside handlers that compute."""
    kinds = [
        ("drained, no-op", "jobs/s"),
        ("pick-up when idle, over HTTP, median", "µs"),
        ("/healthz beside handlers that compute, p99", "ms"),
        ("single enqueue beside handlers that compute, p99", "ms"),
    ]
    lines = [Line(f"{what}, {loop} loop", unit) for loop in handler_loops.LOOPS for what, unit in kinds]
    return Measurement("handler-loops", HANDLER_LOOPS, handler_loops.all_loops, lines, asked=True)


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


MEASUREMENTS: Final = [
    Measurement(
        "drain",
        SPEED,
        one(partial(draining.drain, jobs=draining.MANY)),
        [Line(f"drained by one process, {draining.MANY:,} no-op jobs waiting", "jobs/s", targets.DRAIN)],
    ),
    Measurement(
        "drain-256",
        SPEED,
        one(partial(draining.drain, jobs=draining.MANY, flags=("--concurrency", "256"))),
        [Line("the same at concurrency 256", "jobs/s", targets.DRAIN_256)],
    ),
    Measurement(
        "single",
        SPEED,
        fields(singles.singles),
        [
            Line("bare uvicorn, the same requests, 64 connections", "requests/s"),
            Line("single enqueue over HTTP, 64 connections", "jobs/s", targets.SINGLE),
            Line("single enqueue over bare uvicorn", "ratio", targets.SHARE_OF_UVICORN),
            Line("latency of a single enqueue, p50", "ms"),
            Line("latency of a single enqueue, p99", "ms", targets.SINGLE_P99),
            Line("CPU of the server, a single enqueue", "µs"),
            Line("CPU of the load generator, a single enqueue", "µs"),
        ],
    ),
    Measurement(
        "batch",
        SPEED,
        one(enqueueing.batch_enqueue),
        [Line("batch enqueue over HTTP, 1,000 a request", "jobs/s", targets.BATCH)],
    ),
    Measurement(
        "pull",
        SPEED,
        one(pulling.drain),
        [Line("claimed and completed over HTTP, 500 a lease, by 4 workers", "jobs/s", targets.PULL)],
    ),
    Measurement(
        "one-at-a-time",
        SPEED,
        enqueueing.one_at_a_time,
        [Line("enqueued in process, one after the other", "jobs/s"), Line("the same, p50", "ms")],
    ),
    Measurement(
        "pick-up-in-process",
        LATENCY,
        quantiles(latency.pick_up_in_process),
        _p50_p99("pick-up when idle, enqueued in process", targets.PICK_UP_INSIDE, targets.PICK_UP_INSIDE_P99),
    ),
    Measurement(
        "pick-up-http",
        LATENCY,
        quantiles(latency.pick_up),
        _p50_p99("pick-up when idle, over HTTP", targets.PICK_UP_HTTP, targets.PICK_UP_HTTP_P99),
    ),
    Measurement(
        "pick-up-elsewhere",
        LATENCY,
        quantiles(latency.pick_up_elsewhere),
        _p50_p99("pick-up when idle, over HTTP, by another process"),
    ),
    Measurement(
        "pick-up-long-poll",
        LATENCY,
        quantiles(pulling.pick_up),
        _p50_p99("pick-up through a long poll, both over HTTP", targets.PICK_UP_POLL, targets.PICK_UP_POLL_P99),
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
        _p50_p99("lateness of scheduled jobs", p99=targets.LATENESS_P99),
    ),
    Measurement(
        "waiting",
        WAITING,
        draining.held_waiting,
        [
            *(Line(f"drained with {waiting} waiting", "jobs/s") for waiting in ("1,000", "100,000", "1,000,000")),
            Line("1,000,000 waiting over 1,000 waiting", "ratio", targets.DEEP_QUEUE),
        ],
    ),
    _mixed(),
    _handler_loops(),
    Measurement("hooks", SPEED, hooks.costs, [Line(name, "µs") for name in hooks.NAMES]),
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
            Line("two over one, 1 ms of CPU a job", "ratio", targets.TWO_PROCESSES),
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
            Line("store memory per waiting job, 100-byte payload", "bytes", targets.WAITING_MEMORY),
            Line("store memory per finished job, 100-byte payload and result", "bytes", targets.FINISHED_MEMORY),
        ],
    ),
    Measurement(
        "resident",
        COST,
        one(costs.resident),
        [Line("resident memory of the server and its store per waiting job", "bytes", targets.RESIDENT)],
    ),
    Measurement(
        "instructions",
        COST,
        counted,
        [
            Line("instructions of the store, enqueue of a job", "per job", targets.ENQUEUE_INSTRUCTIONS),
            Line("claim of a job", "per job", targets.CLAIM_INSTRUCTIONS),
            Line("complete of a job", "per job", targets.COMPLETE_INSTRUCTIONS),
            Line("claim of a job by type, 15 types", "per job"),
            Line("enqueue, claim and complete", "per job", targets.ALL_INSTRUCTIONS),
        ],
    ),
    Measurement(
        "pauses",
        PAUSES,
        fields(pausing.pauses),
        [
            Line("longest reply", "ms", targets.LONGEST_REPLY),
            Line("p99.9 of the replies", "ms"),
            Line("p99 of the replies", "ms"),
            Line("replies", "replies"),
            Line("rate", "per s"),
            Line("rewrites of the append-only file meanwhile", "rewrites"),
            Line("full collections of garbage meanwhile", "collections"),
        ],
        asked=True,
    ),
    Measurement(
        "idle",
        COST,
        idleness.idle,
        [
            Line("commands that an idle replica sends", "per s", targets.IDLE_COMMANDS),
            Line("CPU of an idle replica", "% of a core", targets.IDLE_CPU),
        ],
    ),
    Measurement(
        "schedules",
        SCHEDULES,
        scheduling.measure,
        [Line(name, unit, targets.SCHEDULES.get(name, NONE)) for name, unit in scheduling.ROWS],
        asked=True,
    ),
    Measurement(
        "trim", STORE_CPU, one(costs.trim), [Line("store CPU of trimming one finished job, batches of 500", "µs")]
    ),
    *(
        Measurement(
            f"store-cpu-{batch}{suffix}",
            STORE_CPU,
            in_microseconds(batch, options),
            _cpu_lines(f"batches of {batch}, {what}", target if options == costs.FSYNC_ALWAYS else NONE),
        )
        for batch, target in ((100, targets.STORE_CPU_100), (250, targets.STORE_CPU_250))
        for suffix, options, what in (
            ("", costs.FSYNC_ALWAYS, "fsync always"),
            ("-no-file", costs.NO_FILE, "no file"),
        )
    ),
    Measurement(
        "binary",
        BINARY,
        binary.starts,
        [
            Line("size of the binary", "MB", targets.BINARY_SIZE),
            Line("first job, at a first start of the binary", "s", targets.FIRST_START),
            Line("first job, at a later start of the binary", "s", targets.LATER_START),
            Line("first job, at a start of an installation", "s"),
        ],
    ),
]
