"""What the scripts of the Python peers share. Standard library only, since each runs in an environment of its own.

A script is called with one verb; the rest comes by the environment, so that a worker's own command line may replace it:

    BENCH_URL          the store, redis://... or unix://...
    BENCH_JOBS         how many jobs
    BENCH_CONCURRENCY  what a worker may run at a time
    BENCH_PORT         the port of an HTTP server, for peers that have one

    enqueue-one   sends BENCH_JOBS jobs, each after the answer to the last. Prints {"seconds", "jobs", "enqueued"}
    enqueue-wide  the same with 64 jobs under way at a time. Prints "p99" too, in seconds
    enqueue-bulk  the same by the peer's own means for many jobs
    pick-up       sends one job for each line on stdin
    worker        runs jobs until it is killed. Prints {"done", "at"} at a tenth of BENCH_JOBS and at all of them,
                  and {"sent", "picked_up"} for each job of `pick-up`
    serve         runs an HTTP server without a worker until it is killed

Times are in ns of the monotonic clock, which the processes of one machine share. Output is JSON, one object a line.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

URL = os.environ.get("BENCH_URL", "")
JOBS = int(os.environ.get("BENCH_JOBS", "0"))
CONCURRENCY = int(os.environ.get("BENCH_CONCURRENCY", "0"))
PORT = int(os.environ.get("BENCH_PORT", "0"))
TEXT = "x" * 98
"""The payload: 100 bytes as JSON."""
WARM_UP = 20
"""Jobs that are sent before the clock starts, so that connections are open and scripts loaded."""
LANES = 64
"""Jobs under way at a time in `enqueue-wide`."""
MARKS = frozenset((JOBS // 10, JOBS))

_number = itertools.count(1).__next__  # one step, so threads may share it


class Sender(NamedTuple):
    """`one(kind, payload)` enqueues a job of kind noop or clock; `many(count)` that many no-op jobs at once."""

    one: Callable[[str, str], Awaitable[object]]
    many: Callable[[int], Awaitable[object]] | None = None


def done() -> None:
    """What the no-op handler does."""
    number = _number()
    if number in MARKS:
        say(done=number, at=time.monotonic_ns())


def picked_up(sent: str) -> None:
    """What the handler does that measures how long its job took to reach it."""
    say(sent=int(sent), picked_up=time.monotonic_ns())


def batches(count: int, size: int) -> list[int]:
    """`count` in parts of `size` and a rest."""
    return [min(size, count - first) for first in range(0, count, size)]


def say(**values: float) -> None:
    print(json.dumps(values), flush=True)


def main(
    sender: Callable[[], AbstractAsyncContextManager[Sender]],
    worker: Callable[[], object],
    serve: Callable[[], object] | None = None,
) -> None:
    """Do what the verb asks."""
    if verb() == "worker":
        worker()
    elif verb() == "serve" and serve is not None:
        serve()
    else:
        run(_send(sender))


def verb() -> str:
    """The verb that the script was called with."""
    return sys.argv[1]


def run(coroutine: Awaitable[object]) -> None:
    """On uvloop where the environment has it."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(coroutine)
    else:
        uvloop.run(coroutine)


async def _send(make: Callable[[], AbstractAsyncContextManager[Sender]]) -> None:
    async with make() as sender:
        if verb() == "pick-up":
            for _ in sys.stdin:
                await sender.one("clock", str(time.monotonic_ns()))
            return
        for _ in range(WARM_UP):
            await sender.one("noop", TEXT)
        began = time.perf_counter()
        found: dict[str, float] = {}
        if verb() == "enqueue-one":
            for _ in range(JOBS):
                await sender.one("noop", TEXT)
        elif verb() == "enqueue-wide":
            found["p99"] = await _wide(sender)
        elif verb() == "enqueue-bulk" and sender.many is not None:
            await sender.many(JOBS)
        else:
            raise SystemExit(f"{verb()} is nothing that this peer does")
        say(seconds=time.perf_counter() - began, jobs=JOBS, enqueued=JOBS + WARM_UP, **found)


async def _wide(sender: Sender) -> float:
    """Send the jobs in lanes, each of which sends its next job after the answer to the last. Returns the p99."""
    numbers = iter(range(JOBS))
    latencies: list[float] = []

    async def lane() -> None:
        for _ in numbers:
            sent_at = time.perf_counter()
            await sender.one("noop", TEXT)
            latencies.append(time.perf_counter() - sent_at)

    await asyncio.gather(*(lane() for _ in range(LANES)))
    return sorted(latencies)[len(latencies) * 99 // 100]
