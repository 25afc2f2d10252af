"""Faults of the connections between the replicas and the store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Final

from tests.faults.evidence.invariants import Evidence
from tests.faults.faults.base import Fault, no_crash_of_what_ran, no_crashes
from tests.faults.load.calls import Caller
from tests.faults.system.proxy import OFFER
from tests.faults.system.rig import Rig, Setup

OFFER_PATIENCE: Final = 10.0
"""Seconds until an offer is lost."""


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
    would bring them are lost with the connection."""

    name = "lose-offers"

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.hold = rng.uniform(0.6, 1.2)

    async def inject(self, rig: Rig, caller: Caller) -> str:
        rig.proxy.drop_replies(0.5, self.rng, only=OFFER)
        with suppress(TimeoutError):  # on a busy machine few workers are idle, and so there are few offers
            async with asyncio.timeout(OFFER_PATIENCE):
                while not rig.proxy.dropped[OFFER]:  # noqa: ASYNC110 - nothing tells when one is lost
                    await asyncio.sleep(0.02)
        return f"half of them for {self.hold:.1f} s"

    async def heal(self, rig: Rig) -> None:
        rig.proxy.drop_replies(0, self.rng)
        rig.note("healing", f"replies dropped: {dict(rig.proxy.dropped)}")

    def expect(self, evidence: Evidence) -> Iterator[str]:
        # There are no offers while a list is set aside, so in some rounds none is lost. The note says how many were.
        yield from no_crashes(evidence)
