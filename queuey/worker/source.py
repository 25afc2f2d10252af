"""The source of a worker's jobs, which also takes their outcomes: the store, or a server over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from queuey.store.asides import KnownAsides, Room
from queuey.store.offers import Offer
from queuey.worker.handlers.attempt import Failed, Succeeded, Work
from queuey.worker.held_job import HeldJob, Leased

Job = TypeVar("Job", bound=Leased)
Confirmed = Callable[[HeldJob], None]
"""Called once an outcome was accepted, refused or given up."""


class Offered(msgspec.Struct, frozen=True):
    """An offer that a worker has made."""

    offer: Offer
    made_at: float
    """The time.monotonic() at which it was made. The leases of its jobs begin later."""


class ClaimRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's request for jobs."""

    slots: int
    """The number of jobs that the worker can run at a time."""
    free: int
    """The number of free slots in which a job can begin."""
    room: Sequence[Room] = ()
    """The room of each executor."""
    knows: Callable[[str], bool] = lambda _: True
    """Says whether the worker has a handler for a type."""
    unknown: Collection[str] = ()
    """Types that the worker has met and does not know. It asks for no unknown types once it has met one."""
    holds_suspect: bool
    """Whether the worker holds a job that has crashed a process. Then it gets no second one."""
    isolates: int | None = None
    """The number of suspects that it can run now, each in a child process of its own; None if it has no children."""
    woken: Collection[str] = ()
    """The types of the lists set aside whose markers the worker has taken."""
    queues: Sequence[str] | None = None
    """The queues to claim from, since others are full; None: all of the worker."""
    roomy: ClaimRequest | None = None
    """The same request, but only for the queues that have the most room: some others limit this one to a few jobs."""
    offered: Offered | None = None
    """An offer that may have been taken, although no reply said so. The claim has its claim id and brings its jobs."""


class Claim(msgspec.Struct, Generic[Job], frozen=True, kw_only=True):
    """The answer to a claim."""

    jobs: Sequence[Job] = ()
    more: bool = False
    """Whether another claim may bring jobs right now."""
    due_in_ms: int = -1
    """The milliseconds until the next job is due; -1 if none is scheduled."""
    rests: bool = False
    """Whether the worker gets nothing else for now, whatever waits."""
    named: Sequence[tuple[str, str]] = ()
    """Queue and type of each list set aside that this claim has made known."""


class JobSource(Protocol[Job]):
    """Gives a worker its jobs and takes their outcomes."""

    lease: float
    """The seconds for which a claim or a renewal lasts."""
    shards: int
    """The number of shards. Each claim is made on one of them."""
    gives_back_unconfirmed: bool
    """Whether a job may be given back while its outcome is being reported."""
    sets_aside: bool
    """Whether a job of an unknown type can be given back so that only a worker that knows the type gets it."""
    ignores_room: bool
    """Whether it gives jobs of any type, so that there must be room for each of them in every executor."""

    @property
    def asides(self) -> KnownAsides | None:
        """The lists set aside that are known; None if the worker does not claim from the store itself."""

    @property
    def is_reporting(self) -> bool:
        """Whether outcomes can still be sent."""

    async def claim(self, shard: int, request: ClaimRequest) -> Claim[Job]:
        """Claim jobs. A claim whose answer was lost is repeated with its id, so that no job is lost.

        Raises StartupError when the source refuses this worker.
        """

    def room_grew(self) -> None:
        """Break off a claim that waits, if it could not ask for jobs that can begin now."""

    def offer(self, request: ClaimRequest, room: int) -> Offered | None:
        """Return the request as an offer of up to `room` jobs for an enqueue.

        None: the jobs of this source are enqueued elsewhere.

        An offer is a claim: the worker makes no other one until its end is known.
        """

    def taken(self, offered: Offered) -> Claim[Job] | None:
        """Return the claim that an enqueue has made for an offer. None: the reply was late; claim with the offer."""

    def type_of(self, job: Job) -> str:
        """Return the type of a claimed job, without reading the rest of it."""

    def queue_of(self, job: Job) -> str:
        """Return the queue of a claimed job."""

    def set_aside(self, held: Sequence[HeldJob], gone: Confirmed) -> None:
        """Give back jobs of unknown types, in the order of their claim. `gone` is called for each at its end."""

    def read(self, job: Job) -> tuple[Work, Failed | None]:
        """Return the attempt for a claimed job, and if the job cannot be read the failure to report."""

    def complete(self, held: HeldJob, succeeded: Succeeded, confirmed: Confirmed) -> None:
        """Report a success, soon and until it is confirmed."""

    def fail(self, held: HeldJob, failed: Failed, confirmed: Confirmed) -> None:
        """Report a failure, soon and until it is confirmed."""

    def lost(self, work: Work) -> None:
        """Log that another worker has the lease of a job."""

    def stop_claiming(self) -> None:
        """Repeat no claim any more, not even one whose answer was lost."""

    async def return_unseen(self) -> None:
        """Give back the jobs of a claim that was interrupted before its answer came."""

    async def release(self, held: Sequence[HeldJob], seconds: float) -> None:
        """Give jobs back, in the order of their claim, within this time. A failure is logged."""
