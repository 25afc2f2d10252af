"""The outcome of a handler, as middleware sees it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any, Literal, TypeAlias

import msgspec

from queuey.worker.handlers.attempt import Work
from queuey.worker.handlers.context import Dead, Retry, Snooze

Status = Literal["succeeded", "retry", "snooze", "dead", "error", "timeout", "cancelled"]


class HandlerOutcome(msgspec.Struct, frozen=True, eq=False):
    """The value that a handler returned, or the exception that it raised. With an `exception` there is no `result`."""

    status: Status
    """`succeeded`, or the kind of the failure. `timeout` and `cancelled`: the result is no longer wanted."""
    result: Any = None
    """The value that the handler returned, before it is written as JSON."""
    exception: BaseException | None = None
    """The exception that the handler, or a middleware further in, raised."""


Middleware: TypeAlias = Generator[None, HandlerOutcome, None]
"""The return type of a middleware."""
AsyncMiddleware: TypeAlias = AsyncGenerator[None, HandlerOutcome]
"""The return type of a middleware that is async."""


def returned(result: object, work: Work) -> HandlerOutcome:
    """Return the outcome of a handler that returned. A result that comes after the timeout does not count."""
    return HandlerOutcome("timeout" if work.stopping == "timeout" else "succeeded", result)


def raised(error: BaseException, work: Work) -> HandlerOutcome:
    """Return the outcome of a handler that raised."""
    status: Status = "error"
    if work.stopping is not None:
        status = work.stopping
    elif isinstance(error, Retry):
        status = "retry"
    elif isinstance(error, Snooze):
        status = "snooze"
    elif isinstance(error, Dead):
        status = "dead"
    return HandlerOutcome(status, None, error)
