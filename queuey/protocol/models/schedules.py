"""The requests and answers about schedules."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from queuey.protocol.models.jobs import YEAR, JobRequest, Seconds

MAX_CRON: Final = 200
"""The maximum number of characters of a cron expression."""
MAX_EXCLUDED: Final = 100
"""The maximum number of excluded dates."""
MAX_ZONE: Final = 64
"""The maximum number of characters of a time zone's name."""
MAX_BACKFILLED: Final = 1000
"""The maximum number of ticks of a backfill."""
SCHEDULE_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z"
SCHEDULE_RULE: Final = "1 to 128 letters, digits, '.', '_' and '-' (the first is a letter or digit)"
"""SCHEDULE_PATTERN in words, to be read after "must be"."""
DAY: Final = 24 * 3600

Overlap = Literal["skip", "queue_one", "allow", "cancel_previous"]
"""The rule for a tick at which the job of the tick before has not finished."""
CatchUp = Literal["last", "skip", "all"]
"""The ticks that are fired later, of those that were missed while no server ran."""
RunKind = Literal["tick", "trigger", "backfill"]
RunOutcome = Literal["fired", "skipped", "missed", "refused", "full", "too_many_queues"]
"""The outcomes of a tick. `refused`: its job no longer fits what the server accepts. `full`: the store had no room, so
the tick is fired later. `too_many_queues`: its job would need a new queue, and the store has the maximum number."""


class PreviewRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/schedules/preview`. Exactly one of `cron`, `every` and `at` is required."""

    cron: Annotated[str, Meta(min_length=1, max_length=MAX_CRON)] | None = None
    """Five fields (minute, hour, day of month, month, day of week), six with the second first, or a name as @daily."""
    every: Annotated[float, Meta(ge=1, le=YEAR)] | None = None
    """The seconds between two ticks. They are counted from the creation of the schedule."""
    at: Annotated[datetime, Meta(tz=True)] | None = None
    """The time of the only tick."""
    timezone: Annotated[str, Meta(min_length=1, max_length=MAX_ZONE)] = "UTC"
    """The time zone of `cron` and `exclude`, such as Europe/Berlin."""
    job: JobRequest | None = None
    overlap: Overlap = "skip"
    catch_up: CatchUp = "last"
    catch_up_window: Seconds = 3600
    """Ticks that were missed longer ago than these seconds are not fired."""
    jitter: Annotated[float, Meta(ge=0, le=DAY)] = 0
    """The maximum number of seconds by which a tick is fired later, the same on all replicas."""
    exclude: Annotated[list[date], Meta(max_length=MAX_EXCLUDED)] = []
    """The days without a tick, in the time zone of the schedule."""


class ScheduleRequest(PreviewRequest, kw_only=True, forbid_unknown_fields=True):
    """A schedule: when it fires, and the job that it enqueues at each tick."""

    job: JobRequest


class ScheduledJob(JobRequest, omit_defaults=True, forbid_unknown_fields=False):
    """The job of a schedule, with the fields that are set."""


class ScheduleRun(Struct):
    """One run of a schedule: a tick, a trigger, or a tick of a backfill, and what it led to at the time `at`.

    `count`: how many ticks were missed, from this one on; else 1.
    """

    tick: datetime
    at: datetime
    kind: RunKind
    outcome: RunOutcome
    job_id: str | None
    count: int = 1


class Schedule(Struct, kw_only=True):
    """A schedule, as it is stored and as it goes on.

    `queue`: that of its jobs, now. `next`: the next five ticks without jitter, in a list of schedules only one. None
    if it is paused or has ended. `due_at`: when the next tick is fired, later by its jitter. `last_tick`: the last
    one that was decided, with or without a job. `waiting_tick`: the tick that waits for the end of the last job.
    `version` grows with each change. `app`: the App whose code declares it. `detail`: what it does now, and why.
    """

    name: str
    status: Literal["active", "paused", "ended"]
    detail: str
    cron: str | None
    every: float | None
    at: datetime | None
    timezone: str
    job: ScheduledJob
    queue: str
    overlap: Overlap
    catch_up: CatchUp
    catch_up_window: float
    jitter: float
    exclude: list[date]
    next: list[datetime]
    due_at: datetime | None
    last_tick: datetime | None
    last_job_id: str | None
    waiting_tick: datetime | None
    paused_at: datetime | None
    paused_by: str | None
    pause_reason: str | None
    created_at: datetime
    replaced_at: datetime | None
    version: int
    app: str | None = None
    warnings: list[str] | UnsetType = UNSET
    """Sentences about times within a year that do not exist in its zone, or come twice. Only a PUT answers them."""
    runs: list[ScheduleRun] | UnsetType = UNSET
    """The last 50 runs, newest first. Only a GET of this schedule answers them."""


class SchedulePage(Struct):
    """One page of schedules. `next` is the cursor of the next page, null after the last one."""

    schedules: list[Schedule]
    next: str | None


class TriggerReply(Struct):
    """The outcome of a trigger. `skipped` and `pending` are those of the overlap rule: the last job has not finished.

    `pending`: the job is made when the last one has ended; `job_id` is the id that it will have.
    """

    outcome: Literal["fired", "skipped", "pending"]
    job_id: str | None


class BackfillRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/schedules/{name}/backfill`: the ticks from a time up to and with another."""

    from_: Annotated[datetime, Meta(tz=True)] = msgspec.field(name="from")
    to: Annotated[datetime, Meta(tz=True)]
    dry_run: bool = False
    """Whether to list the ticks only."""
    overlap: Literal["skip", "queue_one", "allow"] | None = None
    """The rule for each tick. Default: that of the schedule."""


class BackfillReply(Struct):
    """The ticks of a backfill, and how many of them got which outcome. `there`: they have their job, or had it."""

    ticks: list[datetime]
    fired: int = 0
    there: int = 0
    skipped: int = 0
    pending: int = 0
    dry_run: bool = False


class SchedulePreview(Struct):
    """The answer to `POST /v1/schedules/preview`: the next five ticks, without jitter.

    `warnings` are sentences about times within a year that do not exist in its time zone, or come twice.
    """

    next: list[datetime]
    warnings: list[str]
