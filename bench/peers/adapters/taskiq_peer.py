"""taskiq with taskiq-redis's RedisStreamBroker: asyncio, a stream with acknowledgements."""

import asyncio
import logging
from contextlib import asynccontextmanager

import common
from taskiq.acks import AcknowledgeType
from taskiq.api import run_receiver_task
from taskiq.serializers import ORJSONSerializer
from taskiq_redis import RedisStreamBroker

AT_ONCE = 100
"""Enqueues under way at a time: taskiq has no call for many jobs."""

# From the start of the stream, else the group would begin behind the jobs that wait already.
broker = RedisStreamBroker(common.URL, consumer_id="0", xread_count=1000).with_serializer(ORJSONSerializer())


@broker.task(task_name="noop")
async def noop(_payload: str) -> None:
    common.done()


@broker.task(task_name="clock")
async def clock(sent: str) -> None:
    common.picked_up(sent)


@asynccontextmanager
async def sender():
    kinds = {"noop": noop, "clock": clock}

    async def one(kind, payload):
        await kinds[kind].kiq(payload)

    async def many(count):
        for size in common.batches(count, AT_ONCE):
            await asyncio.gather(*(noop.kiq(common.TEXT) for _ in range(size)))

    await broker.startup()
    yield common.Sender(one, many)
    await broker.shutdown()


def worker():
    logging.basicConfig(level=logging.WARNING)
    common.run(
        run_receiver_task(
            broker,
            validate_params=False,
            max_async_tasks=common.CONCURRENCY,
            ack_time=AcknowledgeType.WHEN_EXECUTED,
            run_startup=True,
        )
    )


if __name__ == "__main__":
    common.main(sender, worker)
