"""Queuey, enqueued in process: a Producer on the store, as the server itself has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import common
import queuey_server

from queuey.errors import QueueyError
from queuey.metrics import Metrics
from queuey.protocol import ids
from queuey.protocol.records import NewJob
from queuey.services.jobs.producer import Producer
from queuey.store.broker.broker import Broker
from queuey.store.connections.pipelined import connect
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards

AT_ONCE = 1000


def job(kind: str, payload: str) -> NewJob:
    return NewJob(ids.new_id(), "default", "default", "", f'{{"type":"{kind}","payload":"{payload}"}}')


@asynccontextmanager
async def sender() -> AsyncIterator[common.Sender]:
    client = connect(common.URL, timeout=30, max_connections=4)
    producer = Producer(Broker(Shards(client), Scripts()), metrics=Metrics(), resend_for=30)

    async def one(kind: str, payload: str) -> None:
        await producer.enqueue(job(kind, payload))

    async def many(count: int) -> None:
        for size in common.batches(count, AT_ONCE):
            for reply in await producer.enqueue_many([job("noop", common.TEXT) for _ in range(size)]):
                if isinstance(reply, QueueyError):
                    raise reply

    yield common.Sender(one, many)
    await producer.drain()
    await client.aclose()


if __name__ == "__main__":
    common.main(sender, queuey_server.worker)
