"""Where a worker's jobs come from and where their outcomes go: the store, or a server over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from queuey.worker.handlers.attempt import Failed, Succeeded, Work
from queuey.worker.held_job import HeldJob, Leased

Job = TypeVar("Job", bound=Leased)
Confirmed = Callable[[HeldJob], None]
"""Called once an outcome has been taken, was refused, or has been given up."""


class ClaimRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Asks for jobs.

    slots           how many jobs it runs at a time
    free            of these, how many it has room for now
    holds_suspect   whether it holds a job that has crashed a process; then it gets no second one
    """

    slots: int
    free: int
    holds_suspect: bool


class Claim(msgspec.Struct, Generic[Job], frozen=True, kw_only=True):
    """Answers a claim.

    more        whether another claim may bring jobs right now
    due_in_ms   in how many milliseconds the next job is due; -1: nothing is scheduled
    """

    jobs: Sequence[Job] = ()
    more: bool = False
    due_in_ms: int = -1


class JobSource(Protocol[Job]):
    """Gives a worker its jobs and takes their outcomes.

    lease                  how long, in seconds, a claim or a renewal lasts
    shards                 how many parts of it are claimed from, each by itself
    gives_back_unconfirmed whether a job may be given back while its outcome is being reported
    """

    lease: float
    shards: int
    gives_back_unconfirmed: bool

    @property
    def is_reporting(self) -> bool:
        """Whether outcomes still go out."""

    async def claim(self, shard: int, request: ClaimRequest) -> Claim[Job]:
        """Claim jobs. A claim whose answer was lost is made again with its id, so that its jobs are not lost.

        Raises StartupError when the source refuses this worker.
        """

    def read(self, job: Job) -> tuple[Work, Failed | None]:
        """Make an attempt of a claimed job; or else the failure to report, when it cannot be read."""

    def complete(self, held: HeldJob, succeeded: Succeeded, confirmed: Confirmed) -> None:
        """Report a success, soon and until it is confirmed."""

    def fail(self, held: HeldJob, failed: Failed, confirmed: Confirmed) -> None:
        """Report a failure, soon and until it is confirmed."""

    def lost(self, work: Work) -> None:
        """Log that a lease has gone to another worker."""

    def stop_claiming(self) -> None:
        """Make no claim again, also none whose answer was lost."""

    async def return_unseen(self) -> None:
        """Give back the jobs of a claim that was broken off before its answer came."""

    async def release(self, held: Sequence[HeldJob], seconds: float) -> None:
        """Give jobs back, in the order of their claim, within that time. What fails is logged."""
