"""The requests and answers about schedules."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from queuey.protocol.models.jobs import YEAR, JobRequest, Seconds

MAX_CRON: Final = 200
"""The maximum number of characters of a cron expression."""
MAX_EXCLUDED: Final = 100
"""The maximum number of excluded dates."""
MAX_ZONE: Final = 64
"""The maximum number of characters of a time zone's name."""
DAY: Final = 24 * 3600

Overlap = Literal["skip", "queue_one", "allow", "cancel_previous"]
"""The rule for a tick at which the job of the tick before has not finished."""
CatchUp = Literal["last", "skip", "all"]
"""The ticks that are fired later, of those that were missed while no server ran."""


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


class SchedulePreview(Struct):
    """The answer to `POST /v1/schedules/preview`: the next five ticks, without jitter.

    `warnings` are sentences about times within a year that do not exist in its time zone, or come twice.
    """

    next: list[datetime]
    warnings: list[str]
