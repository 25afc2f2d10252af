"""dramatiq: threads, Lua, messages in a hash until they are acknowledged."""

import logging
import threading
from contextlib import asynccontextmanager

import common
import dramatiq
from dramatiq.brokers.redis import RedisBroker

# Each thread acknowledges on a connection of its own; redis-py allows 100 unless told otherwise.
broker = RedisBroker(url=f"{common.URL}?max_connections=1000")
dramatiq.set_broker(broker)


@dramatiq.actor(actor_name="noop")
def noop(_payload):
    common.done()


@dramatiq.actor(actor_name="clock")
def clock(sent):
    common.picked_up(sent)


@asynccontextmanager
async def sender():
    kinds = {"noop": noop, "clock": clock}

    async def one(kind, payload):
        kinds[kind].send(payload)

    yield common.Sender(one)
    broker.close()


def worker():
    logging.basicConfig(level=logging.WARNING)
    dramatiq.Worker(broker, worker_threads=common.CONCURRENCY).start()
    threading.Event().wait()


if __name__ == "__main__":
    common.main(sender, worker)
