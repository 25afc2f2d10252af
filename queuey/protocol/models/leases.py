"""Pull workers: leases and what is told of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from queuey.protocol.models.jobs import (
    MAX_LEASED,
    NULL,
    JobId,
    LeaseSeconds,
    Name,
    Problem,
    ProgressReport,
    Seconds,
    Token,
)


class LeaseRequest(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/leases`: up to `max` jobs, each for `lease` seconds, waited for up to `wait` seconds.

    `claim_id` is made by the client so that a resend brings the same jobs. `worker` is shown with the job.
    """

    queues: Annotated[list[Name], Meta(min_length=1, max_length=256)] = msgspec.field(
        default_factory=lambda: ["default"]
    )
    max: Annotated[int, Meta(ge=1, le=MAX_LEASED)] = 1
    lease: LeaseSeconds = 30.0
    wait: Annotated[float, Meta(ge=0, le=60)] = 0.0
    claim_id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")] | None = None
    worker: Name | None = None


class LeasedJob(Struct, omit_defaults=True):
    """A job as a pull worker gets it. What equals its default is left out.

    `attempt` counts from 1. `timeout` is the job's own, in seconds: the worker is to keep it. `traceparent` names the
    span in which it was submitted.
    """

    id: str
    token: str
    type: str
    payload: Raw
    attempt: int
    lease_expires_at: datetime
    queue: str = "default"
    max_attempts: int = 5
    timeout: float | None = None
    crashes: int = 0
    traceparent: str | None = None


class LeaseReply(Struct):
    """The answer to `POST /v1/leases`."""

    jobs: list[LeasedJob]


class CompleteItem(Struct, forbid_unknown_fields=True):
    """A job that has been done: the body of `POST /v1/leases/complete`, or one of its `jobs`."""

    id: JobId
    token: Token
    result: Raw = NULL


class ReportedError(Struct, forbid_unknown_fields=True):
    """Why an attempt failed. `kind` is a word to tell failures apart by; of `message` 400 bytes are kept."""

    message: str
    kind: Name = "error"
    detail: str | None = None


class FailItem(Struct, forbid_unknown_fields=True):
    """An attempt that failed: the body of `POST /v1/leases/fail`, or one of its `jobs`.

    `retry_after`: seconds until the next attempt, instead of by the job's backoff. `dead`: no further attempt.
    """

    id: JobId
    token: Token
    error: str | ReportedError
    retry_after: Seconds | None = None
    dead: bool = False


class ExtendItem(Struct, forbid_unknown_fields=True):
    """A lease to be `lease` seconds long from now: the body of `POST /v1/leases/extend`, or one of its `jobs`.

    `progress`: how far the job has come."""

    id: JobId
    token: Token
    lease: LeaseSeconds = 30.0
    progress: ProgressReport | None = None


class ReleaseItem(Struct, forbid_unknown_fields=True):
    """A job to be given back, no attempt spent: the body of `POST /v1/leases/release`, or one of its `jobs`."""

    id: JobId
    token: Token


class CompleteBatch(Struct, forbid_unknown_fields=True):
    """Many at once, each with an outcome of its own."""

    jobs: Annotated[list[CompleteItem], Meta(min_length=1, max_length=MAX_LEASED)]


class FailBatch(Struct, forbid_unknown_fields=True):
    """Many at once, each with an outcome of its own."""

    jobs: Annotated[list[FailItem], Meta(min_length=1, max_length=MAX_LEASED)]


class ExtendBatch(Struct, forbid_unknown_fields=True):
    """Many at once, each with an outcome of its own."""

    jobs: Annotated[list[ExtendItem], Meta(min_length=1, max_length=MAX_LEASED)]


class ReleaseBatch(Struct, forbid_unknown_fields=True):
    """Many at once, each with an outcome of its own."""

    jobs: Annotated[list[ReleaseItem], Meta(min_length=1, max_length=MAX_LEASED)]


class LeaseOutcome(Struct, omit_defaults=True):
    """What became of one job of a request: a `status`, or in a batch an `error`.

    ok; retry, dead_letter and cancelled after a failure; cancelled of an extend: extended, and to be stopped; lost,
    in a batch: the lease is another's by now, or the job is over.
    """

    id: str | UnsetType = UNSET
    status: Literal["ok", "retry", "dead_letter", "cancelled", "lost"] | UnsetType = UNSET
    lease_expires_at: datetime | UnsetType = UNSET
    error: Problem | UnsetType = UNSET


class LeaseOutcomes(Struct):
    """The answer to a batch of outcomes: one for each, in the order of the request."""

    results: list[LeaseOutcome]
