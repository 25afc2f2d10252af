"""arq: asyncio, a sorted set that is polled, results in keys of their own."""

import asyncio
import logging
from contextlib import asynccontextmanager

import common
from arq import create_pool, func
from arq.connections import RedisSettings
from arq.worker import Worker

SETTINGS = RedisSettings.from_dsn(common.URL)
AT_ONCE = 100
"""Enqueues under way at a time: arq has no call for many jobs."""


async def noop(_context, _payload):
    common.done()


async def clock(_context, sent):
    common.picked_up(sent)


@asynccontextmanager
async def sender():
    pool = await create_pool(SETTINGS)

    async def many(count):
        for size in common.batches(count, AT_ONCE):
            await asyncio.gather(*(pool.enqueue_job("noop", common.TEXT) for _ in range(size)))

    yield common.Sender(pool.enqueue_job, many)
    await pool.aclose()


async def work():
    worker = Worker(
        [func(noop, keep_result=0), func(clock, keep_result=0)],
        redis_settings=SETTINGS,
        max_jobs=common.CONCURRENCY,
        poll_delay=0.01,
        keep_result=0,
        log_results=False,
    )
    await worker.async_run()


def worker():
    logging.basicConfig(level=logging.WARNING)
    common.run(work())


if __name__ == "__main__":
    common.main(sender, worker)
