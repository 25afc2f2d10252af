"""How fast workers pull jobs over HTTP, and how soon one that waits gets a job. No handler runs in the server."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

import msgspec

from bench import http_load
from bench.figures import filling
from bench.servers import Served, server

JOBS: Final = 100_000
LEASED: Final = 500
"""Jobs in a lease, and in one message of what came of them."""
WORKERS: Final = 4
API_ONLY: Final = ("--roles", "api")
REST_SECONDS: Final = 0.01
"""After a job, so that the next one meets a request that waits."""
LEASE_MANY: Final = http_load.post("/v1/leases", b'{"max":%d,"lease":60}' % LEASED)
LEASE_ONE: Final = http_load.post("/v1/leases", b'{"wait":60,"lease":60}')


class _Held(msgspec.Struct):
    id: str
    token: str


class _Leased(msgspec.Struct):
    jobs: list[_Held]


class _Outcome(msgspec.Struct):
    status: str


class _Told(msgspec.Struct):
    results: list[_Outcome]


_decode_leased: Final = msgspec.json.Decoder(_Leased).decode
_decode_told: Final = msgspec.json.Decoder(_Told).decode


async def drain(folder: Path, jobs: int = JOBS, workers: int = WORKERS) -> float:
    """Jobs per second, claimed and completed by workers that lease `LEASED` at a time, each on one connection."""
    with server(folder / "data", *API_ONLY) as served:
        async with filling.broker_at(served.store_url) as broker:
            await filling.fill(broker, jobs)
            began = time.perf_counter()
            done = await all_of_them(served, workers)
            seconds = time.perf_counter() - began
            if done != jobs or await filling.succeeded(broker) != jobs:
                raise RuntimeError(f"{done} of {jobs} jobs were done")
    return jobs / seconds


async def all_of_them(served: Served, workers: int = WORKERS) -> int:
    """Lease and complete until nothing waits. Returns how many jobs were completed."""
    async with asyncio.timeout(filling.WAIT_SECONDS):
        return sum(await asyncio.gather(*(_work(served) for _ in range(workers))))


async def _work(served: Served) -> int:
    """Lease and complete until nothing comes. Returns how many were completed."""
    completed = 0
    async with http_load.connection(served.host, served.port) as connection:
        while held := _decode_leased(await connection.ask(LEASE_MANY)).jobs:
            told = _decode_told(await connection.ask(_complete(held)))
            completed += sum(outcome.status == "ok" for outcome in told.results)
    return completed


def _complete(held: list[_Held]) -> bytes:
    return http_load.post("/v1/leases/complete", msgspec.json.encode({"jobs": held}))


async def pick_up(folder: Path, samples: int = 300) -> list[float]:
    """Seconds from before an enqueue over HTTP until a worker that waited has the job, one job at a time."""
    enqueue = http_load.post("/v1/jobs", filling.body().encode())
    latencies = []
    with server(folder / "data", *API_ONLY) as served:
        async with (
            http_load.connection(served.host, served.port) as client,
            http_load.connection(served.host, served.port) as worker,
        ):
            for _ in range(samples):
                waiting = asyncio.create_task(_timed(worker))
                await asyncio.sleep(REST_SECONDS)
                began = time.perf_counter()
                await client.ask(enqueue)
                held, came_at = await asyncio.wait_for(waiting, filling.WAIT_SECONDS)
                latencies.append(came_at - began)
                await worker.ask(_complete(held))
    return latencies


async def _timed(worker: http_load.Connection) -> tuple[list[_Held], float]:
    reply = await worker.ask(LEASE_ONE)
    came_at = time.perf_counter()
    return _decode_leased(reply).jobs, came_at
