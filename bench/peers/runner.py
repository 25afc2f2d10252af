"""Measures one peer: starts a store and the peer's script, and reads what the script prints. It knows no peer."""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import IO, Final

from bench import cores
from bench.peers.catalog import MEMORY_JOBS, WIDE, Peer
from bench.peers.environments import ROOT
from bench.peers.stores import Running, free_port, store
from bench.servers import PLAN

SECONDS: Final = 60
"""For one line of a script, or its end."""
SAMPLES: Final = 100
UNCOUNTED: Final = 10
"""Jobs before the samples, while the worker comes up."""
PAUSE: Final = (0.02, 0.06)
"""Seconds between two samples, at random, so that no poll keeps step with them."""

Figures = dict[str, float]
"""By the name of the measurement: one, bulk and drain in jobs/s, memory in bytes, p50 and p99 in ms."""


class Script:
    """A running script of a peer."""

    def __init__(self, process: asyncio.subprocess.Process, log: IO[str]) -> None:
        self.process = process
        self._log = log

    async def read(self) -> dict[str, float]:
        """The next object that it prints. Raises RuntimeError with the end of its log when there is none."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(SECONDS):
                while line := await self.process.stdout.readline():
                    if line.startswith(b"{"):
                        values: dict[str, float] = json.loads(line)
                        return values
        except TimeoutError:
            raise RuntimeError(f"nothing came for {SECONDS} s; {self._complaint()}") from None
        raise RuntimeError(f"it ended; {self._complaint()}")

    async def tell(self) -> None:
        """Give it a line to act on."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        await self.process.stdin.drain()

    def _complaint(self) -> str:
        self._log.seek(0)
        lines = [line.strip() for line in self._log if line.strip()]
        return lines[-1][:300] if lines else "it logged nothing"


def _rate(said: dict[str, float]) -> float:
    """Jobs per second."""
    return said["jobs"] / said["seconds"]


class Runner:
    """Measures one peer, whose script is called by `command` in `folder`."""

    def __init__(self, peer: Peer, command: list[str], folder: Path) -> None:
        self.peer = peer
        self._command = command
        self._folder = folder
        self._port = 0

    async def measure(self, what: str) -> Figures:
        """Raises RuntimeError, or what the store raises."""
        self._port = free_port()
        async with store(self.peer.store) as running:
            match what:
                case "one":
                    return {"one": _rate(await self._enqueue(running, "enqueue-one", self.peer.one))}
                case "enqueue-wide":
                    return await self._enqueue_wide(running)
                case "bulk":
                    return {"bulk": _rate(await self._enqueue(running, "enqueue-bulk", self.peer.bulk))}
                case "memory":
                    return {"memory": await self._memory(running)}
                case "drain":
                    return {"drain": await self._drain(running, self.peer.concurrency)}
                case "drain-wide":
                    return {"drain-wide": await self._drain(running, WIDE)}
                case _:
                    return await self._pick_up(running)

    async def _memory(self, running: Running) -> float:
        """What a waiting job costs the store, in bytes, beside what the first jobs leave there once and for all."""
        await self._enqueue(running, self._fastest, 1)
        empty = await running.used_memory()
        said = await self._enqueue(running, self._fastest, MEMORY_JOBS)
        return (await running.used_memory() - empty) / int(said["enqueued"])

    @property
    def _fastest(self) -> str:
        """The verb that fills a queue."""
        return "enqueue-bulk" if self.peer.bulk else "enqueue-one"

    async def _enqueue_wide(self, running: Running) -> Figures:
        """What a broker is measured by: the rate and the p99 in ms, with 64 jobs under way."""
        said = await self._enqueue(running, "enqueue-wide", self.peer.wide_enqueue)
        return {"single": _rate(said), "single p99": said["p99"] * 1e3}

    async def _enqueue(self, running: Running, verb: str, jobs: int) -> dict[str, float]:
        """What the script said: the seconds, how many jobs were timed, and how many were enqueued in all."""
        async with AsyncExitStack() as stack:
            if self.peer.serves_http:
                await stack.enter_async_context(self._script("serve", running, PLAN.server))
            script = await stack.enter_async_context(self._script(verb, running, PLAN.load, jobs))
            said = await script.read()
            async with asyncio.timeout(SECONDS):
                await script.process.wait()
        return said

    async def _drain(self, running: Running, concurrency: int) -> float:
        """Jobs per second, from a tenth of a full queue to its end, by the clock of the worker."""
        jobs = self.peer.drain
        await self._enqueue(running, self._fastest, jobs)
        async with self._script("worker", running, PLAN.server, jobs, concurrency) as worker:
            first, last = await worker.read(), await worker.read()
        return (last["done"] - first["done"]) / (last["at"] - first["at"]) * 1e9

    async def _pick_up(self, running: Running) -> Figures:
        """From before a job is enqueued until its handler runs, one job at a time."""
        latencies = []
        async with (
            self._script("worker", running, PLAN.server, concurrency=self.peer.concurrency) as worker,
            self._script("pick-up", running, PLAN.load) as sender,
        ):
            for _ in range(UNCOUNTED + SAMPLES):
                await sender.tell()
                said = await worker.read()
                latencies.append((said["picked_up"] - said["sent"]) / 1e6)
                await asyncio.sleep(random.uniform(*PAUSE))
        cuts = statistics.quantiles(latencies[UNCOUNTED:], n=100, method="inclusive")
        return {"p50": cuts[49], "p99": cuts[98]}

    @asynccontextmanager
    async def _script(
        self, verb: str, running: Running, where: cores.Cores, jobs: int = 0, concurrency: int = 0
    ) -> AsyncIterator[Script]:
        """Run a verb of the peer's script; kill it at the end, since nothing of it is needed any more."""
        told = {"URL": running.url, "JOBS": jobs, "CONCURRENCY": concurrency or self.peer.concurrency}
        told["PORT"] = self._port
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        environment.update(self.peer.variables)
        environment.update({f"BENCH_{name}": str(value) for name, value in told.items()})
        pipe = asyncio.subprocess.PIPE
        with tempfile.TemporaryFile("w+", errors="replace") as log:
            process = await asyncio.create_subprocess_exec(
                *self._command, verb, cwd=self._folder, env=environment, stdin=pipe, stdout=pipe, stderr=log
            )
            try:
                cores.pin(process.pid, where)
                yield Script(process, log)
            finally:
                if process.returncode is None:
                    process.kill()
                await process.communicate()
