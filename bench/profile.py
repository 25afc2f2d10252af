"""`python -m bench.profile LOAD`: where the time of the server and of its store goes, to explain a missed target.

The server samples its own stack at each tick of its CPU time while the load lasts, and the store counts its
commands. Printed are the CPU of each process for a job, the functions of the server by their own time and with what
they call, and the store's commands. Time in the kernel and in compiled code counts for the Python function that called
it; the event loop itself is `run_to_end`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import uvloop

from bench import cores, http_load
from bench.figures import enqueueing, filling, pulling
from bench.report import grid, machine
from bench.servers import PLAN, THIS, Served, server
from bench.stacks import OUTPUT, Stacks
from queuey.store.broker.broker import Broker

JOBS: Final = 120_000
BATCHES: Final = 600
SHOWN: Final = 25
"""Lines of each table."""


@dataclass(frozen=True)
class Load:
    """A load: what is there before the clock starts, and the work itself, which returns how many jobs it was."""

    flags: tuple[str, ...]
    prepare: Callable[[Served, Broker], Awaitable[None]]
    run: Callable[[Served, Broker], Awaitable[int]]


async def _nothing(served: Served, broker: Broker) -> None:
    await enqueueing.load(served, 100, enqueueing.CONNECTIONS)


async def _fill(served: Served, broker: Broker) -> None:
    await filling.pause(broker)
    await filling.fill(broker, JOBS)


async def _fill_to_pull(served: Served, broker: Broker) -> None:
    await filling.fill(broker, JOBS)


async def _single(served: Served, broker: Broker) -> int:
    await enqueueing.load(served, JOBS, enqueueing.CONNECTIONS)
    return JOBS


async def _batch(served: Served, broker: Broker) -> int:
    requests = itertools.repeat(enqueueing.one_batch(), BATCHES)
    await http_load.run(served.host, served.port, requests, enqueueing.BATCH_CONNECTIONS)
    return BATCHES * enqueueing.BATCH


async def _drain(served: Served, broker: Broker) -> int:
    await filling.resume(broker)
    await filling.until_succeeded(broker, JOBS)
    return JOBS


async def _pull(served: Served, broker: Broker) -> int:
    return await pulling.all_of_them(served)


LOADS: Final = {
    "single": Load(enqueueing.API_ONLY, _nothing, _single),
    "batch": Load(enqueueing.API_ONLY, _nothing, _batch),
    "drain": Load(("--concurrency", "256"), _fill, _drain),
    "pull": Load(enqueueing.API_ONLY, _fill_to_pull, _pull),
}


async def profile(load: Load, folder: Path) -> str:
    """Run the load on a new server, and return the report."""
    output = folder / "stacks.json"
    program = replace(THIS, variables={OUTPUT: str(output)}, app="bench.stacks:app")
    with server(folder / "data", *load.flags, program=program) as served:
        async with filling.broker_at(served.store_url) as broker:
            await load.prepare(served, broker)
            await broker.shards.client.config_resetstat()
            before = [cores.cpu_seconds(pid) for pid in (served.pid, served.store_pid, os.getpid())]
            os.kill(served.pid, Stacks.TOGGLE)
            jobs = await load.run(served, broker)
            os.kill(served.pid, Stacks.TOGGLE)
            after = [cores.cpu_seconds(pid) for pid in (served.pid, served.store_pid, os.getpid())]
            stacks = await _written(output)
            commands: dict[str, Any] = await broker.shards.client.info("commandstats")
    used = [(late - early) / jobs * 1e6 for early, late in zip(before, after, strict=True)]
    return "\n\n".join([_cpu(jobs, used), *_functions(stacks), _commands(commands, jobs)])


async def _written(output: Path) -> dict[str, dict[str, int]]:
    """What the server has sampled, once it has written it."""
    give_up_at = time.monotonic() + filling.WAIT_SECONDS
    while not output.exists():
        filling.check_time(give_up_at, "the server did not write its samples")
        await asyncio.sleep(filling.POLL_SECONDS)
    found: dict[str, dict[str, int]] = json.loads(output.read_text())
    return found


def _cpu(jobs: int, used: list[float]) -> str:
    rows = [[name, f"{value:.2f}"] for name, value in zip(("server", "store", "load generator"), used, strict=True)]
    return f"{jobs:,} jobs\n\n" + grid(["process", "CPU a job, µs"], rows)


def _functions(stacks: dict[str, dict[str, int]]) -> list[str]:
    """A table by own time, and one by the time with what a function calls."""
    tables = []
    for kind, words in (("own", "own time"), ("whole", "with what it calls")):
        counts = stacks[kind]
        total = max(1, sum(stacks["own"].values()))
        most = sorted(counts.items(), key=lambda item: -item[1])[:SHOWN]
        rows = [[name, f"{100 * count / total:.1f} %"] for name, count in most]
        tables.append(grid([f"function of the server, {total:,} samples", words], rows))
    return tables


def _commands(stats: dict[str, Any], jobs: int) -> str:
    """What the store's own statistics say of each command, those inside scripts included."""
    found = sorted(stats.items(), key=lambda item: -item[1]["usec"])[:SHOWN]
    rows = [
        [name.removeprefix("cmdstat_"), f"{found['calls'] / jobs:.3f}", f"{found['usec'] / jobs:.2f}"]
        for name, found in found
    ]
    return grid(["command of the store", "calls a job", "µs a job"], rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.profile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("load", choices=LOADS)
    arguments = parser.parse_args()
    cores.pin(os.getpid(), PLAN.load)
    with (
        tempfile.TemporaryDirectory(prefix="queuey-profile-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        print(f"{machine()}\n\n{runner.run(profile(LOADS[arguments.load], Path(folder)))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
