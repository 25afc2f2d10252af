"""The registered handler, and how it is made from a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from queuey.protocol.job_requests import JobOptions
from queuey.protocol.models import Backoff
from queuey.worker.handlers import signatures
from queuey.worker.handlers.attempt import Work
from queuey.worker.handlers.context import Context
from queuey.worker.handlers.signatures import Mode


class Handler(msgspec.Struct, frozen=True, eq=False):
    """A registered function. None means that the job's own value or the default decides."""

    type: str
    function: Callable[..., Any]
    mode: Mode
    takes_context: bool
    decode: Callable[[str | bytes | msgspec.Raw], Any]
    """Decodes the payload from JSON. Raises msgspec.DecodeError, which names the place of the fault."""
    queue: str
    timeout: float | None
    max_attempts: int | None
    backoff: Backoff | None

    def call(self, payload: Any, work: Work, state: object) -> Any:
        """Call the function. An async function returns its coroutine."""
        return self.function(payload, Context(work, state)) if self.takes_context else self.function(payload)

    @property
    def options(self) -> JobOptions:
        """The options that a job for this handler is enqueued with. The worker knows its timeout and backoff."""
        options: JobOptions = {"queue": self.queue}
        if self.max_attempts is not None:
            options["max_attempts"] = self.max_attempts
        return options


def inspected(
    type: str,
    function: Callable[..., Any],
    *,
    queue: str = "default",
    timeout: float | None = None,
    max_attempts: int | None = None,
    backoff: Backoff | None = None,
    run_in: Mode | None = None,
) -> Handler:
    """Return the Handler of a function. Raises StartupError, which says what to change."""
    signatures.check_name("type", type)
    signatures.check_name("queue", queue)
    signatures.check_limits(timeout, max_attempts, backoff)
    mode = signatures.mode(function, run_in)
    payload, takes_context = signatures.parameters(function)
    return Handler(
        type=type,
        function=function,
        mode=mode,
        takes_context=takes_context,
        decode=signatures.decoder(payload),
        queue=queue,
        timeout=timeout,
        max_attempts=max_attempts,
        backoff=backoff,
    )
