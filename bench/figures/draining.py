"""How fast waiting jobs are worked off."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

from bench.figures import filling
from bench.servers import server
from queuey.store.broker.broker import Broker

JOBS: Final = 20_000
MANY: Final = 60_000
"""Where a drain of 20,000 would be over in a fraction of a second."""
HELD_JOBS: Final = 50_000
"""That pass through a queue whose length is held."""
CPU_JOBS: Final = 6_000
"""Of 1 ms each. The fewer, the more of the time is the end, when one process has work left and the other has none."""
TOP_UP: Final = 100
"""Jobs that are added at a time where the number of waiting ones is held."""


async def drain(
    folder: Path,
    jobs: int = JOBS,
    *,
    flags: tuple[str, ...] = (),
    text: str | None = None,
    shards: int = 1,
    processes: int = 1,
    pinned: bool = True,
) -> float:
    """Jobs per second from the moment that a paused, full queue is resumed until the last job is done."""
    flags = ("--processes", str(processes), "--shards", str(shards), *flags)
    with server(folder / "data", *flags, pinned=pinned) as served:
        async with filling.broker_at(served.store_url, shards) as broker:
            await filling.pause(broker)
            await filling.fill(broker, jobs, text)
            began = time.perf_counter()
            await filling.resume(broker)
            await filling.until_succeeded(broker, jobs)
            return jobs / (time.perf_counter() - began)


async def drain_payload(folder: Path, size: int, jobs: int) -> float:
    """Jobs per second where each has a payload of so many bytes."""
    return await drain(folder, jobs, text=filling.body(size=size))


async def processes(folder: Path, job_type: str, jobs: int) -> tuple[float, float, float]:
    """Jobs per second of one process and of two, and how much more two do. Nothing is pinned."""
    text = filling.body(job_type)
    one, two = [
        await drain(_made(folder / str(count)), jobs, text=text, processes=count, pinned=False) for count in (1, 2)
    ]
    return one, two, two / one


async def held_waiting(folder: Path, most: int = 1_000_000, jobs: int = HELD_JOBS) -> tuple[float, float, float, float]:
    """Jobs per second that pass through a queue that holds 1,000, `most / 10` and `most` jobs; the last to the first.

    The queue is topped up while it is drained. That costs some of the rate, but 1,000 jobs alone are gone in less time
    than a server needs to get going, and so all three are measured in the same way."""
    few, many, most_rate = [
        await _held_at(_made(folder / str(waiting)), waiting, jobs) for waiting in (1_000, most // 10, most)
    ]
    return few, many, most_rate, most_rate / few


async def _held_at(folder: Path, waiting: int, jobs: int) -> float:
    with server(folder / "data") as served:
        async with filling.broker_at(served.store_url) as broker:
            # No rewrite of the append-only file shall fall into one of the measurements and not into another.
            await broker.shards.client.config_set("auto-aof-rewrite-percentage", 0)
            await filling.pause(broker)
            await filling.fill(broker, waiting)
            return await _pass_through(broker, jobs)


async def _pass_through(broker: Broker, jobs: int) -> float:
    """Jobs per second until so many are done, as many being added as go."""
    began = time.perf_counter()
    give_up_at = time.monotonic() + filling.WAIT_SECONDS
    await filling.resume(broker)
    added = 0
    while (done := await filling.succeeded(broker)) < jobs:
        filling.check_time(give_up_at, f"{jobs} jobs were not done")
        if done - added >= TOP_UP:
            await filling.fill(broker, done - added)
            added = done
        else:
            await asyncio.sleep(0.002)
    return done / (time.perf_counter() - began)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
