"""What a fault is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, ClassVar

from msgspec.structs import replace

from tests.faults.evidence.ledger import Answered, Event, Scheduled, Seen, Sent

if TYPE_CHECKING:
    from tests.faults.evidence.invariants import Evidence
    from tests.faults.load.calls import Caller
    from tests.faults.system.rig import Rig, Setup


class Fault:
    """One kind of mishap. A round makes one, from its own seeded `rng`, and calls the methods in this order."""

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    """Programs that it wants, as they stand on the PATH."""
    round_patience: ClassVar[float] = 90.0
    """Seconds for a whole round. A round that takes longer has failed."""
    is_long: ClassVar[bool] = False
    """It is played only when it is named, or all faults are asked for."""
    replays: ClassVar[bool] = True
    """Whether clients may replay dead jobs meanwhile."""
    pullers_die: ClassVar[bool] = False
    """Whether pull workers may die of themselves, which costs their jobs a crash each."""
    clock_moves: ClassVar[bool] = False
    """It sets the store's clock, so that times in the store prove nothing."""
    own_mounts: ClassVar[bool] = False
    """It mounts something, and so is played in a mount namespace of the suite's own."""
    waived: ClassVar[frozenset[int]] = frozenset()
    """Invariants that a store which this happens to does not let anybody keep."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.hold = rng.uniform(0.3, 0.8)
        """Seconds between `inject` and `heal`."""

    @classmethod
    def missing(cls) -> list[str]:
        """What it needs and is not here."""
        return [tool for tool in cls.needs if shutil.which(tool) is None]

    def prepare(self, setup: Setup) -> None:
        """Change what will be started."""

    async def inject(self, rig: Rig, caller: Caller) -> str:
        """Make it happen, while jobs are in flight. Returns what was hit, for the ledger and the report."""
        raise NotImplementedError

    async def heal(self, rig: Rig) -> None:
        """Put right what does not mend by itself. The round then waits until store and replicas answer."""

    def expect(self, evidence: Evidence) -> Iterator[str]:
        """What this fault must have done, or must not have, beyond the invariants. Yields what is wrong."""
        yield from ()

    def revise(self, events: Sequence[Event]) -> Sequence[Event]:
        """The ledger as the invariants are to read it: without what the store, by its own promise, may forget."""
        return events

    async def clean_up(self) -> None:
        """Remove what `prepare` and `inject` have made outside of the rig, which has been stopped."""


def forgotten(events: Sequence[Event], since: int, until: int) -> list[Event]:
    """The ledger of a store that has lost what it did in that time: its answers say nothing.

    A call that was sent before the end may have been done by then, whenever it is answered.
    """
    sent = {event.call: event.at for event in events if isinstance(event, Sent)}
    revised: list[Event] = []
    for event in events:
        if isinstance(event, Answered) and event.outcome == "ok" and event.at >= since and sent[event.call] < until:
            revised.append(replace(event, outcome="unknown", code="forgotten", said="", deduplicated=False))
        elif isinstance(event, Scheduled) and since <= event.at < until:
            revised.append(replace(event, kept=False))
        elif not (isinstance(event, Seen) and event.at >= since and event.asked_at < until):
            revised.append(event)
    return revised


def no_crashes(evidence: Evidence) -> Iterator[str]:
    """For faults that no running job may pay for with a crash."""
    for job_id, _, stored in evidence.pairs():
        if stored.number("x"):
            yield f"{job_id} has {stored.number('x')} crashes, and no lease should have lapsed"


def no_crash_of_what_ran(evidence: Evidence, *, renews_pulled: bool = True) -> Iterator[str]:
    """For faults that no running job may pay for; but a claim that its worker has not read is nobody's to renew.

    Without `renews_pulled`, nor are the claims of pull workers: their replica does not answer for longer than a lease.
    """
    for job_id, job, stored in evidence.pairs():
        began = {start.claim: start.at for start in job.starts}
        unread = sum(
            claim not in began or began[claim] > began.get(claim + 1, began[claim])
            for claim in range(1, stored.number("n") + 1)
        )
        if not renews_pulled:
            unread += sum(start.pid == 0 for start in job.starts)
        if stored.number("x") > unread:
            yield f"{job_id} has {stored.number('x')} crashes, and {unread} of its claims had not begun"


def every_call_answered(evidence: Evidence) -> Iterator[str]:
    """For faults that no client may notice."""
    for answer in evidence.history.answers:
        if answer.outcome != "ok" and answer.code not in ("404", "409"):
            yield f"the {answer.operation} of {answer.job or 'dead jobs'} got {answer.outcome} ({answer.code})"
