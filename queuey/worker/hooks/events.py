"""Events: functions that learn how attempts at jobs begin and end. They only look, and change nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, get_args

import msgspec

from queuey.errors import StartupError
from queuey.worker.handlers.attempt import Failed, Work
from queuey.worker.handlers.error_text import describe, traceback_of
from queuey.worker.handlers.signatures import where

EventName = Literal["on_start", "on_success", "on_retry", "on_failure", "on_dead"]
NAMES: Final[tuple[EventName, ...]] = get_args(EventName)


class JobEvent(msgspec.Struct, frozen=True, eq=False):
    """An event of a job, as its worker knows it."""

    job_id: str
    type: str
    queue: str
    attempt: int
    """The number of the attempt; the first is 1."""
    max_attempts: int
    ran: float | None = None
    """The seconds that the handler ran; None at its start, and if it did not begin."""
    kind: str | None = None
    """The kind of a failure, such as `error` or `timeout`."""
    message: str | None = None
    """The message of a failure."""
    traceback: str | None = None
    """The traceback of a failure, cut."""


EventFunction = Callable[[JobEvent], None]


class Events:
    """The functions of an App that want to know about its jobs. They are called in the order of their registration."""

    def __init__(self) -> None:
        self._functions: dict[EventName, list[EventFunction]] = {name: [] for name in NAMES}

    def add(self, name: EventName, function: EventFunction) -> None:
        """Add a function. Raises StartupError, which says what to change."""
        if inspect.iscoroutinefunction(function):
            raise StartupError(
                f"{where(function)}: {name} calls a plain function. Make it one, and leave what takes time to a thread "
                "or a queue of yours"
            )
        try:
            inspect.signature(function).bind(None)
        except TypeError as error:
            raise StartupError(f"{where(function)}: a function for {name} takes (event): {error}") from error
        if function in self._functions[name]:
            raise StartupError(f"{where(function)}: this function is registered twice for {name}: leave one out")
        self._functions[name].append(function)

    def any_of(self, names: Sequence[EventName]) -> bool:
        """Return whether a function wants to know one of these events."""
        return any(self._functions[name] for name in names)

    def notify(self, names: Sequence[EventName], event: JobEvent) -> None:
        """Call the functions. An exception is logged, and nothing else."""
        for name in names:
            for function in self._functions[name]:
                try:
                    function(event)
                except BaseException as error:
                    from queuey import log  # late: commands that import an App need not wait for structlog

                    log.get(__name__).error(
                        "hook_failed",
                        hook=f"{name}: {where(function)}",
                        job_id=event.job_id,
                        type=event.type,
                        error=describe(error),
                        exception=traceback_of(error),
                    )

    def started(self, work: Work) -> None:
        """Report an attempt that a worker begins."""
        if self._functions["on_start"]:
            self.notify(("on_start",), _event(work))

    def succeeded(self, work: Work, ran: float | None) -> None:
        """Report an attempt that succeeded."""
        self.notify(("on_success",), _event(work, ran=ran))

    def failed(self, work: Work, failed: Failed, status: str, ran: float | None) -> None:
        """Report an attempt that failed, with the status of its job: `retry`, `dead` or `dead_letter`.

        A cancel and a snooze are not reported.
        """
        if status not in ("cancelled", "snoozed"):
            event = _event(work, ran=ran, kind=failed.kind, message=failed.message, traceback=failed.detail)
            self.notify(("on_failure", "on_retry" if status == "retry" else "on_dead"), event)


def _event(work: Work, **fields: Any) -> JobEvent:
    return JobEvent(work.id, work.type, work.queue, work.attempt, work.max_attempts, **fields)
