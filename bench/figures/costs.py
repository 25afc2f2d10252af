"""What a job takes of the store: memory, and CPU."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.figures import filling
from bench.servers import server, store
from queuey.store.broker.broker import Broker
from queuey.store.replies import Caps

JOBS: Final = 20_000
RESIDENT_JOBS: Final = 200_000
SHORT_LEASE: Final = "5s"
WARM_ROUNDS: Final = 10
"""Before anything is counted."""
SPLIT_ROUNDS: Final = 40
"""In which the store is asked after each script how long it took."""
FSYNC_ALWAYS: Final = ()
NO_FILE: Final = ("--appendonly", "no")
LATER_MS: Final = 2 * 3_600_000
"""Past the retention of everything."""
TRIM_BATCH: Final = 500


async def memory(folder: Path, jobs: int = JOBS) -> tuple[float, float]:
    """Bytes per waiting job with a payload of 100 bytes, and per finished one with a result of 100 bytes as well.

    A claim is remembered for as long as its leases last; finished jobs are weighed when the last has been forgotten."""
    with server(folder / "data", "--lease", SHORT_LEASE) as served:
        async with filling.broker_at(served.store_url) as broker:
            await filling.pause(broker)
            empty = await _used(broker)
            await filling.fill(broker, jobs, filling.body("bench.echo"))
            waiting = await _used(broker)
            await filling.resume(broker)
            await filling.until_succeeded(broker, jobs)
            await _until_claims_are_forgotten(broker)
            finished = await _used(broker)
    return (waiting - empty) / jobs, (finished - empty) / jobs


async def resident(folder: Path, jobs: int = RESIDENT_JOBS) -> float:
    """Bytes by which the resident memory of the server and its store grows for a job that waits. Linux only."""
    with server(folder / "data") as served:
        async with filling.broker_at(served.store_url) as broker:
            await filling.pause(broker)
            await filling.fill(broker, jobs // 10)  # so that both have their buffers
            before = sum(map(_resident_bytes, (served.pid, served.store_pid)))
            await filling.fill(broker, jobs)
            after = sum(map(_resident_bytes, (served.pid, served.store_pid)))
    return (after - before) / jobs


def _resident_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024


async def _until_claims_are_forgotten(broker: Broker) -> None:
    give_up_at = time.monotonic() + filling.WAIT_SECONDS
    pattern = broker.shards.keys[0].claim("*")
    while [key async for key in broker.shards.client.scan_iter(pattern, count=10_000)]:
        filling.check_time(give_up_at, "the claims were not forgotten")
        await asyncio.sleep(1)


async def _used(broker: Broker) -> int:
    """Without the buffers of connections and of the append-only file, which come and go."""
    info = await broker.shards.client.info("memory")
    return int(info["used_memory"]) - int(info["mem_clients_normal"]) - int(info["mem_aof_buffer"])


@dataclass(frozen=True)
class Cpu:
    """Microseconds of the store per job. `life`: the CPU of its whole process; the others: the time in a script, as its
    command statistics have it."""

    life: float
    enqueue: float
    claim: float
    complete: float


async def cpu(folder: Path, batch: int, options: tuple[str, ...], jobs: int = JOBS) -> Cpu:
    """Enqueue, claim and complete jobs in batches on a store that has nothing else to do."""
    with store(folder / "store", *options) as url:
        async with filling.broker_at(url) as broker:
            lives = _Lives(broker, batch)
            for _ in range(WARM_ROUNDS):
                await lives.round()
            before = await _cpu_seconds(broker)
            for _ in range(jobs // batch):
                await lives.round()
            life = (await _cpu_seconds(broker) - before) / (jobs // batch * batch)
            enqueue, claim, complete = await lives.split(SPLIT_ROUNDS)
    return Cpu(life * 1e6, enqueue, claim, complete)


async def trim(folder: Path, jobs: int = JOBS) -> float:
    """Microseconds of the store's CPU per finished job that is removed, once its retention is over."""
    with store(folder / "store") as url:
        async with filling.broker_at(url) as broker:
            lives = _Lives(broker, TRIM_BATCH)
            for _ in range(jobs // TRIM_BATCH):
                await lives.round()
            later = time.time_ns() // 1_000_000 + LATER_MS
            before = await _cpu_seconds(broker)
            removed = 0
            for _ in range(jobs // TRIM_BATCH):
                removed += (await broker.maintenance.trim(0, TRIM_BATCH, Caps(), now=later)).finished
            used = await _cpu_seconds(broker) - before
    if removed != jobs // TRIM_BATCH * TRIM_BATCH:
        raise RuntimeError(f"{removed} of {jobs} finished jobs were removed")
    return used / removed * 1e6


async def _cpu_seconds(broker: Broker) -> float:
    info = await broker.shards.client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


class _Lives:
    """Whole lives of jobs, a batch of them at a time."""

    def __init__(self, broker: Broker, batch: int) -> None:
        self._broker = broker
        self._batch = batch
        self._text = filling.body()
        self._rounds = 0
        self._held: list[tuple[str, str, str]] = []

    async def round(self) -> None:
        await self._enqueue()
        await self._claim()
        await self._complete()

    async def _enqueue(self) -> None:
        await self._broker.jobs.enqueue(0, [filling.new_job(self._text) for _ in range(self._batch)])

    async def _claim(self) -> None:
        self._rounds += 1
        claimed = await self._broker.leases.claim(
            0,
            claim_id=f"claim{self._rounds:07}",
            worker="bench",
            lease_ms=30_000,
            limit=self._batch,
            queues=["default"],
        )
        self._held = [(job.id, job.token, "null") for job in claimed.jobs]

    async def _complete(self) -> None:
        statuses = await self._broker.leases.complete(0, self._held)
        if statuses != ["ok"] * self._batch:
            raise RuntimeError("not every job of a batch was completed")

    async def split(self, rounds: int) -> list[float]:
        """Microseconds per job in each of the three scripts."""
        steps = (self._enqueue, self._claim, self._complete)
        totals = [0.0] * len(steps)
        for _ in range(rounds):
            for number, step in enumerate(steps):
                before = await self._in_scripts()
                await step()
                totals[number] += await self._in_scripts() - before
        return [total / (rounds * self._batch) for total in totals]

    async def _in_scripts(self) -> float:
        stats = await self._broker.shards.client.info("commandstats")
        return float(stats["cmdstat_evalsha"]["usec"])
