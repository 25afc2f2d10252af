"""What stops a reply: full collections of garbage and rewrites of the append-only file, under half of the load."""

from __future__ import annotations

import asyncio
import statistics
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from redis.exceptions import ResponseError

from bench import http_load
from bench.figures import enqueueing, filling
from bench.servers import Served, server
from queuey.store.broker.broker import Broker

SECONDS: Final = 60.0
PROBE_JOBS: Final = 10_000
"""By which the load is found that the server takes at most."""
EVERY_SECONDS: Final = 30.0
"""Between two full collections; a rewrite falls between them."""
ENQUEUE: Final = http_load.post("/v1/jobs", filling.body().encode())
COLLECT: Final = '{"type":"bench.collect","payload":null}'


@dataclass(frozen=True)
class Pauses:
    """Latencies in ms, the number of replies, their rate per second, and what happened meanwhile."""

    longest: float
    p999: float
    p99: float
    replies: int
    rate: float
    rewrites: int
    collections: int


async def pauses(folder: Path, seconds: float = SECONDS, probe: int = PROBE_JOBS) -> Pauses:
    """The longest replies of a server that also runs the jobs, at half of what it takes at most."""
    with server(folder / "data") as served:
        async with filling.broker_at(served.store_url) as broker:
            load = await enqueueing.load(served, probe, enqueueing.CONNECTIONS)
            await filling.until_succeeded(broker, probe)
            rate = probe / load.seconds / 2
            before = await _rewrites(broker)
            disturbing = asyncio.create_task(_disturb(broker))
            try:
                latencies = await _at_rate(served, round(rate * seconds), rate)
            finally:
                disturbing.cancel()
                (collections,) = await asyncio.gather(disturbing)
            rewrites = await _rewrites(broker) - before
    cuts = statistics.quantiles(latencies, n=1000, method="inclusive")
    times = (max(latencies), cuts[998], cuts[989])
    return Pauses(*(value * 1e3 for value in times), len(latencies), rate, rewrites, collections)


async def _at_rate(served: Served, count: int, rate: float) -> list[float]:
    """In a thread, since it blocks; the load is not disturbed by what this one does every half a minute."""
    run = partial(
        http_load.run_at_rate, served.host, served.port, ENQUEUE, count, rate, connections=enqueueing.CONNECTIONS
    )
    return await asyncio.get_running_loop().run_in_executor(None, run)


async def _disturb(broker: Broker) -> int:
    """Until cancelled, collect in the server and rewrite in the store by turns. Returns how often it collected."""
    collections = 0
    try:
        while True:
            await asyncio.sleep(EVERY_SECONDS / 2)
            await broker.jobs.enqueue(0, [filling.new_job(COLLECT)])
            collections += 1
            await asyncio.sleep(EVERY_SECONDS / 2)
            with suppress(ResponseError):  # the store is at it already
                await broker.shards.client.bgrewriteaof()
    except asyncio.CancelledError:
        return collections


async def _rewrites(broker: Broker) -> int:
    """How often the store has rewritten its append-only file so far, by itself too."""
    return int((await broker.shards.client.info("persistence"))["aof_rewrites"])
