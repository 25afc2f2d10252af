"""One attempt at a job: the Work that an executor gets, and the outcome that it returns."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from queuey.protocol.models import Backoff, ProgressReport
from queuey.protocol.stored.job_errors import error_entry, snoozed_too_often
from queuey.worker.handlers.job_lines import JobLines

if TYPE_CHECKING:
    from asyncio import Task, TimerHandle

    from queuey.lifecycle import Alarm

StopReason = Literal["timeout", "cancelled"]
Kind = Literal[
    "error",
    "timeout",
    "retry",
    "snooze",
    "dead",
    "payload",
    "unknown_type",
    "result_too_large",
    "result_not_json",
    "worker_died",
    "cancelled",
]


Report = Callable[["Work", ProgressReport | JobLines], None]
"""Receives the progress of an attempt, and its lines each time that there is a new one, in any thread."""
Keep = Callable[["Work", str], "Keeping"]
"""Keeps a checkpoint of an attempt, in any thread: JSON on one line, '' for none any more."""
LOST: Final = "another worker has the job now, or it has finished"


class CheckpointFailed(Exception):
    """Raised when a checkpoint was not kept. `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the checkpoint was not kept: {self.reason}"


class Keeping(Future[None]):
    """The answer to a checkpoint, for which a handler waits. It gets CheckpointFailed if the value was not kept.

    Nothing can cancel it, so it gets an answer.
    """

    def __init__(self, work: Work, value: str) -> None:
        super().__init__()
        self.set_running_or_notify_cancel()
        self.work = work
        self.value = value

    def settle(self, refusal: str) -> None:
        """Set the answer: the reason why the value was not kept, '' if it was. Then it is the last one of its Work.

        Checkpoints of one attempt are settled in their order, whatever threads wait for them.
        """
        if refusal:
            self.set_exception(CheckpointFailed(refusal))
        else:
            self.work.checkpoint = self.value
            self.set_result(None)


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
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] | None = None
    batch_key: str | None = None
    """The key of the batch, if the payload is the list of its items."""

    report: Report | None = None
    """Takes the handler's progress and its lines, from any thread; None drops them."""
    keep: Keep | None = None
    """Takes the handler's checkpoints, from any thread; None drops them."""
    checkpoint: str = ""
    """The last checkpoint as JSON, of an earlier attempt or of this one; '' = none."""
    checkpoints: int = 0
    """The number of checkpoints that this lease has sent."""
    limit: float = 0.0
    """The seconds that the handler may take, once it has begun."""
    started_at: float | None = None
    """The time.monotonic() at which the handler started; None while the job waits for a thread or a process."""
    stopping: StopReason | None = None
    """Set once the result is no longer wanted."""
    abandoned: bool = False
    """Whether the grace after a timeout or cancel is over."""
    task: Task[Any] | None = None
    timer: TimerHandle | Alarm | None = None
    lines: JobLines | None = None
    """The lines that its handler has logged; None if it has no logger yet."""
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

    `message` and `detail` (a traceback, cut) have a maximum length. `dead` means that no retry can help.
    Otherwise the next attempt is due in `retry_after_ms`; `after` holds the seconds that a `Retry` asked for. The kind
    `snooze` is not counted as a failure, and spends no attempt.
    """

    kind: Kind
    message: str
    detail: str | None = None
    dead: bool = False
    after: float | None = None
    retry_after_ms: int = 0

    def as_last(self) -> Failed:
        """Return the failure of a job that may not be snoozed again; any other failure as it is."""
        if self.kind != "snooze":
            return self
        return Failed("snooze", snoozed_too_often(self.message), dead=True)


Outcome = Succeeded | Failed


class CheckpointMessage(msgspec.Struct, tag="kept", array_like=True):
    """A checkpoint that a child process sends before the outcome.

    The answer is the reason why it was not kept, or ''.
    """

    value: str


class ProgressMessage(msgspec.Struct, tag="said", array_like=True):
    """A progress report that a child process sends before the outcome."""

    report: ProgressReport


class LogMessage(msgspec.Struct, tag="logged", array_like=True):
    """The lines of an attempt that a child process sends before the outcome: all that are kept."""

    text: str


def error_json(failed: Failed, *, attempt: int, worker: str | None = None) -> str:
    """Return the failure as an entry of the job's `errors`: JSON on one line, at most 4,096 bytes of UTF-8."""
    return error_entry(failed.kind, failed.message, failed.detail, attempt=attempt, worker=worker)
