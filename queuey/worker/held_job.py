"""A job that a worker holds, from the claim until its outcome is confirmed."""

from __future__ import annotations

from typing import Any, Protocol

from queuey.protocol.models import Backoff, Definition, LeasedJob
from queuey.protocol.records import UNREADABLE, JobFields, job_fields, job_fields_of, parse_definition
from queuey.store.replies import ClaimedJob
from queuey.worker.handlers.attempt import Failed, Report, Work


class Leased(Protocol):
    """A job as a claim brings it."""

    id: str
    token: str
    crashes: int


class HeldJob:
    """A job that this process holds. `unreadable` is the failure to report without running the job, or None."""

    __slots__ = (
        "claimed_ms",
        "crashes",
        "ended_at",
        "grace",
        "job_id",
        "lost",
        "releasing",
        "reporting",
        "shard",
        "token",
        "unreadable",
        "work",
    )

    def __init__(
        self,
        job: Leased,
        shard: int,
        work: Work,
        unreadable: Failed | None,
        grace: float,
    ) -> None:
        self.job_id = job.id
        self.token = job.token
        self.crashes = job.crashes
        self.shard = shard
        self.work = work
        self.unreadable = unreadable
        self.grace = grace
        self.claimed_ms = 0.0
        """The time of day in ms at which it was claimed."""
        self.ended_at = 0.0
        """The time.monotonic() at which its handler ended."""
        self.lost = False
        """Whether another worker has its lease, so that its outcome is discarded."""
        self.releasing = False
        """Whether it will be given back, unless it succeeds."""
        self.reporting = False
        """Whether its handler has ended, and its outcome is being reported."""

    def is_overdue(self, now: float) -> bool:
        """Return whether its handler is past its timeout and grace."""
        work = self.work
        return work.started_at is not None and now > work.started_at + work.limit + self.grace


def read(job: ClaimedJob, report: Report) -> tuple[Work, Failed | None]:
    """Return the attempt for a job from the store, and if the job cannot be read the failure to report."""
    try:
        head, definition = parse_definition(job.definition)
        fields, due_ms = job_fields(head, definition), int(head["r"])
    except UNREADABLE as error:
        fields = job_fields({}, Definition("unreadable"))
        failed = Failed("payload", f"the stored job cannot be read: {error}", dead=True)
        return _work(job, fields, report), failed
    return _work(job, fields, report, definition.backoff, due_ms), None


def read_leased(job: LeasedJob, report: Report) -> Work:
    """Return the attempt for a job from a server. It does not keep the whole answer in memory, as the job does."""
    fields = job_fields_of(job)
    fields["payload"] = job.payload.copy()
    return _work(job, fields, report)


def _work(
    job: ClaimedJob | LeasedJob, fields: JobFields, report: Report, backoff: Backoff | None = None, due_ms: int = 0
) -> Work:
    given: Any = fields  # not merged with another dict: that takes twice the time, for every job
    given["id"], given["token"], given["attempt"] = job.id, job.token, job.attempt
    given["report"], given["backoff"], given["due_ms"] = report, backoff, due_ms
    return Work(**given)
