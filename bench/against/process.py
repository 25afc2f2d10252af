"""The user and system CPU time that a server's own process takes for a job, in rounds that alternate."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Final

from bench import cores, http_load
from bench.against.checkout import Revision
from bench.servers import Served, server

CONNECTIONS: Final = 16
TURNS: Final = 6
"""Of each side in a round."""
WARM_TURNS: Final = 1
SINGLE_JOBS: Final = 800
BATCH: Final = 1_000
BATCHES: Final = 6
"""Requests in a turn, each with so many jobs."""
WAIT_SECONDS: Final = 120
LOOK_SECONDS: Final = 0.02
"""Between two looks at a queue that is drained: rare enough not to be what is measured."""
FLAGS: Final = (
    *("--beat-interval", "1m", "--anonymous", "submit,read,work"),
    # Without syncs, since how many jobs share a call to the store would depend on how quick the disk is.
    *("--fsync", "no"),
    # A busy machine may keep the store away from its core for a second.
    *("--store-timeout", "30s", "--request-deadline", "1m"),
)
API_KEY: Final = "a-key-that-only-pauses-a-queue-of-a-benchmark"
HEADERS: Final = {"Content-Type": "application/json", "X-Api-Key": API_KEY}
BODY: Final = json.dumps({"type": "bench.noop", "payload": "x" * 98}).encode()

SINGLE: Final = "single enqueue over HTTP"
IN_BATCHES: Final = f"enqueue over HTTP in batches of {BATCH:,}"
DRAIN: Final = "claim, run and complete a no-op job"


Costs = dict[str, list[float]]
"""Microseconds of CPU per job, by load: one value for each round."""


@dataclass(frozen=True)
class Series:
    """What each side took. `again` is the commit once more, on another server: by what it differs is the spread."""

    first: Costs
    again: Costs
    tree: Costs


def rounds(commit: Revision, tree: Revision, count: int, folder: Path) -> Series:
    """Measure commit, tree and the commit again, `count` times, each time on new servers."""
    series = Series({}, {}, {})
    sides = [(series.first, commit), (series.tree, tree), (series.again, commit)]
    order = random.Random(1)
    for number in range(1, count + 1):
        print(f"CPU of the process, round {number} of {count} ...", file=sys.stderr)
        # A server that starts later has a slightly different machine, so none is always the last.
        order.shuffle(sides)
        with ExitStack() as stack:
            servers = [
                stack.enter_context(_side(revision, folder / f"{number}-{place}"))
                for place, (_, revision) in enumerate(sides)
            ]
            _alternate(servers, order)
        for (costs, _), one in zip(sides, servers, strict=True):
            for load, cost in one.costs().items():
                costs.setdefault(load, []).append(cost)
    return series


def _alternate(servers: Sequence[_Server], order: random.Random) -> None:
    """Take turns of a fraction of a second in changing order, so that all of them see the same machine."""
    turns = list(servers)
    for one in turns:
        one.warm_up()
    for _ in range(TURNS):
        order.shuffle(turns)
        for one in turns:
            one.take_turn()


@contextmanager
def _side(revision: Revision, folder: Path) -> Iterator[_Server]:
    folder.mkdir(parents=True)
    program = replace(revision.program, variables={**revision.program.variables, "QUEUEY_API_KEY": API_KEY})
    with server(folder / "data", *FLAGS, program=program) as served:
        yield _Server(served)


class _Server:
    """A server under load, and what it has taken."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._queue = _Queue(served)
        self._costs: Costs = {}

    def warm_up(self) -> None:
        """Turns that are not counted."""
        for _ in range(WARM_TURNS):
            self.take_turn()
        self._costs.clear()

    def take_turn(self) -> None:
        """Fill the paused queue in both ways, and drain it."""
        self._queue.control("pause")
        self._measure(SINGLE, SINGLE_JOBS, lambda: asyncio.run(_single(self._served, SINGLE_JOBS)))
        self._measure(IN_BATCHES, BATCH * BATCHES, lambda: asyncio.run(_in_batches(self._served, BATCHES)))
        self._measure(DRAIN, SINGLE_JOBS + BATCH * BATCHES, self._queue.drain)

    def costs(self) -> dict[str, float]:
        """Microseconds per job of each load: the mean of the turns."""
        return {load: mean(costs) for load, costs in self._costs.items()}

    def _measure(self, load: str, jobs: int, run: Callable[[], object]) -> None:
        before = cores.cpu_seconds(self._served.pid)
        run()
        self._costs.setdefault(load, []).append((cores.cpu_seconds(self._served.pid) - before) / jobs * 1e6)


async def _single(served: Served, jobs: int) -> None:
    request = http_load.post("/v1/jobs", BODY)
    await http_load.run(served.host, served.port, itertools.repeat(request, jobs), CONNECTIONS)


async def _in_batches(served: Served, batches: int) -> None:
    request = http_load.post("/v1/jobs/batch", b"\n".join([BODY] * BATCH), "application/x-ndjson")
    await http_load.run(served.host, served.port, itertools.repeat(request, batches), 2)


class _Queue:
    """The queue of a server, over HTTP."""

    def __init__(self, served: Served) -> None:
        self._http = http.client.HTTPConnection(served.host, served.port, timeout=60)

    def control(self, verb: str) -> None:
        self._ask("POST", f"/v1/queues/default/{verb}")

    def drain(self) -> None:
        """Resume it, and return when no job waits or runs."""
        self.control("resume")
        give_up_at = time.monotonic() + WAIT_SECONDS
        while self._left():
            if time.monotonic() > give_up_at:
                raise RuntimeError(f"the queue was not drained within {WAIT_SECONDS} s")
            time.sleep(LOOK_SECONDS)

    def _left(self) -> int:
        queue = json.loads(self._ask("GET", "/v1/queues/default"))
        return sum(int(queue[name]) for name in ("high", "default", "low", "running"))

    def _ask(self, method: str, path: str) -> bytes:
        self._http.request(method, path, b"{}" if method == "POST" else None, HEADERS)
        reply = self._http.getresponse()
        text = reply.read()
        if reply.status // 100 != 2:
            raise RuntimeError(f"{method} {path} answered {reply.status}: {text[:500]!r}")
        return text
