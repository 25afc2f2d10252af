"""`python -m bench.limits [--runs N]`: what this machine allows, and how much of it Queuey reaches in the same runs."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

import uvloop

from bench import cores, targets
from bench.limits.runs import CONNECTIONS, run
from bench.limits.shares import Line, Run, Share
from bench.report import Report, Section
from bench.servers import PLAN
from queuey import __version__

MOST_RUNS: Final = 20

SHARES: Final = (
    Share("single", "uvicorn", "rate", "single enqueue over HTTP / bare uvicorn", targets.SHARE_OF_UVICORN.must),
    Share("single", "starlette", "rate", "single enqueue over HTTP / bare Starlette"),
    Share("batch", "enqueues", "rate", "batch enqueue over HTTP / the store alone, 4 batches at a time"),
    Share("batch", "enqueues one by one", "rate", "batch enqueue over HTTP / the store alone, one batch at a time"),
    Share("drain", "claims and completes", "rate", "drain / claim and complete straight on the store"),
    Share("pick-up p50", "pick-up limit", "time", "pick-up over HTTP, p50: way in + 2 (fdatasync + round trip)"),
    Share(
        "pick-up in process p50", "pick-up in process limit", "time", "pick-up in process, p50: 2 (fdatasync + trip)"
    ),
    Share("half load p50", "uvicorn half load p50", "time", "single enqueue at half load, p50 / bare uvicorn's"),
    Share("half load p99", "uvicorn half load p99", "time", "single enqueue at half load, p99 / bare uvicorn's"),
)
FIGURES: Final = (
    Line("single", f"single enqueue over HTTP, {CONNECTIONS} connections", "jobs/s"),
    Line("batch", "batch enqueue over HTTP, 1,000 a request", "jobs/s", targets.BATCH.must),
    Line("drain", "drained by one process, 20,000 no-op jobs waiting", "jobs/s"),
    Line("pick-up p50", "pick-up when idle, over HTTP, p50", "ms", targets.PICK_UP_HTTP.must),
    Line("pick-up p99", "pick-up when idle, over HTTP, p99", "ms", targets.PICK_UP_HTTP_P99.must),
    Line("pick-up in process p50", "pick-up when idle, enqueued in process, p50", "ms", targets.PICK_UP_INSIDE.must),
    Line(
        "pick-up in process p99", "pick-up when idle, enqueued in process, p99", "ms", targets.PICK_UP_INSIDE_P99.must
    ),
    Line("half load p50", "single enqueue at half load, p50", "ms"),
    Line("half load p99", "single enqueue at half load, p99", "ms"),
)
OVER_HTTP: Final = (
    Line("uvicorn", f"bare uvicorn ASGI, {CONNECTIONS} connections", "requests/s"),
    Line("starlette", f"bare Starlette, {CONNECTIONS} connections", "requests/s"),
    Line("uvicorn half load p50", "bare uvicorn at half load, p50", "ms"),
    Line("uvicorn half load p99", "bare uvicorn at half load, p99", "ms"),
    Line("way in p50", "way in: a request reaches the app of bare uvicorn, p50", "ms"),
    Line("way in p99", "the same, p99", "ms"),
)
STORE: Final = (
    Line("ping p50", "redis-py PING, one at a time, p50", "ms"),
    Line("ping p99", "the same, p99", "ms"),
    Line("pings at once", f"redis-py PING, {CONNECTIONS} at a time", "per s"),
    Line("script p50", "empty EVALSHA, one at a time, p50: the round trip", "ms"),
    Line("script p99", "the same, p99", "ms"),
    Line("write p50", "SET of 100 bytes, synced, one at a time, p50", "ms"),
    Line("write p99", "the same, p99", "ms"),
    Line("piped sets", "SET of 100 bytes in pipelines of 512, each synced once", "per s"),
    Line("enqueues one by one", "enqueue script, 512 jobs a batch, one batch at a time", "jobs/s"),
    Line("enqueues", "enqueue script, 512 jobs a batch, 4 batches at a time", "jobs/s"),
    Line("claims and completes", "claim and complete scripts, 100 jobs each, 4 calls at a time", "jobs/s"),
)
DISK: Final = (
    Line("sync p50", "fdatasync after an append of 400 bytes, p50", "ms"),
    Line("sync p99", "the same, p99", "ms"),
    Line("pick-up limit", "limit of pick-up over HTTP: way in + 2 fdatasyncs + 2 round trips", "ms"),
    Line("pick-up in process limit", "limit of pick-up in process: 2 fdatasyncs + 2 round trips", "ms"),
)
SHARES_NOTE: Final = (
    "1 is all of the limit. Each run measures a limit and at once the figure beside it, and a share is of two numbers "
    "of one run: of a rate, figure / limit; of a time, limit / figure."
)
HTTP_NOTE: Final = (
    "The request of a single enqueue, answered with the same headers and as many bytes. uvloop, httptools, no access "
    "log. Half load: requests come at random times, half as many a second as the same server has just answered at most."
)
STORE_NOTE: Final = (
    "Over its unix socket, with nothing else at work: the store on the core that is the server's otherwise, this "
    "process on the load generator's. Append-only file, fsync always, as the embedded store has it."
)


def sections(runs: Sequence[Run]) -> list[Section]:
    return [
        Section("Shares of the limits", [share.row(runs) for share in SHARES], SHARES_NOTE),
        Section("Queuey, in the same runs", [line.row(runs) for line in FIGURES]),
        Section("Limits over HTTP", [line.row(runs) for line in OVER_HTTP], HTTP_NOTE),
        Section("Limits of the store", [line.row(runs) for line in STORE], STORE_NOTE),
        Section("Limits of the disk", [line.row(runs) for line in DISK], "In a folder beside the data directories."),
    ]


def _runs(text: str) -> int:
    value = int(text)
    if not 1 <= value <= MOST_RUNS:
        raise argparse.ArgumentTypeError(f"must be from 1 to {MOST_RUNS}")
    return value


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.limits", description=__doc__)
    parser.add_argument("--runs", type=_runs, default=3, help="of everything, one after the other (default 3)")
    count = parser.parse_args().runs
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    cores.pin(os.getpid(), PLAN.load)
    runs = []
    for number in range(1, count + 1):

        def say(what: str, number: int = number) -> None:
            print(f"run {number} of {count}: {what} ...", file=sys.stderr)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runs.append(runner.run(run(say)))
    title = f"The limits of this machine, and Queuey {__version__}: fsync always, concurrency 100; {PLAN}"
    report = Report("limits", title, sections(runs))
    path = report.save()
    print(f"{report.markdown()}\nsaved as {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
