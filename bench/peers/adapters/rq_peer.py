"""RQ with its SimpleWorker, which runs jobs in its own process, one after the other."""

import logging
from contextlib import asynccontextmanager

import common
from redis import Redis
from rq import Queue, SimpleWorker

AT_ONCE = 500
"""Jobs in one call of enqueue_many."""


def noop(_payload):
    common.done()


def clock(sent):
    common.picked_up(sent)


@asynccontextmanager
async def sender():
    queue = Queue(connection=Redis.from_url(common.URL))

    # By name: the worker imports this file as a module.
    async def one(kind, payload):
        queue.enqueue(f"rq_peer.{kind}", payload, result_ttl=0)

    async def many(count):
        for size in common.batches(count, AT_ONCE):
            data = [Queue.prepare_data("rq_peer.noop", (common.TEXT,), result_ttl=0) for _ in range(size)]
            queue.enqueue_many(data)

    yield common.Sender(one, many)


def worker():
    connection = Redis.from_url(common.URL)
    SimpleWorker([Queue(connection=connection)], connection=connection).work(logging_level=logging.WARNING)


if __name__ == "__main__":
    common.main(sender, worker)
