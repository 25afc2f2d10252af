"""The lines that handlers log, as they are kept with their jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from queuey.protocol.models.jobs import MAX_LEASED, JobId, Token

MAX_LOG_LINES: Final = 100
"""The maximum number of lines that are kept with a job, and sent for an attempt."""
LogLevel = Literal["debug", "info", "warning", "error", "critical"]


class LogLine(Struct, frozen=True):
    """A line that an attempt has logged."""

    attempt: int
    at: datetime
    level: LogLevel
    text: str


class JobLog(Struct):
    """The answer to `GET /v1/jobs/{id}/log`: the last lines of all attempts, oldest first."""

    job_id: str
    lines: list[LogLine]


class LoggedLine(Struct, forbid_unknown_fields=True):
    """A line that a pull worker sends. `at` is the time of the request by default."""

    text: str
    level: LogLevel = "info"
    at: Annotated[datetime, Meta(tz=True)] | None = None


class LogItem(Struct, forbid_unknown_fields=True):
    """The lines of an attempt: the body of `POST /v1/leases/log`, or one of its `jobs`.

    `lines` are all lines of the attempt, or the last 100. They replace what was sent for it before.
    """

    id: JobId
    token: Token
    lines: Annotated[list[LoggedLine], Meta(max_length=MAX_LOG_LINES)]
    attempt: Annotated[int, Meta(ge=1, le=1000)] = 1


class LogBatch(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/leases/log` for several jobs. Each has its own outcome."""

    jobs: Annotated[list[LogItem], Meta(min_length=1, max_length=MAX_LEASED)]
