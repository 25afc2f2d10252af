"""Replicas of one queue whose Apps do not know the same types."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import ClassVar, Final

from tests.faults.evidence.invariants import Evidence
from tests.faults.evidence.ledger import Started
from tests.faults.faults.base import Fault, no_crashes
from tests.faults.faults.deeds import request
from tests.faults.load.calls import Caller
from tests.faults.load.handlers import FRESH, LOOPS_PATH, NEWER_PATH, OTHERS_PATH, Deed
from tests.faults.store.view import read_store
from tests.faults.system.rig import Replica, Rig, Setup

PATIENCE: Final = 30.0
PAUSE: Final = 0.1
MAX_BATCHES: Final = 400
SHARDS: Final = 2
LONG_LEASE: Final = 10.0
"""Seconds. While many processes start, a replica may be late to renew its leases. No job may pay for that."""


class AppsFault(Fault):
    """Jobs of types that not every replica knows come all the while, to a queue that only replicas serve."""

    types: ClassVar[tuple[str, ...]]
    stops: ClassVar[int] = 0
    """Replicas that are asked to stop. Each may release a job once."""

    def prepare(self, setup: Setup) -> None:
        setup.shards = SHARDS

    async def inject(self, rig: Rig, caller: Caller) -> str:
        self.jobs: list[str] = []
        stopping = asyncio.Event()
        sending = asyncio.create_task(self._send(caller, stopping))
        try:
            await self._until_met(rig)
            return await self.change(rig)
        finally:
            stopping.set()
            await sending

    async def change(self, rig: Rig) -> str:
        """Replace or kill replicas. Returns what was done."""
        raise NotImplementedError

    async def _send(self, caller: Caller, stopping: asyncio.Event) -> None:
        for _ in range(MAX_BATCHES):
            deed = Deed(take=round(self.rng.uniform(0.0, 0.2), 3))
            priority = self.rng.choice(("high", "default", "low"))
            batch = [request(type, deed, priority=priority) for type in self.types]
            self.jobs += [one["id"] for one in batch]
            await caller.enqueue(batch)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), PAUSE)
                return

    async def _until_met(self, rig: Rig) -> None:
        """Wait until a replica has given back a job of a type that it does not know, in whatever way."""
        async with asyncio.timeout(PATIENCE):
            met = False
            while not met:
                await asyncio.sleep(PAUSE)
                counters = (await read_store(rig.store)).counters
                met = bool(counters.get("set_aside") or counters.get("released"))

    def expect(self, evidence: Evidence) -> Iterator[str]:
        if not evidence.view.counters.get("set_aside"):
            yield "nothing was set aside"
        for job_id in self.jobs:
            stored = evidence.view.jobs.get(job_id)
            if stored is None:
                continue  # whether it may be missing is for the invariants
            if stored.status != "succeeded":
                yield f"{job_id}, a {stored.type}, is {stored.status} after {stored.kinds}"
            # A worker that does not know the type meets a job once, until it is set aside.
            if stored.number("n") > 2 * (1 + stored.number("x")) + self.stops:
                yield f"{job_id}, a {stored.type}, was claimed {stored.number('n')} times: {stored.state}"
        for job_id, _, stored in evidence.pairs():
            if "unknown_type" in stored.kinds:
                yield f"{job_id}, a {stored.type}, has {stored.kinds}"


class Roll(AppsFault):
    """Four replicas are replaced one by one by a version that knows a new type, of which there are jobs already."""

    name = "roll"
    types = ("loop", "thread", FRESH)
    stops = 4

    def prepare(self, setup: Setup) -> None:
        super().prepare(setup)
        setup.replicas = self.stops
        setup.timing = replace(setup.timing, lease=LONG_LEASE)

    async def change(self, rig: Rig) -> str:
        for replica in rig.replicas:
            replica.app = NEWER_PATH
            replica.send(signal.SIGTERM)
            await replica.started_again(rig.http, 2)
        return f"{len(rig.replicas)} replicas"

    def expect(self, evidence: Evidence) -> Iterator[str]:
        yield from super().expect(evidence)
        yield from no_crashes(evidence)


class RollTen(Roll):
    """Ten replicas are replaced one by one."""

    name = "roll-ten"
    stops = 10
    is_long = True
    round_patience = 240.0


class TwoApps(AppsFault):
    """Two replicas have no type in common, and are killed in turn. What one does not know waits for the other."""

    name = "two-apps"
    types = ("loop", "thread")

    def prepare(self, setup: Setup) -> None:
        super().prepare(setup)
        setup.apps = {0: LOOPS_PATH, 1: OTHERS_PATH}

    async def change(self, rig: Rig) -> str:
        one, other = self.rng.sample(rig.replicas, 2)
        for victim in (one, other, one):
            starts = len(victim.pids)
            victim.send(signal.SIGKILL)
            await victim.started_again(rig.http, starts + 1)
            await self._until_it_lives(rig, victim)
        return f"replicas {one.number}, {other.number}, {one.number}"

    async def _until_it_lives(self, rig: Rig, replica: Replica) -> None:
        """Wait until the replica has begun a job since its last start."""
        async with asyncio.timeout(PATIENCE):
            pids: set[int] = set()
            while replica.pid not in pids:
                await asyncio.sleep(PAUSE)
                pids = {event.pid for event in rig.new_events() if isinstance(event, Started)}
