"""A worker that has lost its lease and does not know."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from random import Random
from typing import Final

from tests.faults.evidence.invariants import Evidence
from tests.faults.evidence.ledger import Started
from tests.faults.faults.base import Fault
from tests.faults.faults.deeds import request
from tests.faults.load.calls import Caller
from tests.faults.load.handlers import Deed
from tests.faults.system.rig import Replica, Rig

PATIENCE: Final = 20.0


class StaleResult(Fault):
    """A replica is stopped until its job runs anew elsewhere. Its result comes at once then, and must be refused."""

    name = "stale-result"

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.hold = 0.0
        self._victim: Replica | None = None
        self._job = ""

    async def inject(self, rig: Rig, caller: Caller) -> str:
        job = request("loop", Deed(take=rig.timing.lease * self.rng.uniform(0.5, 0.9)))
        self._job = job["id"]
        (answer,) = await caller.enqueue([job])
        if answer.outcome != "ok":
            raise RuntimeError(f"the fault's own job was not taken: {answer}")
        pid = await self._begun(rig, claim=1)
        self._victim = next(replica for replica in rig.replicas if replica.pid == pid)
        self._victim.send(signal.SIGSTOP)
        other = await self._begun(rig, claim=2)
        return f"replica {self._victim.number}, until {self._job} ran in {other}"

    async def _begun(self, rig: Rig, claim: int) -> int:
        """Wait until that claim of the job has. Returns in which process. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for event in rig.new_events():
                    if isinstance(event, Started) and event.job == self._job and event.claim == claim:
                        return event.pid
                await asyncio.sleep(0.01)

    async def heal(self, rig: Rig) -> None:
        if self._victim is not None:
            self._victim.send(signal.SIGCONT)

    def expect(self, evidence: Evidence) -> Iterator[str]:
        stored = evidence.view.jobs[self._job]
        if (stored.status, stored.number("n"), stored.number("x")) != ("succeeded", 2, 1):
            yield f"{self._job} is {stored.status} after {stored.number('n')} claims and {stored.number('x')} crashes"
