"""The requests and answers about queues and workers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType


class QueueMetrics(Struct):
    """One queue of `GET /v1/queues/metrics`: the number of jobs by status, summed over all shards.

    `claimable` are the queued jobs (`high`, `default`, `low`) without those that wait for a type which no worker of the
    queue takes.
    """

    name: str
    paused: bool
    high: int
    default: int
    low: int
    scheduled: int
    running: int
    dead_letter: int
    finished: int
    claimable: int = 0


class Metrics(Struct):
    """The answer to `GET /v1/queues/metrics`: queued jobs by priority over all queues, and each queue in detail.

    `incomplete`: the shards that do not answer, whose jobs are not counted.
    """

    queue_high_length: int
    queue_default_length: int
    queue_low_length: int
    queue_dlq_length: int
    queues: list[QueueMetrics]
    incomplete: list[int] | UnsetType = UNSET


class Queue(QueueMetrics, kw_only=True):
    """One queue of `GET /v1/queues`.

    `oldest_age` is the age in seconds of the job that has been ready longest. `claimable_age` is the same, without jobs
    that wait for a type which no worker of the queue takes. `workers` are the names of the workers
    that serve the queue. `waiting_for_handler` has the number of jobs by type that none of them knows, for at most 64
    types, and `*` for the jobs of further ones.
    """

    paused_by: str | None
    pause_reason: str | None
    paused_at: datetime | None
    oldest_age: float | None
    workers: list[str]
    claimable_age: float | None = None
    waiting_for_handler: dict[str, int] = {}


class QueueList(Struct):
    """The answer to `GET /v1/queues`, by name. `incomplete`: the shards that do not answer, whose jobs are left out."""

    queues: list[Queue]
    incomplete: list[int] | UnsetType = UNSET


class PauseRequest(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/queues/{name}/pause`."""

    reason: Annotated[str, Meta(min_length=1, max_length=256)] = "no reason given"


class PurgeRequest(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/queues/{name}/purge`: the statuses of the jobs to cancel."""

    status: Annotated[list[Literal["queued", "scheduled"]], Meta(min_length=1, max_length=2)] = msgspec.field(
        default_factory=lambda: ["queued", "scheduled"]
    )


class PurgeReply(Struct):
    """The number of cancelled jobs. `more` means that a bound was reached: send the request again."""

    cancelled: int
    more: bool


class StuckThread(Struct):
    """A thread of a worker whose handler does not return. `since`: when the handler started."""

    type: str
    since: datetime


class WorkerInfo(Struct):
    """One worker of `GET /v1/workers`.

    The kind `process` is a replica that runs jobs itself. The kind `pull` is a program that leases jobs over HTTP, and
    its `replica` is the one that it called last. `slots` is the maximum number of running jobs, or 0 if unknown. `busy`
    is the number of jobs that it holds, and `jobs` lists up to 100 of them. A quiet worker claims no more. `key` is the
    name of the API key of a pull worker. `app` is the name of the App whose handlers it runs, or empty if unknown.
    `stuck_threads` lists up to 10 threads whose handlers do not return after the
    job's timeout and the grace; the jobs of `blocked_types` cannot begin there, since all threads are such. A worker is
    `gone` if its replica has sent no heartbeat for two intervals: it is dead, or cannot reach the store.
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
    key: str = ""
    app: str = ""
    stuck_threads: list[StuckThread] = []
    blocked_types: list[str] = []
    gone: bool = False

    @property
    def claims(self) -> bool:
        """Return whether it claims jobs, as far as is known: it is neither quiet nor gone."""
        return not (self.quiet or self.gone)


class WorkerList(Struct):
    """The answer to `GET /v1/workers`, by name."""

    workers: list[WorkerInfo]


class PulseTotals(Struct):
    """Sums over the queues and the live workers of a pulse."""

    waiting: int
    running: int
    scheduled: int
    dead: int
    slots: int
    busy: int


class Pulse(Struct):
    """The queues and workers at one moment: an event of `GET /v1/pulse`. `every`: the seconds between two of them.

    `store_used`: the share of the store's memory that is in use, from 0 to 1; 0 where it has no limit.
    """

    at: datetime
    queues: list[Queue]
    workers: list[WorkerInfo]
    totals: PulseTotals
    store_used: float
    every: float
    incomplete: list[int] | UnsetType = UNSET
    """The shards that did not answer, whose jobs are not counted."""
