"""What the measurements share: a Broker on a server's store, jobs to fill it with, and how many of them are done."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from queuey.protocol import ids
from queuey.protocol.records import NewJob
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import MAX_BATCH, MAX_BYTES
from queuey.store.connections.pipelined import connect
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards

WAIT_SECONDS: Final = 120
POLL_SECONDS: Final = 0.01
"""Rare enough not to be what is measured."""
OVERHEAD_BYTES: Final = 100
"""Of one job in a call, beside its body."""


def payload(size: int) -> str:
    """So many bytes of JSON."""
    return json.dumps("x" * (size - 2))


def body(job_type: str = "bench.noop", size: int = 100) -> str:
    """A job as a request brings it and as the store keeps it, with a payload of so many bytes."""
    return f'{{"type":"{job_type}","payload":{payload(size)}}}'


@asynccontextmanager
async def broker_at(store_url: str, shards: int = 1) -> AsyncIterator[Broker]:
    """A Broker on a store."""
    client = connect(store_url, timeout=30)
    try:
        yield Broker(Shards(client, shards), Scripts())
    finally:
        await client.aclose()


def new_job(text: str, run_at_ms: int = 0) -> NewJob:
    return NewJob(ids.new_id(), "default", "default", "", text, run_at_ms=run_at_ms)


async def fill(broker: Broker, count: int, text: str | None = None) -> None:
    """Enqueue jobs of this body, past HTTP, in batches as large as a call may be."""
    text = text or body()
    per_call = max(1, min(MAX_BATCH, MAX_BYTES // (len(text) + OVERHEAD_BYTES)))
    gathered: list[list[NewJob]] = [[] for _ in range(broker.shards.count)]
    for _ in range(count):
        job = new_job(text)
        shard = broker.shards.of_job(job.id)
        gathered[shard].append(job)
        if len(gathered[shard]) == per_call:
            await broker.jobs.enqueue(shard, gathered[shard])
            gathered[shard] = []
    for shard, jobs in enumerate(gathered):
        if jobs:
            await broker.jobs.enqueue(shard, jobs)


async def pause(broker: Broker) -> None:
    for shard in range(broker.shards.count):
        await broker.queues.pause(shard, "default", "measuring")


async def resume(broker: Broker) -> None:
    for shard in range(broker.shards.count):
        await broker.queues.resume(shard, "default")


async def succeeded(broker: Broker) -> int:
    """How many jobs have been, on all shards."""
    total = 0
    for shard in range(broker.shards.count):
        stats = await broker.queues.stats(shard)
        total += {name: count for name, count, _ in stats.counters}.get("succeeded", 0)
    return total


async def until_succeeded(broker: Broker, count: int) -> None:
    give_up_at = time.monotonic() + WAIT_SECONDS
    while await succeeded(broker) < count:
        check_time(give_up_at, f"{count} jobs were not done")
        await asyncio.sleep(POLL_SECONDS)


def check_time(give_up_at: float, what: str) -> None:
    """Raises RuntimeError when it is later, by time.monotonic()."""
    if time.monotonic() > give_up_at:
        raise RuntimeError(f"{what} within {WAIT_SECONDS} s")
