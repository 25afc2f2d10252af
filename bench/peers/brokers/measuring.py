"""What is measured of a broker: single jobs, batches, pulling workers, and the pick-up by one that waits."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench import http_load
from bench.peers.brokers.catalog import Broker
from bench.peers.brokers.sessions import BATCH, Session

CONNECTIONS: Final = 64
BATCH_CONNECTIONS: Final = 4
WARM_UP: Final = 1_000
CLAIMED: Final = 500
WORKERS: Final = 4
SAMPLES: Final = 200
REST_SECONDS: Final = 0.01
"""After a job, so that the next one meets a worker that waits."""

Figures = dict[str, float]


async def measure(broker: Broker, jobs: int = 0, samples: int = SAMPLES) -> Figures:
    """All figures of one broker, each load on a fresh one. Raises CannotInstall, RuntimeError or OSError."""
    jobs = jobs or broker.jobs
    figures: Figures = {}
    for load in (_single, _batches_and_pull):
        with tempfile.TemporaryDirectory(prefix="queuey-brokers-") as folder, broker.started(Path(folder)) as port:
            figures |= await load(broker.session, port, jobs)
    with tempfile.TemporaryDirectory(prefix="queuey-brokers-") as folder, broker.started(Path(folder)) as port:
        return figures | await _pick_up(broker.session, port, samples)


async def _single(session: type[Session], port: int, jobs: int) -> Figures:
    requests = itertools.repeat(session.single, WARM_UP + jobs)
    load = await http_load.run("127.0.0.1", port, requests, CONNECTIONS, wire=session.wire, warm_up=WARM_UP)
    return {"single": jobs / load.seconds, "single p99": statistics.quantiles(load.latencies, n=100)[98] * 1e3}


async def _batches_and_pull(session: type[Session], port: int, jobs: int) -> Figures:
    """The workers take what the batches have brought."""
    batches = max(1, 2 * jobs // BATCH)
    requests = itertools.repeat(session.batch, batches)
    load = await http_load.run("127.0.0.1", port, requests, BATCH_CONNECTIONS, wire=session.batch_wire)
    began = time.perf_counter()
    async with asyncio.timeout(http_load.TIMEOUT):
        done = await asyncio.gather(*(_work(session, port) for _ in range(WORKERS)))
    seconds = time.perf_counter() - began
    if sum(done) != batches * BATCH:
        raise RuntimeError(f"{sum(done)} jobs were pulled of {batches * BATCH}")
    return {"batches": batches * BATCH / load.seconds, "pull": sum(done) / seconds}


async def _work(session: type[Session], port: int) -> int:
    """Claim and finish until nothing comes. Returns how many."""
    done = 0
    async with session.connected(port) as worker:
        while taken := await worker.take(CLAIMED):
            await worker.finish(taken)
            done += len(taken)
    return done


async def _pick_up(session: type[Session], port: int, samples: int) -> Figures:
    """From before an enqueue until a worker that waited has the job."""
    latencies = []
    async with session.connected(port) as client, session.connected(port) as worker:
        for _ in range(samples):
            waiting = asyncio.create_task(_timed(worker))
            await asyncio.sleep(REST_SECONDS)
            began = time.perf_counter()
            await client.put()
            taken, came_at = await asyncio.wait_for(waiting, http_load.TIMEOUT)
            latencies.append(came_at - began)
            await worker.finish(taken)
    return {"poll p50": statistics.median(latencies) * 1e3}


async def _timed(worker: Session) -> tuple[Sequence[Any], float]:
    taken = await worker.wait()
    return taken, time.perf_counter()
