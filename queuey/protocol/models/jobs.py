"""The requests and answers about jobs, and the problem that reports an error."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from queuey.protocol import traceparent
from queuey.protocol.json import foreign
from queuey.protocol.models.labels import MAX_METADATA, MetadataText, Tags
from queuey.protocol.models.readable import readable
from queuey.protocol.models.unique import Debounce, Throttle, Unique, UniqueKey

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"
NAME_RULE: Final = "1 to 64 letters, digits, '.', '_' and '-' (the first is a letter or digit)"
"""NAME_PATTERN in words, to be read after "must be"."""
YEAR: Final = 365 * 24 * 3600
NULL: Final = Raw(b"null")

T = TypeVar("T")
Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
Metadata = Annotated[Mapping[Name, MetadataText], Meta(max_length=MAX_METADATA)]
Priority = Literal["high", "default", "low"]
Status = Literal["queued", "scheduled", "running", "succeeded", "dead_letter", "cancelled"]
Seconds = Annotated[float, Meta(ge=0, le=YEAR)]
MaxAttempts = Annotated[int, Meta(ge=1, le=1000)]
Timeout = Annotated[float, Meta(gt=0, le=24 * 3600)]
Factor = Annotated[float, Meta(ge=1, le=100)]
MAX_LEASED: Final = 500
"""The maximum number of jobs in one request for leases, and in one report of outcomes."""
JobId = Annotated[str, Meta(pattern=r"^[0-9A-HJKMNP-TV-Z]{2}[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")]
Token = Annotated[str, Meta(pattern=r"^[0-9]{1,16}\.[A-Za-z0-9_-]{1,64}\Z")]
LeaseSeconds = Annotated[float, Meta(ge=1, le=3600)]

MAX_SNOOZES: Final = 1000
"""The maximum number of times that a job is snoozed in one run. As in lua/leases/fail.lua."""
MAX_CHECKPOINT: Final = 65_536
"""The maximum number of bytes of a checkpoint, as JSON."""
MAX_NOTE: Final = 200
Amount = Annotated[int, Meta(ge=0, le=10**15)] | Annotated[float, Meta(ge=0, le=1e15)]

PRIORITIES: Final[tuple[Priority, ...]] = ("high", "default", "low")
STATUSES: Final[tuple[Status, ...]] = ("queued", "scheduled", "running", "succeeded", "dead_letter", "cancelled")
FINAL: Final[tuple[Status, ...]] = ("succeeded", "dead_letter", "cancelled")
"""The statuses of a finished job."""


class Backoff(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The wait before the next attempt: min(cap, base * factor ** (failed - 1)) seconds, its upper half random."""

    base: Annotated[float, Meta(gt=0, le=24 * 3600)] = 2.0
    factor: Factor = 2.0
    cap: Annotated[float, Meta(gt=0, le=24 * 3600)] = 60.0


class Batch(Struct, frozen=True, forbid_unknown_fields=True):
    """A batch of items: jobs with one `key` become the items of one job, whose payload is the list of their payloads.

    The job is due when it has `max_size` items, or `max_wait` seconds after its first item.
    """

    key: Annotated[str, Meta(min_length=1, max_length=256)]
    max_size: Annotated[int, Meta(ge=1, le=10_000)]
    max_wait: Annotated[float, Meta(gt=0, le=24 * 3600)]


class JobRequest(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/jobs`, and one item of a batch."""

    type: Name
    payload: Raw = NULL
    id: str | None = None
    """The id (queuey.protocol.ids), if the client makes it so that a resend is safe."""
    queue: Name | None = None
    """Default: the queue of the type's handler, or else `default`."""
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
    """The seconds after which the job is cancelled if no worker has started it."""
    traceparent: Annotated[str, Meta(pattern=traceparent.PATTERN)] | None = None
    """The span in which the job is submitted. Default: the request's header."""
    tags: Tags | None = None
    """Words by which jobs are found, all different."""
    metadata: Metadata | None = None
    """Texts for the handler and its log lines, such as the id of the request. Keys and values have 1,000 bytes at most.
    """
    unique: Unique | None = None
    debounce: Debounce | None = None
    throttle: Throttle | None = None
    batch: Batch | None = None
    """The batch that this becomes an item of. `id` is then the id of the item."""

    @property
    def bucket_key(self) -> str | None:
        """The key that chooses the bucket of the job's id: its dedupe_key, or that of `unique` and the like."""
        one = self.unique or self.debounce or self.throttle
        return self.dedupe_key if one is None else one.key


class EnqueueReply(Struct):
    """The answer to `POST /v1/jobs`. `deduplicated` means that the job already existed, by its key.

    For an item of a batch, `job_id` is the batch's job, `deduplicated` means that this had the item already, and
    `items` is the number of its items with this one. A repeated request has no `items`.
    """

    job_id: str
    deduplicated: bool
    warnings: list[str] | UnsetType = UNSET
    """Sentences about what the sender should change, although the job was enqueued."""
    replaced: Literal["payload", "follows"] | UnsetType = UNSET
    """`payload`: the waiting job has this payload now. `follows`: it runs, and one with the last payload follows it."""
    items: int | UnsetType = UNSET


class JobError(Struct):
    """A failed attempt or a crash. `kind` is error, timeout, retry, dead, payload, unknown_type, lease_lapsed, ..."""

    at: datetime
    attempt: int
    kind: str
    message: str
    detail: str | None = None
    worker: str | None = None


class ProgressReport(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The progress of a running job: `done` of `total`, in any unit, and a note for people."""

    done: Amount
    total: Amount | None = None
    note: Annotated[str, Meta(max_length=MAX_NOTE)] | None = None


class Progress(Struct):
    """The last progress that was reported, and its time."""

    done: int | float
    total: int | float | None
    note: str | None
    at: datetime


class Attempt(Struct):
    """One attempt of a job. `ended_at` is null while it runs. `error` is null unless it failed.

    Fields that an earlier version did not store are null.
    """

    attempt: int
    started_at: datetime | None
    ended_at: datetime | None
    worker: str | None
    error: str | None


class Checkpoint(Struct):
    """A value that a handler has kept for the next attempts. Only these get the value itself."""

    at: datetime
    bytes: int


class ServerSentEvent(Struct, omit_defaults=True):
    """One event of a stream. `data` is JSON: a StatusEvent, a ProgressEvent, or `{}` for `reset`."""

    event: Literal["status", "progress", "reset"]
    data: str
    id: str | UnsetType = UNSET


class StatusEvent(Struct):
    """The data of an event `status`. `attempt` is the current or last attempt, 0 before the first."""

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


class Job(Struct, kw_only=True):
    """The answer to `GET /v1/jobs/{id}`.

    `attempt` is the number of the attempt that runs, or ran last: 0 if none has begun since the job was enqueued or
    replayed. `attempts` counts failed attempts, and `crashes` expired leases. `started_at` is the time of the last
    claim.
    """

    id: str
    type: str
    queue: str
    priority: Priority
    status: Status
    payload: Raw = NULL
    """Lists with `fields=brief` leave it out, and the result."""
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
    result: Raw = NULL
    """The handler's result, or `null`."""
    attempt: int = 0
    last_error_attempt: int | None = None
    """The attempt whose error is `last_error`. A job that succeeded may have one of an earlier attempt."""
    progress: Progress | None = None
    worker: str | None = None
    expires_at: datetime | None = None
    """The time at which the job is cancelled if no worker has started it."""
    attempts_log: list[Attempt] = []
    """The attempts that the last 10 errors ended, crashes too, oldest first; then the running or successful one."""
    traceparent: str | None = None
    """The span in which the job was submitted, in the format of W3C's Trace Context."""
    released: int = 0
    """The number of times that a worker gave it back before it had ended, as in a deploy. That spends no attempt."""
    checkpoint: Checkpoint | None = None
    """The last checkpoint of its handler; null after a success."""
    snoozed: int = 0
    """The number of times that its handler has snoozed it in this run, at most 1,000. That spends no attempt."""
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] | None = None
    unique: UniqueKey | None = None
    batch_key: str | None = None
    """The key of the batch, if the payload is the list of its items."""
    warnings: list[str] | UnsetType = UNSET
    """The warnings of the answer to `POST /v1/jobs`. They are not stored with the job."""

    def __repr__(self) -> str:
        return readable(self)

    def value(self, into: builtins.type[T]) -> T:
        """Return the result as the type `into`. Raises ValueError, with the reason, if the job has not succeeded.

        Raises msgspec.ValidationError if the result is not of that type."""
        if self.status != "succeeded":
            reason = f": {self.last_error}" if self.last_error else ""
            raise ValueError(f"The job {self.id} ({self.type}) has no result: it is {self.status}{reason}")
        return foreign.decode(self.result, into)


class JobPage(Struct):
    """The answer to `GET /v1/jobs`. `next` is the cursor of the next page, null on the last.

    `looked_at` is the number of entries and places that this request looked at, 10,000 at most.
    """

    jobs: list[Job]
    next: str | None
    looked_at: int = 0


Reason = Literal[
    "running",
    "finished",
    "due_later",
    "waits_for_items",
    "retry_later",
    "snoozed",
    "crashed",
    "expired",
    "paused",
    "no_worker",
    "threads_stuck",
    "waiting",
    "ready",
]


class Ahead(Struct):
    """The jobs of the same queue that run before this one, by priority, as far as they were counted."""

    high: int
    default: int
    low: int


class Explanation(Struct, omit_defaults=True):
    """The answer to `GET /v1/jobs/{id}/explain`: why the job has its status. `detail` is for people.

    Fields that do not apply are left out. A job that is due later has times, attempts, crashes and its last error. A
    paused queue has the name of its pauser. A unique job has its key, the job that holds it, and the job that is to
    follow. A queued job has its `position` in its lane, from 1 (a lower bound if
    `position_is_at_least`), the jobs ahead of it, and the workers that serve its queue and type.
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
    unique_key: str | UnsetType = UNSET
    unique_key_holder: str | UnsetType = UNSET
    followed_by: str | UnsetType = UNSET


class CancelReply(Struct):
    """The answer to a cancel. `cancelled` is final; `cancelling` means that the worker has been notified."""

    job_id: str
    status: Literal["cancelled", "cancelling"]


class RetryReply(Struct):
    """The answer to a retry: the job waits for a worker."""

    job_id: str
    status: Literal["queued"] = "queued"


class Problem(Struct, omit_defaults=True):
    """An error as `application/problem+json` (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] | UnsetType = UNSET
    """The faults: each has a `pointer` (RFC 6901, into the body) or a `parameter`, and a `detail`."""
    job_ids: list[str] | UnsetType = UNSET


class BatchItem(Struct, omit_defaults=True):
    """The outcome of one job of a request: `error`, or the fields of the answer to `POST /v1/jobs`."""

    job_id: str | UnsetType = UNSET
    deduplicated: bool | UnsetType = UNSET
    warnings: list[str] | UnsetType = UNSET
    replaced: Literal["payload", "follows"] | UnsetType = UNSET
    items: int | UnsetType = UNSET
    error: Problem | UnsetType = UNSET


class BatchReply(Struct):
    """The answer to `POST /v1/jobs/batch`: one outcome per item, in the order of the request."""

    results: list[BatchItem]


class Definition(Struct, omit_defaults=True, gc=False):  # it is in no cycle
    """The JSON part of a stored job. Fields equal to their default are not stored.

    Scripts read the type and the tags, which are before the payload.
    """

    type: str
    tags: tuple[str, ...] = ()
    payload: msgspec.Raw = NULL
    timeout: float | None = None
    backoff: Backoff | None = None
    traceparent: str | None = None
    metadata: dict[str, str] | None = None
    batch_key: str | None = None
    """The key of a batch of items, whose payload is the list of these."""
