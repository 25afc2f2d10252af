"""Celery: beat, and a worker of its own process. The verbs are beat and worker."""

import os
import sys

from celery import Celery
from celery.schedules import crontab

import scripts

app = Celery("bench", broker=scripts.URL)
app.conf.update(
    timezone="UTC",
    task_ignore_result=True,
    worker_prefetch_multiplier=100,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="tick")
def tick():
    scripts.ran()


def main(verb):
    if verb == "beat":
        at = crontab(minute=scripts.MINUTE, hour=scripts.HOUR)
        app.conf.beat_schedule = {f"job{n}": {"task": "tick", "schedule": at} for n in range(scripts.SCHEDULES)}
        app.Beat(loglevel="WARNING", schedule=f"{os.environ['BENCH_OUT']}.beat").run()
    else:
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING"]
        app.worker_main(["worker", "--pool=solo", *quiet])


if __name__ == "__main__":
    main(sys.argv[1])
