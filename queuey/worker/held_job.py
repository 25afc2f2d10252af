"""A job that a worker holds, from the claim until its outcome is confirmed."""

from __future__ import annotations

from typing import Protocol

from msgspec import UNSET

from queuey.protocol.models import Definition, LeasedJob
from queuey.protocol.records import (
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_QUEUE,
    UNREADABLE,
    decode_definition,
    job_fields_of,
)
from queuey.protocol.stored.heads import ready_queue_attempts
from queuey.store.replies import ClaimedJob
from queuey.worker.handlers.attempt import Failed, Keep, Report, Work


class Leased(Protocol):
    """A job as a claim brings it."""

    id: str
    token: str
    crashes: int


class HeldJob:
    """A job that this process holds. `unreadable` is the failure to report without running the job, or None."""

    __slots__ = (
        "claimed_ms",
        "counted_as",
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
        self.counted_as = work.type
        """The type by which its slot is counted."""
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
        """Return whether its handler is past its timeout and grace, and has not ended."""
        work = self.work
        started = work.started_at
        return not self.reporting and started is not None and now > started + work.limit + self.grace


def read(job: ClaimedJob, report: Report, keep: Keep) -> tuple[Work, Failed | None]:
    """Return the attempt for a job from the store, and if the job cannot be read the failure to report."""
    head, _, body = job.definition.partition("\n")
    failed = None
    try:
        definition = decode_definition(body)
        due_ms, (queue, max_attempts) = ready_queue_attempts(head)
    except UNREADABLE as error:
        definition, queue, max_attempts, due_ms = Definition("unreadable"), DEFAULT_QUEUE, DEFAULT_MAX_ATTEMPTS, 0
        failed = Failed("payload", f"the stored job cannot be read: {error}", dead=True)
    work = Work(  # without names, which take as long as the rest
        job.id,
        definition.type,
        queue,
        definition.payload,
        job.token,
        job.attempt,
        max_attempts,
        definition.timeout,
        definition.backoff,
        due_ms,
        definition.traceparent,
        definition.tags,
        definition.metadata,
        definition.batch_key,
        report,
        keep,
        job.checkpoint,
    )
    return work, failed


def read_leased(job: LeasedJob, report: Report, keep: Keep) -> Work:
    """Return the attempt for a job from a server. It does not keep the whole answer in memory, as the job does."""
    fields = job_fields_of(job)
    fields["payload"] = job.payload.copy()
    work = Work(id=job.id, token=job.token, attempt=job.attempt, report=report, keep=keep, **fields)
    if job.checkpoint is not UNSET:
        work.checkpoint = bytes(job.checkpoint).decode()
    return work
