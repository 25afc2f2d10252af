"""Jobs: how they are submitted and shown, and the problem that stands for an error."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from queuey.protocol import traceparent

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"
NAME_RULE: Final = "1 to 64 letters, digits, '.', '_' and '-', starting with a letter or digit"
"""NAME_PATTERN in words, to be read after "must be"."""
YEAR: Final = 365 * 24 * 3600
NULL: Final = Raw(b"null")

Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
Priority = Literal["high", "default", "low"]
Status = Literal["queued", "scheduled", "running", "succeeded", "dead_letter", "cancelled"]
Seconds = Annotated[float, Meta(ge=0, le=YEAR)]
MaxAttempts = Annotated[int, Meta(ge=1, le=1000)]
Timeout = Annotated[float, Meta(gt=0, le=24 * 3600)]
Factor = Annotated[float, Meta(ge=1, le=100)]
MAX_LEASED: Final = 500
"""Jobs in one request for leases, and in one of their outcomes."""
JobId = Annotated[str, Meta(pattern=r"^[0-9A-HJKMNP-TV-Z]{2}[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")]
Token = Annotated[str, Meta(pattern=r"^[0-9]{1,16}\.[A-Za-z0-9_-]{1,64}\Z")]
LeaseSeconds = Annotated[float, Meta(ge=1, le=3600)]

MAX_NOTE: Final = 200
Amount = Annotated[int, Meta(ge=0, le=10**15)] | Annotated[float, Meta(ge=0, le=1e15)]

PRIORITIES: Final[tuple[Priority, ...]] = ("high", "default", "low")
STATUSES: Final[tuple[Status, ...]] = ("queued", "scheduled", "running", "succeeded", "dead_letter", "cancelled")
FINAL: Final[tuple[Status, ...]] = ("succeeded", "dead_letter", "cancelled")
"""The statuses of a finished job."""


class Backoff(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The wait before the next attempt: min(cap, base * factor ** (failed - 1)) seconds, jitter on its upper half."""

    base: Annotated[float, Meta(gt=0, le=24 * 3600)] = 2.0
    factor: Factor = 2.0
    cap: Annotated[float, Meta(gt=0, le=24 * 3600)] = 60.0


class JobRequest(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/jobs`, and one item of a batch."""

    type: Name
    payload: Raw = NULL
    id: str | None = None
    """Made by the client so that a resend is safe: 28 characters, see queuey.protocol.ids."""
    queue: Name = "default"
    priority: Priority = "default"
    dedupe_key: str | None = None
    dedupe_ttl: Annotated[float, Meta(gt=0, le=YEAR)] | None = None
    max_attempts: MaxAttempts | None = None
    timeout: Timeout | None = None
    delay: Seconds | None = None
    run_at: Annotated[datetime, Meta(tz=True)] | None = None
    backoff: Backoff | None = None
    retention: Seconds | None = None
    expires_in: Annotated[float, Meta(gt=0, le=YEAR)] | None = None
    """A job that no worker has started by then is cancelled."""
    traceparent: Annotated[str, Meta(pattern=traceparent.PATTERN)] | None = None
    """The span in which it is submitted; the request's header says the same of all of its jobs that have none."""


class EnqueueReply(Struct):
    """The answer to `POST /v1/jobs`. `deduplicated`: the id is that of the job which holds the dedupe key."""

    job_id: str
    deduplicated: bool


class JobError(Struct):
    """One failed attempt or crash. `kind`: error, timeout, retry, dead, payload, unknown_type, ... or lease_lapsed."""

    at: datetime
    attempt: int
    kind: str
    message: str
    detail: str | None = None
    worker: str | None = None


class ProgressReport(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """How far a running job has come: `done` of `total`, in whatever it counts, and a note for people."""

    done: Amount
    total: Amount | None = None
    note: Annotated[str, Meta(max_length=MAX_NOTE)] | None = None


class Progress(Struct):
    """What was told last, and when."""

    done: int | float
    total: int | float | None
    note: str | None
    at: datetime


class Attempt(Struct):
    """One run of a job. `ended_at`: None while it runs. `error`: why it failed; None for the run that succeeded. What
    an earlier version did not write down is None."""

    attempt: int
    started_at: datetime | None
    ended_at: datetime | None
    worker: str | None
    error: str | None


class ServerSentEvent(Struct, omit_defaults=True):
    """One event of a stream. `data` is JSON: a StatusEvent, a ProgressEvent, or {} for `reset`."""

    event: Literal["status", "progress", "reset"]
    data: str
    id: str | UnsetType = UNSET


class StatusEvent(Struct):
    """The data of an event `status`. `attempt`: the one that runs or ran last, 0 before the first."""

    job_id: str
    type: str
    queue: str
    status: Status
    attempt: int
    at: datetime


class ProgressEvent(Struct):
    """The data of an event `progress`."""

    job_id: str
    done: int | float
    total: int | float | None
    note: str | None
    at: datetime


class Job(Struct):
    """The answer to `GET /v1/jobs/{id}`.

    `attempts` counts failed attempts, `crashes` lapsed leases; `started_at` is the last claim's.
    """

    id: str
    type: str
    queue: str
    priority: Priority
    status: Status
    payload: Raw
    dedupe_key: str | None
    attempts: int
    max_attempts: int
    crashes: int
    timeout: float | None
    created_at: datetime
    run_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    lease_expires_at: datetime | None
    last_error: str | None
    errors: list[JobError]
    result: Raw
    """`null` when there is none."""
    progress: Progress | None = None
    worker: str | None = None
    expires_at: datetime | None = None
    """When it is cancelled if no worker has started it by then."""
    attempts_log: list[Attempt] = []
    """The runs that the last 10 errors ended, crashes too, oldest first; and the one that is under way or succeeded."""
    traceparent: str | None = None
    """The span in which it was submitted, as W3C's Trace Context has it."""


class JobPage(Struct):
    """The answer to `GET /v1/jobs`. `next`: the cursor of the next page; None when this is the last."""

    jobs: list[Job]
    next: str | None


Reason = Literal[
    "running",
    "finished",
    "due_later",
    "retry_later",
    "crashed",
    "expired",
    "paused",
    "no_worker",
    "waiting",
    "ready",
]


class Ahead(Struct):
    """Jobs of the same queue that run before this one, by priority, as far as they were counted."""

    high: int
    default: int
    low: int


class Explanation(Struct, omit_defaults=True):
    """The answer to `GET /v1/jobs/{id}/explain`: why it is where it is. `detail` is for people, `reason` for programs.

    Fields that have nothing to tell are left out: the times, attempts, crashes and last error of a job that is due
    later; who paused its queue; and of a queued job its `position`, from 1, in its lane (at least that, where
    `position_is_at_least`), the jobs ahead of it, and the workers that serve its queue and its type.
    """

    job_id: str
    status: Status
    reason: Reason
    detail: str
    due_at: datetime | UnsetType = UNSET
    expires_at: datetime | UnsetType = UNSET
    attempts: int | UnsetType = UNSET
    crashes: int | UnsetType = UNSET
    last_error: str | UnsetType = UNSET
    worker: str | UnsetType = UNSET
    lease_expires_at: datetime | UnsetType = UNSET
    paused_by: str | UnsetType = UNSET
    pause_reason: str | UnsetType = UNSET
    paused_at: datetime | UnsetType = UNSET
    position: int | UnsetType = UNSET
    position_is_at_least: bool | UnsetType = UNSET
    ahead: Ahead | UnsetType = UNSET
    workers: list[str] | UnsetType = UNSET


class CancelReply(Struct):
    """The answer to a cancel: `cancelled` is final; `cancelling` means that its worker has been told."""

    job_id: str
    status: Literal["cancelled", "cancelling"]


class RetryReply(Struct):
    """The answer to a retry: the job waits for a worker."""

    job_id: str
    status: Literal["queued"] = "queued"


class Problem(Struct, omit_defaults=True):
    """`application/problem+json` (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] | UnsetType = UNSET
    """Each fault: `pointer` (RFC 6901, into the body) or `parameter`, and `detail`."""
    job_ids: list[str] | UnsetType = UNSET


class BatchItem(Struct, omit_defaults=True):
    """The outcome of one item of a batch: either the first two fields, or `error`."""

    job_id: str | UnsetType = UNSET
    deduplicated: bool | UnsetType = UNSET
    error: Problem | UnsetType = UNSET


class BatchReply(Struct):
    """The answer to `POST /v1/jobs/batch`: one outcome per item, in the order of the request."""

    results: list[BatchItem]


class Definition(Struct, omit_defaults=True):
    """The JSON part of a stored job. Fields equal to their default are not stored."""

    type: str
    payload: msgspec.Raw = NULL
    timeout: float | None = None
    backoff: Backoff | None = None
    traceparent: str | None = None
