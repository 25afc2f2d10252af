"""streaq: asyncio over anyio and coredis, a stream with acknowledgements."""

import logging
from contextlib import asynccontextmanager

import common
from streaq import Worker

AT_ONCE = 1000
"""Jobs in one pipeline."""

streaq = Worker(
    redis_url=common.URL,
    concurrency=common.CONCURRENCY or 16,
    anyio_kwargs={"use_uvloop": True},
)


@streaq.task(name="noop", ttl=0, silent=True)
async def noop(_payload: str) -> None:
    common.done()


@streaq.task(name="clock", ttl=0, silent=True)
async def clock(sent: str) -> None:
    common.picked_up(sent)


@asynccontextmanager
async def sender():
    kinds = {"noop": noop, "clock": clock}

    async def one(kind, payload):
        await kinds[kind].enqueue(payload)

    async def many(count):
        for size in common.batches(count, AT_ONCE):
            await streaq.enqueue_many([noop.enqueue(common.TEXT) for _ in range(size)])

    async with streaq:
        yield common.Sender(one, many)


def worker():
    logging.basicConfig(level=logging.WARNING)
    streaq.run_sync()


if __name__ == "__main__":
    common.main(sender, worker)
