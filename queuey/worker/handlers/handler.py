"""The registered handler, and how it is made from a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import Parameter
from typing import Any

import msgspec

from queuey.protocol.job_requests import JobOptions
from queuey.protocol.json.payload_faults import PayloadFault, PayloadMismatch, faults_of
from queuey.protocol.models import Backoff
from queuey.worker.handlers import signatures
from queuey.worker.handlers.attempt import Work
from queuey.worker.handlers.context import Context
from queuey.worker.handlers.parameters import payloads
from queuey.worker.handlers.parameters.advice import advice
from queuey.worker.handlers.parameters.payloads import PayloadType, Run
from queuey.worker.handlers.parameters.reading import read
from queuey.worker.handlers.retry_policy import Exceptions, RetryPolicy, Wait, policy_of
from queuey.worker.handlers.signatures import Mode
from queuey.worker.providers.reading import Needs, needs_of
from queuey.worker.schedules.declaring import Declared, Schedule, declared


class Handler(msgspec.Struct, frozen=True, eq=False):
    """A registered function. None means that the job's own value or the default decides."""

    type: str
    function: Callable[..., Any]
    mode: Mode
    fields: tuple[Parameter, ...]
    """The parameters that the payload fills."""
    run: Run
    """Runs the function with a decoded payload, and with the Context if `takes_context`."""
    takes_context: bool
    needs: Needs
    """The values of the other parameters if one has a provider. Then providers/running.py replaces `run`."""
    payload: PayloadType
    decode: Callable[[str | bytes | msgspec.Raw], Any]
    """Decodes the payload from JSON. Raises msgspec.DecodeError, which names the place of the fault."""
    queue: str
    timeout: float | None
    max_attempts: int | None
    backoff: Backoff | None
    policy: RetryPolicy | None
    """Decides about the errors of the function. None: all are retried, by the backoff."""
    concurrency: int | None = None
    """The number of jobs of the type that run at a time in a process."""
    schedules: tuple[Declared, ...] = ()
    """The schedules that enqueue jobs for it."""

    def call(self, payload: Any, work: Work, state: object) -> Any:
        """Call the function. An async function returns its coroutine."""
        return self.run(payload, Context(work, state)) if self.takes_context else self.run(payload)

    def check(self, payload: str | bytes | msgspec.Raw) -> Any:
        """Decode the payload like `decode`, with what to send in its place in the error of one of another form."""
        try:
            return self.decode(payload)
        except msgspec.ValidationError as error:
            if hint := advice(self.fields, payload):
                [(pointer, reason), *others] = faults_of(error)
                raise PayloadMismatch([PayloadFault(pointer, f"{reason}. {hint}"), *others]) from None
            raise

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
    backoff: Backoff | Wait | None = None,
    retry_on: Exceptions | None = None,
    dead_on: Exceptions | None = None,
    run_in: Mode | None = None,
    concurrency: int | None = None,
) -> Handler:
    """Return the Handler of a function. Raises StartupError, which says what to change."""
    signatures.check_name("type", type)
    signatures.check_name("queue", queue)
    policy = policy_of(type, retry_on, dead_on, backoff)
    plain = backoff if isinstance(backoff, Backoff) else None
    signatures.check_limits(timeout, max_attempts, plain)
    signatures.check_concurrency(concurrency)
    signatures.check_function(function)
    mode = signatures.mode(function, run_in)
    parameters = read(function)
    payload = payloads.payload_type(parameters.fields)
    return Handler(
        type=type,
        function=function,
        mode=mode,
        fields=parameters.fields,
        run=payloads.runner(function, parameters),
        takes_context=parameters.context is not None,
        needs=needs_of(parameters.provided, parameters.context, mode),
        payload=payload,
        decode=payload.decode,
        queue=queue,
        timeout=timeout,
        max_attempts=max_attempts,
        backoff=plain,
        policy=policy,
        concurrency=concurrency,
    )


def scheduled(handler: Handler, schedules: Sequence[Schedule]) -> Handler:
    """Return the handler with these schedules. Raises StartupError, which says what to change."""
    if not schedules:
        return handler
    found = declared(handler.type, schedules, handler.options, handler.fields, handler.check)
    return msgspec.structs.replace(handler, schedules=found)
