"""The measurements. Each starts its own servers in a folder of its own and returns plain numbers."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx

from bench import http_load
from bench.servers import Served, server
from queuey import ids
from queuey.broker import MAX_BATCH, Broker
from queuey.records import NewJob
from queuey.scripts import Scripts
from queuey.shards import Shards, connect

JOBS: Final = 20_000
PAYLOAD: Final = json.dumps("x" * 98)
"""100 bytes of JSON."""
SENT_BY_CLIENTS: Final = ("evalsha", "eval", "bzpopmin", "info", "ping", "subscribe", "script|load", "config|get")
"""Commands that a replica sends itself; those that the scripts call have other names."""
WAIT_SECONDS: Final = 120


@asynccontextmanager
async def broker_of(served: Served) -> AsyncIterator[Broker]:
    """A Broker on a server's store."""
    client = connect(served.store_url, timeout=30, max_connections=4)
    try:
        yield Broker(Shards(client), Scripts())
    finally:
        await client.aclose()


async def fill(broker: Broker, count: int) -> None:
    """Enqueue no-op jobs with a payload of 100 bytes, past HTTP."""
    body = f'{{"type":"bench.noop","payload":{PAYLOAD}}}'
    for first in range(0, count, MAX_BATCH):
        batch = range(first, min(first + MAX_BATCH, count))
        await broker.enqueue(0, [NewJob(ids.new_id(), "default", "default", "", body) for _ in batch])


async def succeeded(broker: Broker) -> int:
    stats = await broker.stats(0)
    return {name: total for name, total, _ in stats.counters}.get("succeeded", 0)


async def until_succeeded(broker: Broker, count: int) -> None:
    """Poll, rarely enough not to be what is measured."""
    give_up_at = time.monotonic() + WAIT_SECONDS
    while await succeeded(broker) < count:
        if time.monotonic() > give_up_at:
            raise RuntimeError(f"{count} jobs were not done within {WAIT_SECONDS} s")
        await asyncio.sleep(0.01)


async def drain(folder: Path, jobs: int = JOBS) -> float:
    """Jobs per second from the moment that a paused, full queue is resumed until the last job is done."""
    with server(folder / "data") as served:
        async with broker_of(served) as broker:
            await broker.pause(0, "default", "measuring")
            await fill(broker, jobs)
            began = time.perf_counter()
            await broker.resume(0, "default")
            await until_succeeded(broker, jobs)
            return jobs / (time.perf_counter() - began)


def _one_job() -> bytes:
    return http_load.post("/v1/jobs", f'{{"type":"bench.noop","payload":{PAYLOAD}}}'.encode())


async def single_enqueue(folder: Path, jobs: int = JOBS, connections: int = 64) -> float:
    """Jobs per second, one a request, with no worker beside."""
    with server(folder / "data", "--roles", "api") as served:
        requests: Iterator[bytes] = itertools.repeat(_one_job(), jobs)
        seconds, _ = await http_load.run(served.host, served.port, requests, connections)
        return jobs / seconds


async def batch_enqueue(folder: Path, jobs: int = 100_000, size: int = 1000, connections: int = 4) -> float:
    """Jobs per second, 1,000 a request, with no worker beside."""
    item = f'{{"type":"bench.noop","payload":{PAYLOAD}}}'
    request = http_load.post("/v1/jobs/batch", f"[{','.join([item] * size)}]".encode())
    with server(folder / "data", "--roles", "api") as served:
        requests: Iterator[bytes] = itertools.repeat(request, jobs // size)
        seconds, _ = await http_load.run(served.host, served.port, requests, connections)
        return jobs / seconds


async def pick_up(folder: Path, samples: int = 300) -> list[float]:
    """Seconds from before an HTTP request on an idle server until the handler runs, one job at a time."""
    latencies = []
    with server(folder / "data") as served:
        async with httpx.AsyncClient(base_url=f"http://{served.host}:{served.port}") as client:
            for _ in range(samples):
                began = time.monotonic_ns()
                reply = await client.post("/v1/jobs", json={"type": "bench.clock"})
                job = await _finished(client, reply.json()["job_id"])
                latencies.append((job["result"] - began) / 1e9)
    return latencies


async def _finished(client: httpx.AsyncClient, job_id: str) -> dict[str, int]:
    for _ in range(1000):
        job: dict[str, int] = (await client.get(f"/v1/jobs/{job_id}")).json()
        if job["finished_at"] is not None:
            return job
        await asyncio.sleep(0.002)
    raise RuntimeError(f"job {job_id} did not finish")


async def store_bytes(folder: Path, jobs: int = JOBS) -> tuple[float, float]:
    """The store's memory per waiting job with a payload of 100 bytes, and per finished one."""
    with server(folder / "data") as served:
        async with broker_of(served) as broker:
            await broker.pause(0, "default", "measuring")
            client = broker.shards.client
            empty = (await client.info("memory"))["used_memory"]
            await fill(broker, jobs)
            waiting = (await client.info("memory"))["used_memory"]
            await broker.resume(0, "default")
            await until_succeeded(broker, jobs)
            finished = (await client.info("memory"))["used_memory"]
    return (waiting - empty) / jobs, (finished - empty) / jobs


async def idle_commands(folder: Path, seconds: float = 20) -> float:
    """Commands per second that one idle replica sends."""
    with server(folder / "data") as served:
        async with broker_of(served) as broker:
            await asyncio.sleep(2)
            before = await _sent(broker)
            await asyncio.sleep(seconds)
            after = await _sent(broker)
    return (after - before - 1) / seconds  # one INFO is our own


async def _sent(broker: Broker) -> int:
    stats = await broker.shards.client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in SENT_BY_CLIENTS)
