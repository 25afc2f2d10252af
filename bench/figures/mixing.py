"""What an App pays whose handlers need both executors: threads and the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from bench.figures import filling
from bench.figures.idleness import cpu_seconds
from bench.mixed import LOOP_TYPES, THREAD_TYPES
from bench.servers import THIS, Served, server
from queuey.protocol.records import NewJob
from queuey.store.broker.broker import Broker

SLOTS: Final = ((2, 20), (8, 100), (40, 100))
"""Of threads, and of the loop."""
NOOP_JOBS: Final = 12_000
LONG_MS: Final = 10
LONG_SECONDS: Final = 3
"""What the threads need at least for the jobs that take time."""
PER_CALL: Final = 500


@dataclass(frozen=True)
class Drained:
    """The rate of a drain, and for a job the CPU of both processes in µs, and the scripts that were called."""

    rate: float
    store: float
    server: float
    calls: float


async def all_sizes(folder: Path) -> list[float]:
    """The figures of `noop` and of `long` for each number of slots."""
    found = []
    for threads, loop in SLOTS:
        own = folder / f"{threads}-{loop}"
        own.mkdir()
        found += [*await noop(own, threads, loop), *await long(own, threads, loop)]
    return found


async def noop(folder: Path, threads: int, loop: int) -> list[float]:
    """No-op jobs, half of them for threads; and the same jobs where every handler runs on the loop."""
    found = []
    for app in ("app", "loops"):
        one = await _drain(folder / app, app, threads, loop, NOOP_JOBS, 0)
        found += [one.rate, one.store, one.server, one.calls]
    return found


async def long(folder: Path, threads: int, loop: int) -> list[float]:
    """Jobs of 10 ms, half of them for threads. First the rate as a share of what so many threads can do at most."""
    jobs = 2 * threads * LONG_SECONDS * 1000 // LONG_MS
    one = await _drain(folder / "long", "app", threads, loop, jobs, LONG_MS)
    return [one.rate / (2 * threads * 1000 / LONG_MS), one.rate, one.store, one.server, one.calls]


async def _drain(folder: Path, app: str, threads: int, loop: int, jobs: int, ms: int) -> Drained:
    folder.mkdir()
    flags = ("--concurrency", str(threads + loop), "--thread-slots", str(threads), "--fsync", "everysec")
    with server(folder / "data", *flags, program=replace(THIS, app=f"bench.mixed:{app}")) as served:
        async with filling.broker_at(served.store_url) as broker:
            await _until_open(broker)
            await filling.pause(broker)
            await _fill(broker, jobs, ms)
            before, began = await _spent(broker, served), time.perf_counter()
            await filling.resume(broker)
            await _until_succeeded(broker, jobs)
            took = time.perf_counter() - began
            after = await _spent(broker, served)
    store, cpu, calls = [late - early for late, early in zip(after, before, strict=True)]
    return Drained(jobs / took, 1e6 * store / jobs, 1e6 * cpu / jobs, calls / jobs)


async def _until_succeeded(broker: Broker, jobs: int) -> None:
    """Looks without a script, since it counts scripts and the CPU of the store."""
    give_up_at = time.monotonic() + filling.WAIT_SECONDS
    while int(await broker.shards.client.hget(broker.shards.keys[0].stats, "succeeded") or 0) < jobs:
        filling.check_time(give_up_at, f"{jobs} jobs were not done")
        await asyncio.sleep(filling.POLL_SECONDS)


async def _until_open(broker: Broker) -> None:
    """Until jobs may be set aside: every replica of the store has said that it knows such lists."""
    give_up_at = time.monotonic() + filling.WAIT_SECONDS
    meta = broker.shards.keys[0].meta
    while b"aside" not in (await broker.shards.client.hget(meta, "features") or b"").split():
        filling.check_time(give_up_at, "the feature was not opened")
        await asyncio.sleep(filling.POLL_SECONDS)


async def _fill(broker: Broker, jobs: int, ms: int) -> None:
    made = _jobs(ms)
    for first in range(0, jobs, PER_CALL):
        await broker.jobs.enqueue(0, list(islice(made, min(PER_CALL, jobs - first))))


def _jobs(ms: int) -> Iterator[NewJob]:
    """Jobs for a thread and for the loop in turn, of each type in turn."""
    for pair in zip(cycle(THREAD_TYPES), cycle(LOOP_TYPES), strict=False):
        for name in pair:
            yield filling.new_job(f'{{"type":"{name}","payload":{ms}}}')


async def _spent(broker: Broker, served: Served) -> tuple[float, float, float]:
    """CPU seconds of the store and of the server so far, and calls of scripts."""
    stats = await broker.shards.client.info("commandstats")
    return cpu_seconds(served.store_pid), cpu_seconds(served.pid), stats["cmdstat_evalsha"]["calls"]
