"""Queues and workers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct


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
    which `jobs` names 100 at most. A quiet one claims no more. `key`: the name of the API key with which it pulls; a
    replica has none.
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


class WorkerList(Struct):
    """The answer to `GET /v1/workers`: by name."""

    workers: list[WorkerInfo]
