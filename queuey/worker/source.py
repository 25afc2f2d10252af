"""The source of a worker's jobs, which also takes their outcomes: the store, or a server over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from queuey.store.broker.offers import Offer
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
    """The number of free slots."""
    holds_suspect: bool
    """Whether the worker holds a job that has crashed a process. Then it gets no second one."""
    isolates: int = 0
    """The number of suspects that it can run now, each in a child process of its own."""
    offered: Offered | None = None
    """An offer that may have been taken, although no reply said so. The claim has its claim id and brings its jobs."""


class Claim(msgspec.Struct, Generic[Job], frozen=True, kw_only=True):
    """The answer to a claim."""

    jobs: Sequence[Job] = ()
    more: bool = False
    """Whether another claim may bring jobs right now."""
    due_in_ms: int = -1
    """The milliseconds until the next job is due; -1 if none is scheduled."""


class JobSource(Protocol[Job]):
    """Gives a worker its jobs and takes their outcomes."""

    lease: float
    """The seconds for which a claim or a renewal lasts."""
    shards: int
    """The number of shards. Each claim is made on one of them."""
    gives_back_unconfirmed: bool
    """Whether a job may be given back while its outcome is being reported."""

    @property
    def is_reporting(self) -> bool:
        """Whether outcomes can still be sent."""

    async def claim(self, shard: int, request: ClaimRequest) -> Claim[Job]:
        """Claim jobs. A claim whose answer was lost is repeated with its id, so that no job is lost.

        Raises StartupError when the source refuses this worker.
        """

    def offer(self, request: ClaimRequest) -> Offered | None:
        """Return the request as an offer for an enqueue; None if the jobs of this source are enqueued elsewhere.

        An offer is a claim: the worker makes no other one until its end is known.
        """

    def taken(self, offered: Offered) -> Claim[Job] | None:
        """Return the claim that an enqueue has made for an offer. None: the reply was late; claim with the offer."""

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
