"""The requests and answers of pull workers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

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

MAX_LEASE_TYPES: Final = 1_000
"""The most types that a request for leases names."""
MAX_ISOLATES: Final = 16
"""The most jobs with two crashes or more that a request for leases asks for."""
TypeNames = Annotated[list[Name], Meta(min_length=1, max_length=MAX_LEASE_TYPES)]


class LeaseRoom(Struct, forbid_unknown_fields=True):
    """The room that a worker has for some types: it can begin `jobs` jobs of them now, together."""

    jobs: Annotated[int, Meta(ge=0, le=MAX_LEASED)]
    types: TypeNames


class LeaseRequest(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/leases`: lease up to `max` jobs for `lease` seconds each, and wait up to `wait` seconds.

    The client makes the `claim_id`, so that a resend returns the same jobs. `worker` is shown with the job. With
    `types` or `room`, only jobs of the types that they name are leased; without them, jobs of every type. `room`: the
    worker can begin only so many jobs of some types, in sum at most `max`. `isolates`: the number of jobs with two
    crashes or more that the worker can begin now, each in a process of its own. A worker without this field gets one
    such job at a time, and nothing else beside it at first.
    """

    queues: Annotated[list[Name], Meta(min_length=1, max_length=256)] = msgspec.field(
        default_factory=lambda: ["default"]
    )
    max: Annotated[int, Meta(ge=1, le=MAX_LEASED)] = 1
    lease: LeaseSeconds = 30.0
    wait: Annotated[float, Meta(ge=0, le=60)] = 0.0
    claim_id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")] | None = None
    worker: Name | None = None
    types: TypeNames | UnsetType | None = UNSET
    room: Annotated[list[LeaseRoom], Meta(min_length=1, max_length=MAX_LEASE_TYPES)] | UnsetType | None = UNSET
    isolates: Annotated[int, Meta(ge=0, le=MAX_ISOLATES)] | UnsetType | None = UNSET


class LeasedJob(Struct, omit_defaults=True, gc=False):  # it is in no cycle
    """A job as a pull worker receives it. Fields equal to their defaults are left out.

    `attempt` counts from 1. `timeout` is in seconds, and the worker must enforce it. `traceparent` is the span in which
    the job was submitted.
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
    """A job that succeeded: the body of `POST /v1/leases/complete`, or one of its `jobs`."""

    id: JobId
    token: Token
    result: Raw = NULL


class ReportedError(Struct, forbid_unknown_fields=True):
    """The reason why an attempt failed. `kind` is a short word. `message` is cut to 400 bytes."""

    message: str
    kind: Name = "error"
    detail: str | None = None


class FailItem(Struct, forbid_unknown_fields=True):
    """An attempt that failed: the body of `POST /v1/leases/fail`, or one of its `jobs`.

    `retry_after` is the seconds until the next attempt, instead of the job's backoff. `dead` means no further attempt.
    """

    id: JobId
    token: Token
    error: str | ReportedError
    retry_after: Seconds | None = None
    dead: bool = False


class ExtendItem(Struct, forbid_unknown_fields=True):
    """A lease to extend to `lease` seconds from now: the body of `POST /v1/leases/extend`, or one of its `jobs`.

    `progress` is the job's progress.
    """

    id: JobId
    token: Token
    lease: LeaseSeconds = 30.0
    progress: ProgressReport | None = None


class ReleaseItem(Struct, forbid_unknown_fields=True):
    """A job to release without spending an attempt: the body of `POST /v1/leases/release`, or one of its `jobs`."""

    id: JobId
    token: Token


class CompleteBatch(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/leases/complete` for several jobs. Each has its own outcome."""

    jobs: Annotated[list[CompleteItem], Meta(min_length=1, max_length=MAX_LEASED)]


class FailBatch(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/leases/fail` for several jobs. Each has its own outcome."""

    jobs: Annotated[list[FailItem], Meta(min_length=1, max_length=MAX_LEASED)]


class ExtendBatch(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/leases/extend` for several jobs. Each has its own outcome."""

    jobs: Annotated[list[ExtendItem], Meta(min_length=1, max_length=MAX_LEASED)]


class ReleaseBatch(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/leases/release` for several jobs. Each has its own outcome."""

    jobs: Annotated[list[ReleaseItem], Meta(min_length=1, max_length=MAX_LEASED)]


class LeaseOutcome(Struct, omit_defaults=True):
    """The outcome of one job of a request: a `status`, or in a batch an `error`.

    The status is `ok`; after a failure `retry`, `dead_letter` or `cancelled`. For an extend, `cancelled` means that the
    lease is extended, but the job should stop. In a batch, `lost` means that the lease is no longer this worker's.
    """

    id: str | UnsetType = UNSET
    status: Literal["ok", "retry", "dead_letter", "cancelled", "lost"] | UnsetType = UNSET
    lease_expires_at: datetime | UnsetType = UNSET
    error: Problem | UnsetType = UNSET


class LeaseOutcomes(Struct):
    """The answer to a batch: one outcome per item, in the order of the request."""

    results: list[LeaseOutcome]
