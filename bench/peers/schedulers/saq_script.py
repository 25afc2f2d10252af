"""SAQ: the worker enqueues the next job of each CronJob, with its time. Each needs a function of another name."""

import asyncio
import logging

from redis.asyncio import Redis
from saq.job import CronJob
from saq.queue.redis import RedisQueue
from saq.worker import Worker

import scripts


def numbered(number):
    async def handler(_context):
        scripts.ran()

    handler.__name__ = handler.__qualname__ = f"job{number}"
    return handler


async def work():
    queue = RedisQueue(Redis.from_url(scripts.URL, max_connections=1000))
    cron = f"{scripts.MINUTE} {scripts.HOUR} * * *"
    jobs = [CronJob(numbered(number), cron) for number in range(scripts.SCHEDULES)]
    await Worker(queue, [], cron_jobs=jobs, concurrency=scripts.CONCURRENCY).start()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(work())
