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
from queuey.protocol.models.readable import readable

MAX_LEASE_TYPES: Final = 1_000
"""The most types that a request for leases names."""
MAX_ISOLATES: Final = 16
"""The most jobs with two crashes or more that a request for leases asks for."""
MAX_NUMBER: Final = 2**53 - 1
"""The highest number of a checkpoint. The store's numbers are exact up to here."""
TypeNames = Annotated[list[Name], Meta(min_length=1, max_length=MAX_LEASE_TYPES)]


class LeaseRoom(Struct, forbid_unknown_fields=True):
    """The room that a worker has for some types: it can begin `jobs` jobs of them now, together."""

    jobs: Annotated[int, Meta(ge=0, le=MAX_LEASED)]
    types: TypeNames


class LeaseRequest(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/leases`: lease up to `max` jobs for `lease` seconds each, and wait up to `wait` seconds.

    The client makes the `claim_id`, so that a resend returns the same jobs. `worker` is shown with the job. With
    `types` or `room`, only jobs of the types that they name are leased; without them, jobs of every type. `room`: the
    worker can begin only so many jobs of some types; `max` bounds the sum. `app` is the name of the App whose handlers
    it runs. `type_queues` has the types whose queue it knows, by queue; without it, a worker that asks for one queue
    knows its types there.
    `isolates`: the number of jobs with two crashes or more that the worker can begin now, each in a process of its own.
    A worker without this field gets one such job at a time, and nothing else beside it at first.
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
    app: Name | UnsetType | None = UNSET
    type_queues: Annotated[dict[Name, TypeNames], Meta(max_length=256)] | UnsetType | None = UNSET
    isolates: Annotated[int, Meta(ge=0, le=MAX_ISOLATES)] | UnsetType | None = UNSET


class LeasedJob(Struct, omit_defaults=True, gc=False):  # it is in no cycle
    """A job as a pull worker receives it. Fields equal to their defaults are left out.

    `attempt` counts from 1. `timeout` is in seconds, and the worker must enforce it. `traceparent` is the span in which
    the job was submitted. `tags` and `metadata` are those of the job.
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
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] | None = None
    batch_key: str | None = None
    """The key of the batch, if the payload is the list of its items."""
    checkpoint: Raw | UnsetType = UNSET
    """The value that an earlier attempt has kept, if there is one."""

    def __repr__(self) -> str:
        return readable(self)


class LeaseReply(Struct):
    """The answer to `POST /v1/leases`."""

    jobs: list[LeasedJob]


class CompleteItem(Struct, forbid_unknown_fields=True):
    """A job that succeeded: the body of `POST /v1/leases/complete`, or one of its `jobs`."""

    id: JobId
    token: Token
    result: Raw = NULL


class ReportedError(Struct, forbid_unknown_fields=True):
    """The reason why an attempt failed. `kind` is a short word.

    `message` is cut to 1,000 bytes, and `detail` to what is left of 4,096.
    """

    message: str
    kind: Name = "error"
    detail: str | None = None


class FailItem(Struct, forbid_unknown_fields=True):
    """An attempt that failed: the body of `POST /v1/leases/fail`, or one of its `jobs`.

    `retry_after` is the seconds until the next attempt, instead of the job's backoff. `dead` means no further attempt.
    `snooze` means to run the job again in so many seconds. That spends no attempt, at most 1,000 times a run. The error
    is kept only if it was snoozed that often: then the job is dead.
    """

    id: JobId
    token: Token
    error: str | ReportedError
    retry_after: Seconds | None = None
    dead: bool = False
    snooze: Seconds | UnsetType | None = UNSET


class ExtendItem(Struct, forbid_unknown_fields=True):
    """A lease to extend to `lease` seconds from now: the body of `POST /v1/leases/extend`, or one of its `jobs`.

    `progress` is the job's progress.
    """

    id: JobId
    token: Token
    lease: LeaseSeconds = 30.0
    progress: ProgressReport | None = None


class CheckpointItem(Struct, forbid_unknown_fields=True):
    """A value to keep for the next attempts: the body of `POST /v1/leases/checkpoint`, or one of its `jobs`.

    `checkpoint` is any JSON value of at most 65,536 bytes. `null` means that nothing is kept any more. `number` counts
    the checkpoints of this lease from 1: one that comes after one with a higher number changes nothing, and is `ok`.
    """

    id: JobId
    token: Token
    checkpoint: Raw
    number: Annotated[int, Meta(ge=1, le=MAX_NUMBER)] | UnsetType | None = UNSET


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


class CheckpointBatch(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/leases/checkpoint` for several jobs. Each has its own outcome."""

    jobs: Annotated[list[CheckpointItem], Meta(min_length=1, max_length=MAX_LEASED)]


class ReleaseBatch(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/leases/release` for several jobs. Each has its own outcome."""

    jobs: Annotated[list[ReleaseItem], Meta(min_length=1, max_length=MAX_LEASED)]


class LeaseOutcome(Struct, omit_defaults=True):
    """The outcome of one job of a request: a `status`, or in a batch an `error`.

    The status is `ok`; after a failure `retry`, `snoozed`, `dead_letter` or `cancelled`. For an extend, `cancelled`
    means that the lease is extended, but the job should stop. In a batch, `lost` means that the lease is no longer this
    worker's.
    """

    id: str | UnsetType = UNSET
    status: Literal["ok", "retry", "snoozed", "dead_letter", "cancelled", "lost"] | UnsetType = UNSET
    lease_expires_at: datetime | UnsetType = UNSET
    error: Problem | UnsetType = UNSET


class LeaseOutcomes(Struct):
    """The answer to a batch: one outcome per item, in the order of the request."""

    results: list[LeaseOutcome]
