"""Workers that poison jobs kill, in virtual time, over the real scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from queuey.protocol import ids
from queuey.protocol.records import NewJob, job_head, parse_fields
from queuey.store.asides import SUSPECTS, Wanted
from queuey.store.broker.broker import Broker
from queuey.store.connections.pipelined import StoreClient
from queuey.store.replies import Claimed, ClaimedJob
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards

START: Final = 1_800_000_000_000
STEP: Final = 1_000
LEASE: Final = 30_000
EXTEND: Final = 10_000
RESTART: Final = 2_000
CHILDREN: Final = 2
LISTS: Final = {"default": [("default", SUSPECTS)]}


@dataclass
class Job:
    """A job that runs for `runs` ms. A poison job kills its process at the end of them."""

    id: str
    poison: bool
    runs: int
    at: int
    crashes: int = 0
    ready: int = 0
    waited: int = 0
    status: str = ""
    """`done`, or `dead`; '' while it is under way."""


@dataclass
class Held:
    job: Job
    token: str
    since: int
    isolated: bool


@dataclass
class Worker:
    """It has slots, and child processes for suspects if `children`. Once killed it starts again under its name."""

    name: str
    slots: int
    children: int
    up_at: int = START
    held: dict[str, Held] = field(default_factory=dict)
    extended_at: int = START

    @property
    def isolates(self) -> int | None:
        """The number of suspects that it can isolate now; None without child processes."""
        return self.children - sum(each.isolated for each in self.held.values()) if self.children else None


class World:
    """Runs workers and jobs of one queue from START on."""

    def __init__(self, client: StoreClient, scripts: Scripts, seed: int, workers: Sequence[Worker]) -> None:
        self.random = Random(seed)
        self.broker = Broker(Shards(client, 1), scripts)
        self._client = client
        self.now = START
        self.jobs: dict[str, Job] = {}
        self.workers = workers
        self.killed = 0
        """How many workers died, apart from child processes."""
        self._claims = 0

    async def open(self, *, gate: bool = True) -> None:
        """Empty the store. Without the gate the older rule holds: the third crash is the end."""
        await self._client.flushall()
        if gate:
            await self._client.hset(self.broker.shards.keys[0].meta, "features", "aside")

    async def add(self, runs: int, *, poison: bool = False) -> None:
        job = Job(ids.new_id(), poison, runs, self.now, ready=self.now)
        self.jobs[job.id] = job
        head = job_head(queue="default", priority="default", dedupe="", dedupe_ttl_ms=1)
        new = NewJob(job.id, "default", "default", head, '{"type":"t"}', 0, 0, "", 1)
        await self.broker.jobs.enqueue(0, [new], now=self.now)

    @property
    def under_way(self) -> list[Job]:
        return [job for job in self.jobs.values() if not job.status]

    def dead(self, *, poison: bool) -> list[Job]:
        return [job for job in self.jobs.values() if job.status == "dead" and job.poison == poison]

    async def step(self) -> None:
        """Let a second pass: chores first, then each worker that is up."""
        self.now += STEP
        await self.broker.maintenance.promote(0, 1_000, now=self.now)
        await self._reap()
        if self.now % 5_000 == 0:
            await self.broker.maintenance.tidy_asides(0)
        for worker in self.random.sample(self.workers, len(self.workers)):
            if self.now >= worker.up_at:
                await self._turn(worker)

    async def _reap(self) -> None:
        delays = [self.random.randrange(5_000) for _ in range(7)]
        for job_id, outcome in (await self.broker.maintenance.reap(0, 1_000, delays, now=self.now)).outcomes:
            job = self.jobs[job_id]
            job.crashes, job.ready = job.crashes + 1, self.now
            job.status = "dead" if outcome == "dead" else ""

    async def _turn(self, worker: Worker) -> None:
        ended = [each for each in worker.held.values() if self.now >= each.since + each.job.runs]
        if any(each.job.poison and not each.isolated for each in ended):
            self.kill(worker)
            return
        for each in ended:
            await self._end(worker, each)
        if self.now >= worker.extended_at + EXTEND:
            worker.extended_at = self.now
            await self.broker.leases.extend(
                0, LEASE, [(each.job.id, each.token) for each in worker.held.values()], now=self.now
            )
        await self._claim(worker)

    def kill(self, worker: Worker) -> None:
        """The worker dies with all that it runs, and starts again."""
        self.killed += 1
        worker.held.clear()
        worker.up_at = self.now + RESTART

    async def _end(self, worker: Worker, held: Held) -> None:
        del worker.held[held.job.id]
        if held.job.poison:  # only its child process dies
            error = '{"attempt":1,"kind":"worker_died","message":"its process died"}'
            await self.broker.leases.fail(0, [(held.job.id, held.token, error, 0, True)], now=self.now)
            held.job.status = "dead"
        else:
            assert await self.broker.leases.complete(0, [(held.job.id, held.token, "")], now=self.now) == ["ok"]
            held.job.status = "done"

    async def _claim(self, worker: Worker) -> None:
        free = worker.slots - sum(not each.isolated for each in worker.held.values())
        if free <= 0:
            return
        crashed = any(each.job.crashes for each in worker.held.values())
        claimed = await self._send(worker, free, crashed, None)
        if claimed.asides is not None and not claimed.jobs:
            claimed = await self._send(worker, free, crashed, Wanted(take=LISTS if worker.isolates else {}))
        for job in claimed.jobs:
            await self._take_in(worker, job)

    async def _send(self, worker: Worker, free: int, crashed: bool, wanted: Wanted | None) -> Claimed:
        self._claims += 1
        return await self.broker.leases.claim(
            0,
            claim_id=f"c{self._claims}",
            worker=worker.name,
            lease_ms=LEASE,
            limit=free,
            queues=["default"],
            suspects=0 if crashed else 1,
            isolates=worker.isolates,
            wanted=wanted,
            now=self.now,
        )

    async def _take_in(self, worker: Worker, claimed: ClaimedJob) -> None:
        job = self.jobs[claimed.id]
        assert not job.status, "it has ended"
        job.waited = max(job.waited, self.now - job.ready)
        isolated = worker.children > 0 and claimed.crashes >= 2
        assert (await self._mark(job) == "c") == isolated
        worker.held[job.id] = Held(job, claimed.token, self.now, isolated)
        for each in worker.held.values() if len(worker.held) > 1 else ():
            assert await self._mark(each.job) != "a", "it is not by itself any more"

    async def _mark(self, job: Job) -> str | None:
        """Return how the claim has marked a suspect: `c`, `a`, or None."""
        text: Any = await self._client.get(self.broker.shards.keys[0].state(job.id))
        return parse_fields(text.decode().partition("\n")[0]).get("A")
