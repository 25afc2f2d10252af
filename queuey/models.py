"""The wire format: what the HTTP API takes and gives, as msgspec Structs.

Durations are numbers of seconds, times are RFC 3339 in UTC. `payload` and `result` are any JSON value and are kept as
the text that came, so integers of any size stay exact.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"
YEAR: Final = 365 * 24 * 3600
NULL: Final = Raw(b"null")

Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
Priority = Literal["high", "default", "low"]
Status = Literal["queued", "scheduled", "running", "succeeded", "dead_letter", "cancelled"]
Seconds = Annotated[float, Meta(ge=0, le=YEAR)]
MaxAttempts = Annotated[int, Meta(ge=1, le=1000)]
Timeout = Annotated[float, Meta(gt=0, le=24 * 3600)]
MAX_LEASED: Final = 500
"""Jobs in one request for leases, and in one of their outcomes."""
JobId = Annotated[str, Meta(pattern=r"^[0-9A-HJKMNP-TV-Z]{2}[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")]
Token = Annotated[str, Meta(pattern=r"^[0-9]{1,16}\.[A-Za-z0-9_-]{1,64}\Z")]
LeaseSeconds = Annotated[float, Meta(ge=1, le=3600)]

MAX_NOTE: Final = 200
Amount = Annotated[int, Meta(ge=0, le=10**15)] | Annotated[float, Meta(ge=0, le=1e15)]

PRIORITIES: Final[tuple[Priority, ...]] = ("high", "default", "low")
STATUSES: Final[tuple[Status, ...]] = ("queued", "scheduled", "running", "succeeded", "dead_letter", "cancelled")


class Backoff(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The wait before the next attempt: min(cap, base * factor ** (failed - 1)) seconds, jitter on its upper half."""

    base: Annotated[float, Meta(gt=0, le=24 * 3600)] = 2.0
    factor: Annotated[float, Meta(ge=1, le=100)] = 2.0
    cap: Annotated[float, Meta(gt=0, le=24 * 3600)] = 60.0


class JobRequest(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/jobs`, and one item of a batch."""

    type: Name
    payload: Raw = NULL
    id: str | None = None
    """Made by the client so that a resend is safe: 28 characters, see queuey.ids."""
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


class QueueMetrics(Struct):
    """One queue of `GET /v1/queues/metrics`: how many jobs are in each place, summed over all shards."""

    name: str
    paused: bool
    high: int
    default: int
    low: int
    scheduled: int
    running: int
    dead_letter: int
    finished: int


class Metrics(Struct):
    """The answer to `GET /v1/queues/metrics`: queued jobs by priority over all queues, and each queue in detail."""

    queue_high_length: int
    queue_default_length: int
    queue_low_length: int
    queue_dlq_length: int
    queues: list[QueueMetrics]


class Queue(QueueMetrics):
    """One queue of `GET /v1/queues`.

    `oldest_age`: seconds for which the job that has been ready longest has been so. `workers`: names of those who take
    jobs from it.
    """

    paused_by: str | None
    pause_reason: str | None
    paused_at: datetime | None
    oldest_age: float | None
    workers: list[str]


class QueueList(Struct):
    """The answer to `GET /v1/queues`: by name."""

    queues: list[Queue]


class PauseRequest(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/queues/{name}/pause`."""

    reason: Annotated[str, Meta(min_length=1, max_length=256)] = "no reason given"


class PurgeRequest(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/queues/{name}/purge`: which of the jobs that wait go."""

    status: Annotated[list[Literal["queued", "scheduled"]], Meta(min_length=1, max_length=2)] = msgspec.field(
        default_factory=lambda: ["queued", "scheduled"]
    )


class PurgeReply(Struct):
    """How many jobs were cancelled. `more`: a bound was reached, and some may be left; ask again."""

    cancelled: int
    more: bool


class WorkerInfo(Struct):
    """One worker of `GET /v1/workers`.

    `process`: a replica of the server that runs jobs itself; `pull`: a program that leases them over HTTP, where
    `replica` is the server that it asked last. `slots`: jobs at a time, 0 = not known; `busy`: jobs that it holds, of
    which `jobs` names 100 at most. A quiet one claims no more.
    """

    name: str
    replica: str
    kind: Literal["process", "pull"]
    slots: int
    busy: int
    jobs: list[str]
    queues: list[str]
    types: list[str]
    last_seen: datetime
    quiet: bool
    started_at: datetime
    version: str


class WorkerList(Struct):
    """The answer to `GET /v1/workers`: by name."""

    workers: list[WorkerInfo]


Fingerprint = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
DeadLimit = Annotated[int, Meta(ge=1, le=10_000)]
Rate = Annotated[float, Meta(ge=0.01, le=100_000)]


class DeadLetter(Job, kw_only=True):
    """A job of `GET /v1/dlq`. Those that died of the same have one `fingerprint`."""

    fingerprint: str


class DeadPage(Struct):
    """The answer to `GET /v1/dlq`: the longest dead first. `next`: the cursor of the next page; None: the last."""

    jobs: list[DeadLetter]
    next: str | None


class DeadGroup(Struct):
    """Dead jobs of one fingerprint. `message` and `example`, a job's id, are those of the one that died last."""

    fingerprint: str
    type: str
    kind: str
    message: str
    count: int
    oldest: datetime
    newest: datetime
    example: str


class DeadGroups(Struct):
    """The answer to `GET /v1/dlq/groups`: the largest first. `looked_at`: how many dead jobs were; `complete`: that was
    all of them, and no group was left out."""

    groups: list[DeadGroup]
    looked_at: int
    complete: bool


class DeleteDead(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/dlq/delete`: which dead jobs. What is not given may be anything. Ages are in seconds."""

    queue: Name | None = None
    type: Name | None = None
    fingerprint: Fingerprint | None = None
    older_than: Seconds | None = None
    younger_than: Seconds | None = None
    limit: DeadLimit = 1000
    dry_run: bool = False


class ReplayDead(DeleteDead, forbid_unknown_fields=True):
    """The body of `POST /v1/dlq/replay`. `rate`: at most so many jobs a second are due; None: all at once."""

    rate: Rate | None = None


class DeadReply(Struct):
    """What became of it: how many jobs fit, how many were replayed or deleted, and whether there may be `more` behind
    a bound. A job whose dedupe key another job holds is not replayed."""

    matched: int
    done: int
    dry_run: bool
    more: bool


class EditReply(Struct):
    """The answer to another payload for a dead job."""

    job_id: str
    status: Literal["dead_letter", "queued"]


class ReplayReply(Struct):
    """The answer to `POST /v1/replay-dlq`."""

    requeued: int


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

    `attempt` counts from 1. `timeout` is the job's own, in seconds: the worker is to keep it.
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


class Definition(Struct, omit_defaults=True):
    """The JSON part of a stored job. Fields equal to their default are not stored."""

    type: str
    payload: msgspec.Raw = NULL
    timeout: float | None = None
    backoff: Backoff | None = None
