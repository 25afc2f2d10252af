"""One attempt at a job: the Work that an executor gets, and the outcome that it returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from queuey.protocol.job_errors import error_entry
from queuey.protocol.models import Backoff, ProgressReport

if TYPE_CHECKING:
    from asyncio import Task, TimerHandle

StopReason = Literal["timeout", "cancelled"]
Kind = Literal[
    "error",
    "timeout",
    "retry",
    "dead",
    "payload",
    "unknown_type",
    "result_too_large",
    "result_not_json",
    "worker_died",
    "cancelled",
]


Report = Callable[["Work", ProgressReport], None]
"""Receives the progress of an attempt, in any thread."""


class Work(msgspec.Struct, eq=False):
    """One attempt at a job, as claimed.

    `payload` is JSON text. `attempt` counts from 1. `timeout` (seconds) and `backoff` are the job's own; None means
    that it has none. The fields from `report` on belong to the execution.
    """

    id: str
    type: str
    queue: str
    payload: str | bytes | msgspec.Raw
    token: str
    attempt: int
    max_attempts: int
    timeout: float | None = None
    backoff: Backoff | None = None
    due_ms: int = 0
    """The time at which the job became due, by the store's clock."""
    traceparent: str | None = None
    """The span in which the job was submitted (traceparent.py)."""

    report: Report | None = None
    """Takes the handler's progress, from any thread; None drops it."""
    limit: float = 0.0
    """The seconds that the handler may take, once it has begun."""
    started_at: float | None = None
    """The time.monotonic() at which the handler started; None while the job waits for a thread or a process."""
    stopping: StopReason | None = None
    """Set once the result is no longer wanted."""
    abandoned: bool = False
    """Whether the grace after a timeout or cancel is over."""
    task: Task[Any] | None = None
    timer: TimerHandle | None = None
    span: str | None = None
    """The handler's own span, when there is one, as a traceparent."""
    isolated: bool = False
    """Whether it runs in a child process of its own, since it may kill the process that runs it."""
    interrupts: int = 0
    """The number of times that the execution has cancelled `task`."""
    interrupts_before: int = 0
    """The number of times that others had cancelled it before."""


class Succeeded(msgspec.Struct, tag="succeeded", array_like=True, frozen=True):
    """The outcome of a handler that returned. `result_json` is JSON on one line, within the limit."""

    result_json: str


class Failed(msgspec.Struct, tag="failed", array_like=True):
    """The outcome of an attempt that failed. `kind` names the reason.

    `message` and `detail` (a traceback's last frames) have a maximum length. `dead` means that no retry can help.
    Otherwise the next attempt is due in `retry_after_ms`; `after` holds the seconds that a `Retry` asked for.
    """

    kind: Kind
    message: str
    detail: str | None = None
    dead: bool = False
    after: float | None = None
    retry_after_ms: int = 0


Outcome = Succeeded | Failed


class ProgressMessage(msgspec.Struct, tag="said", array_like=True):
    """A progress report that a child process sends before the outcome."""

    report: ProgressReport


def error_json(failed: Failed, *, attempt: int, worker: str | None = None) -> str:
    """Return the failure as an entry of the job's `errors`: JSON on one line, at most 1,024 bytes of UTF-8."""
    return error_entry(failed.kind, failed.message, failed.detail, attempt=attempt, worker=worker)
