"""Celery over kombu's Redis transport, acknowledging late."""

import os
from contextlib import asynccontextmanager

import common
from celery import Celery

app = Celery("bench", broker=common.URL)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=int(os.environ.get("BENCH_PREFETCH", "100")),
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="noop")
def noop(_payload):
    common.done()


@app.task(name="clock")
def clock(sent):
    common.picked_up(sent)


@asynccontextmanager
async def sender():
    kinds = {"noop": noop, "clock": clock}

    async def one(kind, payload):
        kinds[kind].delay(payload)

    yield common.Sender(one)


def worker():
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING"]
    pool = os.environ.get("BENCH_POOL", "solo")
    app.worker_main(["worker", f"--pool={pool}", f"--concurrency={common.CONCURRENCY}", *quiet])


if __name__ == "__main__":
    common.main(sender, worker)
