"""How soon a job starts: once it has come, and once it is due."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench import http_load
from bench.figures import filling
from bench.servers import Served, server
from queuey.metrics import Metrics
from queuey.protocol.records import to_job
from queuey.services.jobs.producer import Producer
from queuey.store.broker.broker import Broker

REST_SECONDS: Final = 0.01
"""After a job, before its result is asked for: so that the question does not meet the job on its way."""
FIRST_DUE_MS: Final = 1_000
"""From now: time to enqueue them all."""
PER_CALL: Final = 500

Send = Callable[[], Awaitable[str]]
"""Enqueues one job, and returns its id once that is acknowledged."""


async def pick_up(folder: Path, samples: int = 300, flags: Sequence[str] = ()) -> list[float]:
    """Seconds from before an HTTP request on an idle server until the handler runs, one job at a time."""
    with server(folder / "data", *flags) as served:
        return await _over_http(served, samples)


async def pick_up_elsewhere(folder: Path, samples: int = 300) -> list[float]:
    """The same where the replica that takes the request runs no handlers, and another one does on the same store."""
    with server(folder / "data"), server(folder / "data", "--roles", "api") as served:
        return await _over_http(served, samples)


async def _over_http(served: Served, samples: int) -> list[float]:
    request = http_load.post("/v1/jobs", b'{"type":"bench.clock"}')
    async with (
        filling.broker_at(served.store_url) as broker,
        http_load.connection(served.host, served.port) as connection,
    ):

        async def send() -> str:
            return str(msgspec.json.decode(await connection.ask(request))["job_id"])

        return await _picked_up(broker, send, samples)


async def pick_up_in_process(folder: Path, samples: int = 300) -> list[float]:
    """The same, enqueued by a Producer of this process on the server's store."""
    with server(folder / "data") as served:
        async with filling.broker_at(served.store_url) as broker:
            producer = Producer(broker, metrics=Metrics(), resend_for=5)

            async def send() -> str:
                return (await producer.enqueue(filling.new_job('{"type":"bench.clock","payload":null}'))).job_id

            return await _picked_up(broker, send, samples)


async def _picked_up(broker: Broker, send: Send, samples: int) -> list[float]:
    latencies = []
    for _ in range(samples):
        began = time.monotonic_ns()
        job_id = await send()
        (ran,) = await _results(broker, [job_id])
        latencies.append((ran - began) / 1e9)
    return latencies


async def _results(broker: Broker, job_ids: list[str]) -> list[int]:
    """What the handlers of these jobs on the first shard returned, once all have."""
    give_up_at = time.monotonic() + filling.WAIT_SECONDS
    while True:
        await asyncio.sleep(REST_SECONDS)
        jobs = [
            to_job(job_id, stored) for job_id, stored in zip(job_ids, await broker.jobs.get(0, job_ids), strict=True)
        ]
        if all(job.status == "succeeded" for job in jobs):
            return [int(bytes(job.result or b"0")) for job in jobs]
        filling.check_time(give_up_at, "the jobs were not done")


async def lateness(folder: Path, jobs: int = 1_000, seconds: float = 5) -> list[float]:
    """Seconds from when a scheduled job is due until its handler runs: jobs due at random times, on an idle server."""
    with server(folder / "data") as served:
        async with filling.broker_at(served.store_url) as broker:
            first = time.time_ns() // 1_000_000 + FIRST_DUE_MS
            chance = random.Random(1)
            due = [first + chance.randrange(int(seconds * 1000)) for _ in range(jobs)]
            scheduled = [filling.new_job('{"type":"bench.wall","payload":null}', at) for at in due]
            for start in range(0, jobs, PER_CALL):
                await broker.jobs.enqueue(0, scheduled[start : start + PER_CALL])
            await asyncio.sleep(FIRST_DUE_MS / 1000 + seconds)
            late = []
            for start in range(0, jobs, PER_CALL):
                some = scheduled[start : start + PER_CALL]
                ran = await _results(broker, [job.id for job in some])
                late += [at / 1e9 - job.run_at_ms / 1e3 for at, job in zip(ran, some, strict=True)]
            return late
