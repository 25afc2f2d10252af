"""How fast jobs come in, over HTTP and in process, and how long one takes. No worker runs beside."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from bench import http_load
from bench.figures import filling
from bench.servers import Served, server, store
from queuey.metrics import Metrics
from queuey.services.jobs.producer import Producer

JOBS: Final = 20_000
BATCHED: Final = 300_000
BATCH: Final = 1_000
"""Jobs in a batch."""
BATCH_CONNECTIONS: Final = 4
CONNECTIONS: Final = 64
API_ONLY: Final = ("--roles", "api")


async def single_enqueue(
    folder: Path, jobs: int = JOBS, connections: int = CONNECTIONS, *, flags: tuple[str, ...] = (), size: int = 100
) -> float:
    """Jobs per second, one a request, each with a payload of so many bytes."""
    with server(folder / "data", *API_ONLY, *flags) as served:
        return await _singles(served, jobs, connections, size)


async def _singles(served: Served, jobs: int, connections: int, size: int = 100) -> float:
    return jobs / (await load(served, jobs, connections, size)).seconds


async def load(served: Served, jobs: int, connections: int, size: int = 100) -> http_load.Load:
    """Enqueue so many jobs, one a request."""
    requests: Iterator[bytes] = itertools.repeat(_one_job(size), jobs)
    return await http_load.run(served.host, served.port, requests, connections)


def _one_job(size: int) -> bytes:
    return http_load.post("/v1/jobs", filling.body(size=size).encode())


def one_batch(size: int = BATCH) -> bytes:
    """A request with so many jobs."""
    return http_load.post("/v1/jobs/batch", f"[{','.join([filling.body()] * size)}]".encode())


async def batch_enqueue(
    folder: Path, jobs: int = BATCHED, size: int = BATCH, connections: int = BATCH_CONNECTIONS
) -> float:
    """Jobs per second, `size` a request."""
    request = one_batch(size)
    with server(folder / "data", *API_ONLY) as served:
        requests: Iterator[bytes] = itertools.repeat(request, jobs // size + connections)
        batches = await http_load.run(served.host, served.port, requests, connections, warm_up=connections)
        return jobs / batches.seconds


async def half_load(folder: Path, jobs: int = JOBS, connections: int = CONNECTIONS) -> list[float]:
    """Seconds that single enqueues take while they come half as fast as the same server has just taken them at most."""
    with server(folder / "data", *API_ONLY) as served:
        most = await _singles(served, jobs, connections)
        return http_load.run_at_rate(served.host, served.port, _one_job(100), jobs // 2, most / 2, connections)


async def one_at_a_time(folder: Path, jobs: int = JOBS // 4) -> Sequence[float]:
    """Jobs per second of a Producer in this process, each enqueued after the answer to the last; the median in ms."""
    taken = []
    with store(folder / "store") as url:
        async with filling.broker_at(url) as broker:
            producer = Producer(broker, metrics=Metrics(), resend_for=5)
            for _ in range(jobs):
                began = time.perf_counter()
                await producer.enqueue(filling.new_job(filling.body()))
                taken.append(time.perf_counter() - began)
    return jobs / sum(taken), statistics.median(taken) * 1e3
