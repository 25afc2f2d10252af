"""Faults of the connections between the replicas and the store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Final

from tests.faults.evidence.invariants import Evidence
from tests.faults.faults.base import Fault, no_crash_of_what_ran, no_crashes
from tests.faults.faults.deeds import request
from tests.faults.load.calls import Caller
from tests.faults.load.handlers import Deed
from tests.faults.load.pullers import PULLERS, Puller
from tests.faults.store.view import TERMINAL, read_store
from tests.faults.system.proxy import OFFER
from tests.faults.system.rig import Rig, Setup

OFFER_PATIENCE: Final = 10.0
"""Seconds until an offer is lost, and until the jobs that were offered have ended."""
OFFERED: Final = "offered"
"""A queue that only the fault's own worker serves."""


class ConnectionFault(Fault):
    """The store stands behind the proxy."""

    def prepare(self, setup: Setup) -> None:
        setup.external = True


class CutConnections(ConnectionFault):
    """Every connection is cut, several times; or the store cannot be reached at all for a while."""

    name = "cut-connections"

    async def inject(self, rig: Rig, caller: Caller) -> str:
        under_way = rig.proxy.in_flight()
        if self.rng.random() < 0.5:
            rig.proxy.part(True)
            self.hold = self.rng.uniform(0.3, 2.0) * rig.timing.lease
            return f"parted for {self.hold:.1f} s; calls cut: {dict(under_way)}"
        for _ in range(self.rng.randint(1, 5)):
            under_way += rig.proxy.in_flight()
            rig.proxy.cut()
            await asyncio.sleep(self.rng.uniform(0.0, 0.2))
        return f"calls cut: {dict(under_way)}"

    async def heal(self, rig: Rig) -> None:
        rig.proxy.part(False)

    def expect(self, evidence: Evidence) -> Iterator[str]:
        yield from no_crash_of_what_ran(evidence)


class CutOneWay(ConnectionFault):
    """Requests reach the store, and its replies reach nobody."""

    name = "cut-one-way"

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.hold = rng.uniform(0.5, 3.0)

    async def inject(self, rig: Rig, caller: Caller) -> str:
        rig.proxy.hold_replies(True)
        return f"for {self.hold:.1f} s"

    async def heal(self, rig: Rig) -> None:
        rig.proxy.hold_replies(False)

    def expect(self, evidence: Evidence) -> Iterator[str]:
        yield from no_crash_of_what_ran(evidence)


class Latency(ConnectionFault):
    """Every reply of the store takes 200 ms longer: slow, and nothing else."""

    name = "latency"

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.hold = rng.uniform(1.0, 2.0)

    async def inject(self, rig: Rig, caller: Caller) -> str:
        rig.proxy.delay(0.2)
        return f"for {self.hold:.1f} s"

    async def heal(self, rig: Rig) -> None:
        rig.proxy.delay(0)

    def expect(self, evidence: Evidence) -> Iterator[str]:
        yield from no_crashes(evidence)


class DropReplies(ConnectionFault):
    """The store does what it is asked, and a share of its replies is lost with the connection."""

    name = "drop-replies"

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.hold = rng.uniform(0.6, 1.2)  # so that the pauses between a claim's sendings end within its lease
        self._share = rng.choice((0.2, 0.5, 0.9))

    async def inject(self, rig: Rig, caller: Caller) -> str:
        rig.proxy.drop_replies(self._share, self.rng)
        return f"{self._share:.0%} of them for {self.hold:.1f} s"

    async def heal(self, rig: Rig) -> None:
        rig.proxy.drop_replies(0, self.rng)
        rig.note("healing", f"replies dropped: {dict(rig.proxy.dropped)}")

    def expect(self, evidence: Evidence) -> Iterator[str]:
        yield from no_crashes(evidence)


class LoseOffers(ConnectionFault):
    """The store claims jobs for an idle worker or a waiting request as it enqueues them, and half of the replies that
    would bring them are lost with the connection.

    The queues of the load often have a list set aside, and then get no offers. So a worker of the fault's own waits for
    a queue that nobody else serves."""

    name = "lose-offers"

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.hold = rng.uniform(0.6, 1.2)
        self._lost = 0
        self._jobs: list[str] = []
        self._stopping = asyncio.Event()
        self._pulling: asyncio.Task[None] | None = None

    async def inject(self, rig: Rig, caller: Caller) -> str:
        rig.proxy.drop_replies(0.5, self.rng, only=OFFER)
        urls = [replica.url for replica in rig.replicas]
        rng = Random(self.rng.random())
        puller = Puller(PULLERS + 1, rig.http, rig.ledger, urls, rng, rig.timing.lease, dies=False)
        self._pulling = asyncio.create_task(puller.run([OFFERED], self._stopping))
        with suppress(TimeoutError):
            async with asyncio.timeout(OFFER_PATIENCE):
                while not rig.proxy.dropped[OFFER]:
                    job = request("loop", Deed(), queue=OFFERED)
                    self._jobs.append(job["id"])
                    await caller.enqueue([job])
                    await asyncio.sleep(0.05)
        return f"half of them for {self.hold:.1f} s, after {len(self._jobs)} jobs"

    async def heal(self, rig: Rig) -> None:
        rig.proxy.drop_replies(0, self.rng)
        self._lost = rig.proxy.dropped[OFFER]
        rig.note("healing", f"replies dropped: {dict(rig.proxy.dropped)}")
        with suppress(TimeoutError):  # what has not ended by then is found by the checks
            async with asyncio.timeout(OFFER_PATIENCE):
                while not await self._are_done(rig):  # noqa: ASYNC110 - nothing tells when they are
                    await asyncio.sleep(0.1)
        await self.clean_up()

    async def _are_done(self, rig: Rig) -> bool:
        jobs = (await read_store(rig.store)).jobs
        return all(jobs[job_id].status in TERMINAL for job_id in self._jobs if job_id in jobs)

    async def clean_up(self) -> None:
        self._stopping.set()
        if self._pulling is not None:
            await self._pulling

    def expect(self, evidence: Evidence) -> Iterator[str]:
        if not self._lost:
            yield "no offer was lost"
        yield from no_crashes(evidence)
