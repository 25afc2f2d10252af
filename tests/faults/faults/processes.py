"""Faults of the server's processes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

from tests.faults.evidence.invariants import Evidence
from tests.faults.faults.base import Fault, no_crashes
from tests.faults.faults.deeds import DeedFault, request
from tests.faults.load.calls import Caller
from tests.faults.load.handlers import TYPES, Deed
from tests.faults.system.rig import Replica, Rig


class KillServer(Fault):
    """SIGKILL of a replica while it runs jobs; sometimes of another one soon after."""

    name = "kill-server"
    pullers_die = True

    async def inject(self, rig: Rig, caller: Caller) -> str:
        victims = [rig.busiest()]
        if self.rng.random() < 0.3:
            victims.append(next(replica for replica in rig.replicas if replica is not victims[0]))
        killed = []
        for victim in victims:
            killed.append(f"replica {victim.number}, pid {victim.pid}")
            victim.send(signal.SIGKILL)
            await asyncio.sleep(self.rng.uniform(0.0, 0.2))
        return "; ".join(killed)


class KillCheckpoints(DeedFault):
    """SIGKILL of a replica while it runs jobs that have kept a checkpoint and logged. Their next attempts have it."""

    name = "kill-checkpoints"
    pullers_die = True

    def requests(self, rig: Rig) -> list[dict[str, Any]]:
        deed = Deed(take=rig.timing.lease * self.rng.uniform(1.0, 1.4), keeps=True)
        return [request(type, deed) for type in TYPES for _ in range(4)]

    async def inject(self, rig: Rig, caller: Caller) -> str:
        await super().inject(rig, caller)
        victim = rig.busiest()
        victim.send(signal.SIGKILL)
        return f"replica {victim.number}, pid {victim.pid}"

    def expect(self, evidence: Evidence) -> Iterator[str]:
        """An attempt begins once its checkpoint is kept. The last one lists those of all attempts."""
        again = logged = 0
        for job_id, job, stored in evidence.pairs():
            if job_id not in self.jobs:
                continue
            begun = sorted({start.token for start in job.starts}, key=lambda token: int(token.partition(".")[0]))
            kept = (stored.result or {}).get("kept") or []
            again += len(begun) > 1
            logged += any(token in stored.log for token in begun)
            if stored.status != "succeeded" or [token for token in kept if token in begun] != begun:
                yield f"{job_id} is {stored.status} with the checkpoints {kept}, and {begun} had begun"
        if not again:
            yield "no job with a checkpoint was run again"
        if not logged:
            yield "no line of any attempt was kept"


class StopServer(DeedFault):
    """SIGSTOP of a replica for longer than its leases last, then SIGCONT: it goes on as if nothing had been.

    Jobs of the fault's own take so long that some run elsewhere when it comes back with their stale results.
    """

    name = "stop-server"
    _victim: Replica | None = None

    def requests(self, rig: Rig) -> list[dict[str, Any]]:
        return [request("loop", Deed(take=rig.timing.lease * self.rng.uniform(0.3, 0.8))) for _ in range(8)]

    async def inject(self, rig: Rig, caller: Caller) -> str:
        await super().inject(rig, caller)
        self._victim = rig.busiest()
        self._victim.send(signal.SIGSTOP)
        self.hold = rig.timing.lease * self.rng.uniform(1.4, 2.0)
        return f"replica {self._victim.number} for {self.hold:.1f} s"

    async def heal(self, rig: Rig) -> None:
        if self._victim is not None:
            self._victim.send(signal.SIGCONT)


class TerminateServer(Fault):
    """SIGTERM of a replica: it drains, gives back what it cannot finish, and no job pays for it."""

    name = "terminate-server"

    async def inject(self, rig: Rig, caller: Caller) -> str:
        victim = rig.busiest()
        victim.send(signal.SIGTERM)
        if twice := self.rng.random() < 0.3:
            await asyncio.sleep(self.rng.uniform(0.02, 0.3))
            victim.send(signal.SIGTERM)
        return f"replica {victim.number}{', twice' if twice else ''}"

    def expect(self, evidence: Evidence) -> Iterator[str]:
        yield from no_crashes(evidence)
