"""What the store can do: its round trips from Python, and Queuey's own scripts with nothing around them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from redis.asyncio import Redis

from bench.figures import filling
from queuey.protocol import ids
from queuey.protocol.records import NewJob
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import MAX_BATCH

EMPTY_SCRIPT: Final = "#!lua\nreturn 0"
VALUE: Final = b"x" * 100
CLAIMED: Final = 100
"""Jobs in one claim: as many as a server has slots."""
IN_FLIGHT: Final = 4
"""Calls at a time, so that the store never waits for its client."""
LEASE_MS: Final = 60_000

Work = TypeVar("Work")


async def one_at_a_time(call: Callable[[], Awaitable[object]], samples: int) -> list[float]:
    """The seconds that each call took."""
    taken = []
    for _ in range(samples):
        began = time.perf_counter()
        await call()
        taken.append(time.perf_counter() - began)
    return taken


async def at_once(call: Callable[[], Awaitable[object]], callers: int, samples: int) -> float:
    """Calls per second of so many callers, each of which makes its next call when the last is answered."""

    async def caller() -> None:
        for _ in range(samples // callers):
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return samples / (time.perf_counter() - began)


async def empty_script(client: Redis) -> Callable[[], Awaitable[object]]:
    """What calls a script that does nothing, by its hash."""
    sha = await client.script_load(EMPTY_SCRIPT)
    return lambda: client.evalsha(sha, 0)


def piped_sets(store_url: str, pipelines: int) -> float:
    """SETs per second in pipelines of as many as a batch of jobs has, prepared before: each pipeline is synced once."""
    command = b"*3\r\n$3\r\nSET\r\n$9\r\npiped:%03d\r\n$100\r\n" + VALUE + b"\r\n"
    pipeline = b"".join(command % number for number in range(MAX_BATCH))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(store_url.removeprefix("unix://"))
        began = time.perf_counter()
        for _ in range(pipelines):
            connection.sendall(pipeline)
            _read(connection, MAX_BATCH * len(b"+OK\r\n"))
        return pipelines * MAX_BATCH / (time.perf_counter() - began)


def _read(connection: socket.socket, count: int) -> None:
    while count > 0:
        data = connection.recv(65_536)
        if not data:
            raise RuntimeError("the store closed the connection")
        count -= len(data)


async def enqueues(broker: Broker, jobs: int, in_flight: int) -> float:
    """Jobs per second that the enqueue script takes in full batches, prepared before."""
    text = filling.body()
    full = range(jobs // MAX_BATCH)
    batches = [[filling.new_job(text) for _ in range(MAX_BATCH)] for _ in full]

    async def enqueue(batch: list[NewJob]) -> None:
        if set(await broker.jobs.enqueue(0, batch)) != {"new"}:
            raise RuntimeError("the store did not take every job")

    return len(full) * MAX_BATCH / await _seconds(batches, enqueue, in_flight)


async def claims_and_completes(broker: Broker, jobs: int) -> float:
    """Jobs per second that are claimed and completed, 100 at a time, of those that wait."""

    async def work(number: int) -> None:
        claimed = await broker.leases.claim(
            0,
            claim_id=ids.new_id(),
            worker=f"limits-{number}",
            lease_ms=LEASE_MS,
            limit=CLAIMED,
            queues=["default"],
        )
        if len(claimed.jobs) != CLAIMED:
            raise RuntimeError(f"a claim brought {len(claimed.jobs)} jobs instead of {CLAIMED}")
        if set(await broker.leases.complete(0, [(job.id, job.token, "") for job in claimed.jobs])) != {"ok"}:
            raise RuntimeError("the store did not complete every job")

    return jobs / await _seconds(range(jobs // CLAIMED), work, IN_FLIGHT)


async def _seconds(every: Iterable[Work], do: Callable[[Work], Awaitable[None]], in_flight: int) -> float:
    """The seconds that it takes to do them all, so many at a time."""
    left = iter(every)

    async def lane() -> None:
        for one in left:
            await do(one)

    began = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(in_flight)))
    return time.perf_counter() - began
