"""A job that a worker holds, from the claim until the store knows what came of it."""

from __future__ import annotations

from typing import Any, Protocol

from queuey.protocol.models import Backoff, Definition, LeasedJob
from queuey.protocol.records import UNREADABLE, JobFields, job_fields, job_fields_of, parse_definition
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
    """Make an attempt of a job that the store gave; or else the failure to report, when it cannot be read."""
    try:
        head, definition = parse_definition(job.definition)
        fields, due_ms = job_fields(head, definition), int(head["r"])
    except UNREADABLE as error:
        fields = job_fields({}, Definition("unreadable"))
        failed = Failed("payload", f"what the store holds of the job cannot be read: {error}", dead=True)
        return _work(job, fields), failed
    return _work(job, fields, definition.backoff, due_ms), None


def read_leased(job: LeasedJob) -> Work:
    """Make an attempt of a job that a server gave."""
    return _work(job, job_fields_of(job))


def _work(job: ClaimedJob | LeasedJob, fields: JobFields, backoff: Backoff | None = None, due_ms: int = 0) -> Work:
    given: Any = fields  # not merged with another dict: every job comes by, and that takes twice the time
    given["id"], given["token"], given["attempt"] = job.id, job.token, job.attempt
    given["backoff"], given["due_ms"] = backoff, due_ms
    return Work(**given)
