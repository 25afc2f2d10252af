"""Signals to more than one process: from a terminal that closes, and from a service manager that asks all at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar

from tests.faults.evidence.invariants import Evidence
from tests.faults.faults.base import Fault, no_crash_of_what_ran, no_crashes
from tests.faults.faults.deeds import DeedFault, request
from tests.faults.load.calls import Caller
from tests.faults.load.handlers import Deed
from tests.faults.store.processes import descendants
from tests.faults.system.rig import Replica, Rig, Setup


def ended_in_order(replica: Replica) -> Iterator[str]:
    if replica.ends[:1] != [0]:
        yield f"replica {replica.number} was to drain, and its exit codes are {replica.ends}"


class HangUp(Fault):
    """SIGHUP to the process group of a replica, sometimes twice: it drains as after SIGTERM, and no job pays for it."""

    name = "hang-up"
    _victim: Replica

    def choose(self, rig: Rig) -> Replica:
        return rig.busiest()

    async def inject(self, rig: Rig, caller: Caller) -> str:
        self._victim = self.choose(rig)
        self._victim.hang_up()
        if self.rng.random() < 0.3:
            await asyncio.sleep(self.rng.uniform(0.02, 0.3))
            if len(self._victim.pids) == 1:  # it has not been started again
                self._victim.hang_up()
                return f"replica {self._victim.number}, twice"
        return f"replica {self._victim.number}"

    def expect(self, evidence: Evidence) -> Iterator[str]:
        yield from no_crashes(evidence)
        yield from ended_in_order(self._victim)


class HangUpProcesses(HangUp):
    """The same to a parent of two processes, which get the signal too."""

    name = "hang-up-processes"

    def prepare(self, setup: Setup) -> None:
        setup.replica_flags += ["--processes", "2"]

    def choose(self, rig: Rig) -> Replica:
        return self.rng.choice(rig.replicas)


class TerminateAll(DeedFault):
    """SIGTERM to a replica, its store and its handlers' processes at once, as from systemd with KillMode=control-group.

    The store is started again, and a stop costs no attempt, also in child processes.
    """

    name = "terminate-all"
    replays: ClassVar[bool] = False  # a second run would hide that the first one is dead
    drain_timeout: ClassVar[float] = 3.0
    """Seconds: enough for the jobs that run, and to store how they ended once the store is back."""
    _victim: Replica

    def prepare(self, setup: Setup) -> None:
        setup.timing = replace(setup.timing, drain_timeout=self.drain_timeout)

    def requests(self, rig: Rig) -> list[dict[str, Any]]:
        takes = [self.rng.uniform(0.4, 0.9) for _ in range(2)]
        return [request("process", Deed(take=take), max_attempts=1) for take in takes]

    async def inject(self, rig: Rig, caller: Caller) -> str:
        await super().inject(rig, caller)
        children = {started.pid for started in rig.running() if started.job in self.jobs}
        families = [(replica, descendants(replica.pid)) for replica in rig.replicas]
        self._victim, family = max(families, key=lambda one: len(one[1] & children))
        store = await rig.store_answers()
        pids = [self._victim.pid, *sorted((family | {store}) - {self._victim.pid})]
        self.rng.shuffle(pids)
        self._victim.send(signal.SIGTERM)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        return f"replica {self._victim.number} and {len(pids) - 1} others, {len(family & children)} with jobs"

    def expect(self, evidence: Evidence) -> Iterator[str]:
        yield from no_crash_of_what_ran(evidence)
        yield from ended_in_order(self._victim)
        yield from self.not_at_first_attempt(evidence)
