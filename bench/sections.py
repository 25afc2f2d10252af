"""The headings of what `make bench` prints, and what a reader must know of the figures below each."""

from __future__ import annotations

from typing import Final

from bench.figures import draining

SPEED: Final = "Speed"
MIXED: Final = "Handlers in threads and on the loop"
HANDLER_LOOPS: Final = "Handlers in an event loop of their own"
LATENCY: Final = "Latency"
WAITING: Final = "Many waiting jobs"
PAYLOADS: Final = "Payloads"
SPREAD: Final = "Processes and shards"
COST: Final = "Cost"
STORE_CPU: Final = "CPU of the store"
BINARY: Final = "One file"
PAUSES: Final = "Pauses"
SCHEDULES: Final = "Schedules"

NOTES: Final = {
    SPEED: "Payloads of 100 bytes. A drain is timed from the moment that a paused queue is resumed until the last job "
    "is done; enqueues, with no worker beside. Over HTTP: from the first lease until the last outcome is confirmed, on "
    "a server that runs no handlers. Bare uvicorn is an ASGI app that reads the request and answers as Queuey does; it "
    "is measured right before and after the single enqueues. In process: a Producer without a server, job by job.",
    MIXED: "15 types, half of the jobs for threads, drained with so many slots for threads and for the loop. Beside "
    "it, the same no-op jobs with as many slots where every handler is async. Share: of the rate that the threads "
    "could reach if none ever waited. The store syncs once a second here, since the disk would hide the rest.",
    HANDLER_LOOPS: "Handlers in the server's event loop (shared) and in one of their own. Those that compute take "
    "20 ms of CPU each and await nothing; 50 requests a second come at random times. own costs too much to be the "
    "default if it drains 5 % slower, or picks up 5 % later, than shared.",
    LATENCY: "Pick-up: from before the call until the handler runs, or the worker that waits has its reply; one job at "
    "a time. Half load: requests come at random times, half as many a second as the same server has just taken at "
    "most, and each counts from when it was due to be sent. Lateness: from when a job is due until its handler runs; "
    "1,000 jobs due within 5 s.",
    WAITING: f"{draining.HELD_JOBS:,} jobs pass through a queue that is held at its length by as many new ones: the "
    "enqueueing, which costs some of the rate, is the same in all three. No rewrite of the append-only file falls "
    "into it.",
    PAYLOADS: "The size is that of the payload's JSON.",
    SPREAD: "Two processes are `queuey serve --processes 2`. Where processes are compared, one as well as "
    "two, nothing is pinned: they, the store and the load generator share all cores. With shards, all is pinned as "
    "above.",
    COST: "A finished job is weighed once the record of its claim, which is kept for as long as a lease, is gone. "
    "Instructions: of the store's whole process by callgrind, 500 jobs a call, without an append-only file.",
    PAUSES: "Single enqueues come at random times, half as many a second as the same server has just taken at most, "
    "and its workers run the jobs. Each counts from when it was due to be sent. Every 30 s a handler makes the server "
    "collect all garbage, and 15 s later the store rewrites the append-only file.",
    SCHEDULES: "10,000 schedules with cron expressions, whose jobs run on the same server. The time to the job: by the "
    "store's clock, as the history of each schedule says. CPU: from before the first tick until 15 s after the last.",
    STORE_CPU: "The scripts are called in batches on a store without a server; it has the server's core. Fsync always "
    "is the default, no file is without the append-only file. A job's whole life is enqueue, claim and complete, user "
    "and system time of the store's whole process; inside a script: by the store's own statistics.",
    BINARY: "`dist/queuey` of `make binary`. The time from the start of `serve`, on an empty data directory, until "
    "the reply to a job that has run. A first start unpacks; a later one uses what it unpacked. Nothing is pinned.",
}
"""What a reader must know of each section."""
