"""A job that a worker holds, from the claim until the store knows what came of it."""

from __future__ import annotations

from typing import Protocol

from queuey.protocol.models import LeasedJob
from queuey.protocol.records import DEFAULT_MAX_ATTEMPTS, DEFAULT_QUEUE, UNREADABLE, parse_definition
from queuey.store.replies import ClaimedJob
from queuey.worker.handlers.attempt import Failed, Work


class Leased(Protocol):
    """A job as a claim brings it."""

    id: str
    token: str
    crashes: int


class HeldJob:
    """A job that this process holds. `unreadable`: what to report without running it."""

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
        "timeout",
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
        timeout: float,
        grace: float,
    ) -> None:
        self.job_id = job.id
        self.token = job.token
        self.crashes = job.crashes
        self.shard = shard
        self.work = work
        self.unreadable = unreadable
        self.timeout = timeout
        self.grace = grace
        self.claimed_ms = 0.0
        """Time of day."""
        self.ended_at = 0.0
        """When its handler ended, by time.monotonic()."""
        self.lost = False
        """Its lease is another's: what comes of it is discarded."""
        self.releasing = False
        """Unless it succeeds, it is to be given back."""
        self.reporting = False
        """Its handler has ended, and the store is being told."""

    def is_overdue(self, now: float) -> bool:
        started = self.work.started_at
        return started is not None and now > started + self.timeout + self.grace


def read(job: ClaimedJob) -> tuple[Work, Failed | None]:
    """A claimed job as an attempt, or else what to report of it: that it cannot be read."""
    try:
        return _to_work(job), None
    except UNREADABLE as error:
        work = Work(job.id, "unreadable", DEFAULT_QUEUE, b"", job.token, job.attempt, DEFAULT_MAX_ATTEMPTS)
        return work, Failed("payload", f"what the store holds of the job cannot be read: {error}", dead=True)


def _to_work(job: ClaimedJob) -> Work:
    head, definition = parse_definition(job.definition)
    return Work(
        id=job.id,
        type=definition.type,
        queue=head.get("q", DEFAULT_QUEUE),
        payload=bytes(definition.payload),
        token=job.token,
        attempt=job.attempt,
        max_attempts=int(head.get("m", DEFAULT_MAX_ATTEMPTS)),
        timeout=definition.timeout,
        backoff=definition.backoff,
        due_ms=int(head["r"]),
        traceparent=definition.traceparent,
    )


def leased_work(job: LeasedJob) -> Work:
    """Make an attempt of a job that a server gave."""
    return Work(
        id=job.id,
        type=job.type,
        queue=job.queue,
        payload=bytes(job.payload),
        token=job.token,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        timeout=job.timeout,
        traceparent=job.traceparent,
    )
