"""huey: threads, BRPOP; a job is gone from the store before it runs."""

import logging
from contextlib import asynccontextmanager

import common
from huey import RedisHuey

huey = RedisHuey("bench", url=common.URL, results=False)


@huey.task(name="noop")
def noop(_payload):
    common.done()


@huey.task(name="clock")
def clock(sent):
    common.picked_up(sent)


@asynccontextmanager
async def sender():
    kinds = {"noop": noop, "clock": clock}

    async def one(kind, payload):
        kinds[kind](payload)

    yield common.Sender(one)


def worker():
    logging.basicConfig(level=logging.WARNING)
    huey.create_consumer(workers=common.CONCURRENCY, periodic=False).run()


if __name__ == "__main__":
    common.main(sender, worker)
