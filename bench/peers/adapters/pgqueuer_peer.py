"""pgqueuer: a table in PostgreSQL, SKIP LOCKED, and LISTEN and NOTIFY to wake a worker."""

import asyncio
import logging
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import common
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.queries import Queries

AT_ONCE = 1000
"""Jobs in one call of enqueue."""
CONNECTIONS = 64
FEW = 4
BATCH = 500
"""Jobs in one claim of the worker."""


@asynccontextmanager
async def sender():
    connections = CONNECTIONS if common.verb() == "enqueue-wide" else FEW
    async with asyncpg.create_pool(common.URL, min_size=connections, max_size=connections) as pool:
        queries = Queries(AsyncpgPoolDriver(pool))
        if not await queries.schema_is_installed():
            await queries.install()

        async def one(kind, payload):
            await queries.enqueue(kind, payload.encode())

        async def many(count):
            sizes = iter(common.batches(count, AT_ONCE))

            async def share():
                for size in sizes:
                    await queries.enqueue(["noop"] * size, [common.TEXT.encode()] * size, [0] * size)

            await asyncio.gather(*(share() for _ in range(FEW)))

        yield common.Sender(one, many)


async def work():
    connection = await asyncpg.connect(common.URL)
    queue = PgQueuer(AsyncpgDriver(connection))
    if not await queue.qm.queries.schema_is_installed():
        await queue.qm.queries.install()

    @queue.entrypoint("noop")
    async def noop(_job):
        common.done()

    @queue.entrypoint("clock")
    async def clock(job):
        common.picked_up(job.payload.decode())

    await queue.run(batch_size=BATCH, dequeue_timeout=timedelta(seconds=30))


def worker():
    logging.basicConfig(level=logging.WARNING)
    common.run(work())


if __name__ == "__main__":
    common.main(sender, worker)
