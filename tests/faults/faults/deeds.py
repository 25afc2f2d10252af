"""Faults of the handlers: what a job can do to the process that runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, ClassVar, Final

import msgspec

from queuey.protocol import ids
from tests.faults.evidence.invariants import Evidence
from tests.faults.evidence.ledger import Started
from tests.faults.faults.base import Fault, no_crash_of_what_ran, no_crashes
from tests.faults.load.calls import Caller
from tests.faults.load.clients import ALWAYS
from tests.faults.load.handlers import TYPES, Deed
from tests.faults.system.rig import UNPULLED, Rig

RESENDS: Final = 30
RESEND_PAUSE: Final = 0.3


def request(type: str, deed: Deed, **fields: Any) -> dict[str, Any]:
    """A job that some replica's own worker gets, soon."""
    payload = msgspec.to_builtins(deed)
    return {"id": ids.new_id(), "type": type, "payload": payload, "queue": UNPULLED, "priority": "high", **fields}


class DeedFault(Fault):
    """Jobs of the fault's own, which are counted and checked as all others are."""

    start_patience: ClassVar[float] = 10.0
    """Seconds until all of them have begun."""

    def requests(self, rig: Rig) -> list[dict[str, Any]]:
        raise NotImplementedError

    async def inject(self, rig: Rig, caller: Caller) -> str:
        requests = self.requests(rig)
        self.jobs = [one["id"] for one in requests]
        await self._enqueue(requests, caller)
        await self._until_started(rig)
        return f"jobs {' '.join(self.jobs)}"

    async def _enqueue(self, requests: list[dict[str, Any]], caller: Caller) -> None:
        """Until replies say that they were taken: a replica that a job blocks or kills at once does not answer."""
        for _ in range(RESENDS):
            answers = await caller.enqueue(requests)
            requests = [one for one, answer in zip(requests, answers, strict=True) if answer.outcome != "ok"]
            if not requests:
                return
            await asyncio.sleep(RESEND_PAUSE)
        raise RuntimeError(f"the fault's own jobs were not taken: {requests}")

    async def _until_started(self, rig: Rig) -> None:
        async with asyncio.timeout(self.start_patience):
            left = set(self.jobs)
            while left:
                left -= {event.job for event in rig.new_events() if isinstance(event, Started)}
                await asyncio.sleep(0.02)

    def not_at_first_attempt(self, evidence: Evidence) -> Iterator[str]:
        """For jobs that no fault may cost an attempt. Nobody cancels them."""
        for job_id in self.jobs:
            stored = evidence.view.jobs[job_id]
            if (stored.status, stored.number("a")) != ("succeeded", 0):
                yield f"{job_id} was to succeed at its first attempt, and is {stored.status} after {stored.kinds}"


class BlockLoop(DeedFault):
    """A handler holds the event loop of its replica for three leases. Nobody loses a lease by it."""

    name = "block-loop"

    def requests(self, rig: Rig) -> list[dict[str, Any]]:
        self.hold = 3 * rig.timing.lease
        return [request("loop", Deed(block=self.hold))]

    def expect(self, evidence: Evidence) -> Iterator[str]:
        yield from no_crash_of_what_ran(evidence)


class BlockLoopKillStore(BlockLoop):
    """While a handler holds the event loop of its replica, the store dies and another replica starts it again.

    The blocked replica keeps its leases. It learns of the restart when the block is over, and blames nobody for it.
    A pull worker that asks it to extend a lease gets no answer, and may lose the lease.
    """

    name = "block-loop-kill-store"

    async def inject(self, rig: Rig, caller: Caller) -> str:
        hit = await super().inject(rig, caller)
        await asyncio.sleep(self.rng.uniform(0.0, rig.timing.lease))
        return f"{hit}, pid {await rig.kill_store()}"

    def expect(self, evidence: Evidence) -> Iterator[str]:
        yield from no_crash_of_what_ran(evidence, renews_pulled=False)


class KillChild(DeedFault):
    """Handlers in child processes kill these: a failed attempt each, and nobody else notices."""

    name = "kill-child"

    def requests(self, rig: Rig) -> list[dict[str, Any]]:
        fails = [self.rng.randint(1, 2) for _ in range(self.rng.randint(1, 3))]
        mortal = [request("process", Deed(fails=count, kill=True), max_attempts=4) for count in fails]
        return [*mortal, request("process", Deed(fails=ALWAYS, kill=True), max_attempts=2)]

    def expect(self, evidence: Evidence) -> Iterator[str]:
        yield from no_crashes(evidence)
        for job_id in self.jobs:
            job, stored = evidence.history.jobs[job_id], evidence.view.jobs[job_id]
            expected = "dead_letter" if job.deed.fails == ALWAYS else "succeeded"
            if stored.status not in (expected, "cancelled"):
                yield f"{job_id} killed its processes and is {stored.status}, not {expected}"


class ForkHandler(DeedFault):
    """Handlers fork and the copies go on, in the event loop, in threads and in child processes; others run beside them.

    Each copy ends when it comes back, and answers for nobody: each job succeeds at its first attempt.
    """

    name = "fork-handler"
    replays: ClassVar[bool] = False  # a second run would hide that the first one failed
    hows: ClassVar[tuple[str, ...]] = ("returns", "raises")
    _copies = _ended = 0

    def requests(self, rig: Rig) -> list[dict[str, Any]]:
        forking = [Deed(take=self.rng.uniform(0.0, 0.1), fork=how) for how in self.hows]
        self._copies = len(forking) * len(TYPES)
        return [
            *(request(type, deed) for deed in forking for type in TYPES),
            *(request("process", Deed()) for _ in range(self.rng.randint(4, 8))),
        ]

    async def heal(self, rig: Rig) -> None:
        """Wait until the copies have ended. What has not by then is found by the checks."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.start_patience):
                while self._count(rig) < self._copies:  # noqa: ASYNC110 - their parents do not tell
                    await asyncio.sleep(0.05)

    def _count(self, rig: Rig) -> int:
        """How many copies have ended, as they said on the stderr of their replicas."""
        logs = rig.setup.folder.glob("replica*.log")
        self._ended = sum(log.read_text(errors="replace").count('"forked_copy_ended"') for log in logs)
        return self._ended

    def expect(self, evidence: Evidence) -> Iterator[str]:
        yield from no_crashes(evidence)
        yield from self.not_at_first_attempt(evidence)
        if self._ended != self._copies:
            yield f"{self._copies} copies were made, and {self._ended} have ended"
