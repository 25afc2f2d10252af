"""Clocks that are wrong. The store's decides what is due and what has lapsed; nobody asks a replica's."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from random import Random
from typing import ClassVar

from tests.faults.clocks.clock import HOUR, SHIM, Clock
from tests.faults.evidence.invariants import Evidence
from tests.faults.faults.base import Fault, every_call_answered, no_crashes
from tests.faults.load.calls import Caller
from tests.faults.system import preload
from tests.faults.system.rig import Rig, Setup


class WrongClock(Fault):
    """A library tells some process another time."""

    @classmethod
    def missing(cls) -> list[str]:
        return preload.missing()


class ReplicaClock(WrongClock):
    """A replica's clock is an hour off from its start, and then jumps to an hour off on the other side. No effect."""

    name = "replica-clock"

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self._offset = rng.choice((-HOUR, HOUR))

    def prepare(self, setup: Setup) -> None:
        self._clock = Clock(setup.folder, self._offset)
        library = preload.build(SHIM, setup.folder)
        self._victim = self.rng.randrange(setup.replicas)
        variables = {"LD_PRELOAD": str(library), **self._clock.variables}
        setup.replica_environment.setdefault(self._victim, {}).update(variables)

    async def inject(self, rig: Rig, caller: Caller) -> str:
        self._clock.set(-self._offset)
        return f"replica {self._victim} jumps from {self._offset:+.0f} s to {-self._offset:+.0f} s"

    def expect(self, evidence: Evidence) -> Iterator[str]:
        yield from no_crashes(evidence)
        yield from every_call_answered(evidence)


class StoreClock(WrongClock):
    """The store's clock jumps an hour forth and back, or back and forth, and a replica is killed meanwhile. No job is
    lost.

    Leases lapse at once by a jump forth, so jobs crash, at most twice here. What was put off while the clock was ahead
    stays so for the hour, which the end of the fault lets pass. Times in the store prove nothing then: of invariant 5
    the overlaps, and 6 and 7, cannot be told (`clock_moves`).
    """

    name = "store-clock"
    clock_moves: ClassVar[bool] = True

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self._jumps = rng.choice(((HOUR, 0.0, 2 * HOUR), (-HOUR, 0.0)))
        self._kills = self._jumps[0] < 0  # not where two jumps forth make jobs crash

    def prepare(self, setup: Setup) -> None:
        self._clock = Clock(setup.folder)
        preload.into_store(setup, preload.build(SHIM, setup.folder), self._clock.variables)
        setup.replica_flags += ["--retention", "24h"]  # else finished jobs are trimmed before they are looked at

    async def inject(self, rig: Rig, caller: Caller) -> str:
        for offset in self._jumps[:-1]:
            self._clock.set(offset)
            if self._kills:
                rig.busiest().send(signal.SIGKILL)
                await rig.ready()
            await asyncio.sleep(rig.timing.lease * self.rng.uniform(0.3, 1.2))
        killed = ", and a replica is killed" if self._kills else ""
        return f"to {' s, '.join(f'{offset:+.0f}' for offset in self._jumps)} s{killed}"

    async def heal(self, rig: Rig) -> None:
        self._clock.set(self._jumps[-1])

    def expect(self, evidence: Evidence) -> Iterator[str]:
        for job_id, _, stored in evidence.pairs():
            if stored.number("x") > 2:
                yield f"{job_id} has {stored.number('x')} crashes, by two jumps forth, or one and a kill"
