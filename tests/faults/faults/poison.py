"""Jobs that kill the replica that runs them: each is dead after two replicas and one child process. No other job is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, ClassVar, Final

from tests.faults.evidence.crashes import DIED
from tests.faults.evidence.invariants import Evidence
from tests.faults.faults.deeds import DeedFault, request
from tests.faults.load.calls import Caller
from tests.faults.load.clients import ALWAYS
from tests.faults.load.handlers import Deed
from tests.faults.store.view import TERMINAL, read_store
from tests.faults.system.rig import Replica, Rig, Setup

KILLS: Final = 2
"""Replicas that a poison job kills."""


def poison(type: str, take: float) -> dict[str, Any]:
    return request(type, Deed(take=take, fails=ALWAYS, kill=True))


class Poison(DeedFault):
    """A handler kills its whole replica whenever it runs there: twice. Then it kills the child process that it got."""

    name = "poison"
    replays: ClassVar[bool] = False  # a second run would take two replicas more
    patience: ClassVar[float] = 40.0
    replicas: list[Replica]

    def prepare(self, setup: Setup) -> None:
        setup.replicas_may_end = True

    def requests(self, rig: Rig) -> list[dict[str, Any]]:
        return self._remember([poison(self.rng.choice(("loop", "thread")), 0.1)])

    def _remember(self, poisons: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self.poisons = [one["id"] for one in poisons]
        return poisons

    async def inject(self, rig: Rig, caller: Caller) -> str:
        self.replicas = rig.replicas
        await super().inject(rig, caller)
        return f"poison jobs {' '.join(self.poisons)}"

    async def heal(self, rig: Rig) -> None:
        """Wait until the fault's own jobs have ended. What has not by then is found by the checks."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.patience):
                while not await self._is_over(rig):  # noqa: ASYNC110 - nothing tells when it is
                    await asyncio.sleep(0.1)

    async def _is_over(self, rig: Rig) -> bool:
        jobs = (await read_store(rig.store)).jobs
        return all(jobs[job_id].status in TERMINAL for job_id in self.jobs)

    def expect(self, evidence: Evidence) -> Iterator[str]:
        """That nobody else is dead is a part of invariant 1."""
        for job_id in self.poisons:
            yield from self._wrong_burial(evidence, job_id)
        deaths = sum(len(replica.unasked_ends) for replica in self.replicas)
        if deaths > KILLS * len(self.poisons):
            yield f"{deaths} replicas died of {len(self.poisons)} poison jobs"

    def _wrong_burial(self, evidence: Evidence, job_id: str) -> Iterator[str]:
        """What is wrong with the end of a poison job. Beside another one it may have crashes that it did not cause."""
        stored = evidence.view.jobs[job_id]
        crashes = stored.number("x")
        if stored.status != "dead_letter" or stored.kinds[-1:] != [DIED]:
            yield f"the poison {job_id} is {stored.status} after {stored.kinds}"
        if crashes != KILLS and len(self.poisons) == 1:
            yield f"the poison {job_id} has {crashes} crashes"
        pids = {pid for replica in self.replicas for pid in replica.pids}
        ran_in = sum(start.pid in pids for start in evidence.history.jobs[job_id].starts)
        if ran_in > KILLS:
            yield f"the poison {job_id} ran in {ran_in} replicas, with {crashes} crashes"


class TwoPoisons(Poison):
    """Two kinds of poison at once, two jobs each, beside jobs of two leases: none of these dies, and none starves."""

    name = "two-poisons"
    start_patience: ClassVar[float] = 30.0
    patience: ClassVar[float] = 90.0
    round_patience: ClassVar[float] = 180.0
    """The jobs of schedules go on to come, and those that were with the poison jobs take turns as they do."""

    def requests(self, rig: Rig) -> list[dict[str, Any]]:
        long = Deed(take=2 * rig.timing.lease)
        innocents = [request(type, long) for type in ("loop", "thread") for _ in range(4)]
        poisons = [poison(type, take) for type, take in (("loop", 0.1), ("thread", 0.8)) for _ in range(2)]
        return [*innocents, *self._remember(poisons)]
