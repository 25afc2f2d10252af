"""SAQ: asyncio, BLMOVE into a list of active jobs, each job one JSON document."""

import asyncio
import logging
from contextlib import asynccontextmanager

import common
from redis.asyncio import Redis
from saq.queue.redis import RedisQueue
from saq.worker import Worker

AT_ONCE = 100
"""Enqueues under way at a time: SAQ has no call for many jobs."""


async def noop(_context, *, payload):
    common.done()


async def clock(_context, *, payload):
    common.picked_up(payload)


def queue():
    return RedisQueue(Redis.from_url(common.URL, max_connections=1000), max_concurrent_ops=AT_ONCE)


@asynccontextmanager
async def sender():
    jobs = queue()

    async def one(kind, payload):
        await jobs.enqueue(kind, payload=payload, ttl=-1)

    async def many(count):
        for size in common.batches(count, AT_ONCE):
            await asyncio.gather(*(one("noop", common.TEXT) for _ in range(size)))

    yield common.Sender(one, many)
    await jobs.disconnect()


async def work():
    await Worker(queue(), [noop, clock], concurrency=common.CONCURRENCY).start()


def worker():
    logging.basicConfig(level=logging.WARNING)
    common.run(work())


if __name__ == "__main__":
    common.main(sender, worker)
