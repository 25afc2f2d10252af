"""What users of the Python API import: App, Context, Dead, Retry.

A handler is a function that takes the payload, or the payload and a Context, and returns the result. See
docs/handlers.md.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import msgspec

from queuey.errors import StartupError
from queuey.protocol.job_requests import JobOptions
from queuey.protocol.models import MAX_NOTE, YEAR, Backoff, ProgressReport
from queuey.worker.handlers import signatures
from queuey.worker.handlers.attempt import Work
from queuey.worker.handlers.functions import JobFunction, Sender
from queuey.worker.handlers.signatures import Mode

Payload = TypeVar("Payload")
P = ParamSpec("P")
R = TypeVar("R")
Lifespan = Callable[["App"], AbstractAsyncContextManager[Any]]


class Retry(Exception):
    """Raised by a handler to be run again. It spends an attempt.

    `after`: seconds until then, exactly; without it the job's backoff decides. `reason` is kept with the job.
    """

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        super().__init__(reason)
        if after is not None and not 0 <= after <= YEAR:
            raise ValueError(f"Retry(after={after!r}): it must be between 0 and {YEAR} seconds")
        self.reason = reason
        self.after = after


class Dead(Exception):
    """Raised by a handler to send the job to the dead-letter queue at once. `reason` is kept with the job."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class Context:
    """What a handler may know about its job."""

    __slots__ = ("_log", "_work", "state")

    def __init__(self, work: Work, state: Any) -> None:
        self._work = work
        self._log: Any = None
        self.state = state
        """What the App's lifespan yielded; None without one, and in processes."""

    @property
    def job_id(self) -> str:
        return self._work.id

    @property
    def type(self) -> str:
        return self._work.type

    @property
    def queue(self) -> str:
        return self._work.queue

    @property
    def attempt(self) -> int:
        """1 at the first."""
        return self._work.attempt

    @property
    def max_attempts(self) -> int:
        return self._work.max_attempts

    @property
    def token(self) -> str:
        """The lease's token: `<claims>.<random>`."""
        return self._work.token

    @property
    def claims(self) -> int:
        """Rises with every claim of the job and never falls: a fencing number for what the handler writes to."""
        return int(self._work.token.partition(".")[0])

    @property
    def cancelled(self) -> bool:
        """True once the result is no longer wanted: timed out or cancelled. Long loops in threads should look."""
        return self._work.stopping is not None

    def progress(self, done: int | float, total: int | float | None = None, note: str | None = None) -> None:
        """Tell how far the job has come: `done` of `total`, in whatever it counts, 0 to 10^15, and a note, of which 200
        characters are kept. It is seen at once, and from then on twice a second at most: the last one counts.

        Raises ValueError.
        """
        numbers: tuple[tuple[str, Any], ...] = (("done", done), ("total", 0 if total is None else total))
        for name, value in numbers:
            if not isinstance(value, (int, float)) or not 0 <= value <= 1e15:
                raise ValueError(f"progress({name}={value!r}): it must be a number from 0 to 10^15")
        kept = note and note[:MAX_NOTE].encode(errors="replace").decode()  # half a character would stop its way
        report = ProgressReport(done, total, kept)
        if self._work.report is not None:
            self._work.report(self._work, report)

    @property
    def log(self) -> Any:
        """A structlog logger that bears the job's id, type and attempt."""
        if self._log is None:
            import structlog  # Slow to import, and few handlers in child processes log.

            work = self._work
            logger = structlog.get_logger("queuey.handler")
            self._log = logger.bind(job_id=work.id, type=work.type, attempt=work.attempt)
        return self._log


class Handler(msgspec.Struct, frozen=True, eq=False):
    """A registered function. None stands for "not said": the job's own value or the default decides."""

    type: str
    function: Callable[..., Any]
    mode: Mode
    takes_context: bool
    decode: Callable[[str | bytes | msgspec.Raw], Any]
    """JSON text to the payload. Raises msgspec.DecodeError, with the path of the fault."""
    queue: str
    timeout: float | None
    max_attempts: int | None
    backoff: Backoff | None

    def call(self, payload: Any, work: Work, state: object) -> Any:
        """Call the function; an async one answers with its coroutine."""
        return self.function(payload, Context(work, state)) if self.takes_context else self.function(payload)


class App:
    """A set of handlers.

    `lifespan` is a function that takes the App and returns an async context manager; it is entered before the
    first job and left after the last, and what it yields is `ctx.state`.
    """

    def __init__(self, *, lifespan: Lifespan | None = None) -> None:
        if inspect.isasyncgenfunction(lifespan):
            raise StartupError(f"decorate {signatures.where(lifespan)} with contextlib.asynccontextmanager")
        self.lifespan: Final = lifespan
        self.sender: Sender | None = None
        """What takes the jobs that async handlers enqueue without a client; set by the worker that runs them."""
        self._handlers: dict[str, Handler] = {}

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """Type to handler."""
        return MappingProxyType(self._handlers)

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that its handlers name, in that order; `default` when there are none."""
        return tuple(dict.fromkeys(handler.queue for handler in self._handlers.values())) or ("default",)

    def job(
        self,
        type: str,
        *,
        queue: str = "default",
        timeout: float | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        run_in: Mode | None = None,
    ) -> Callable[[Callable[Concatenate[Payload, P], R]], JobFunction[Payload, P, R]]:
        """Register the decorated function for jobs of this type. It is called as before, and has `enqueue`.

        timeout: seconds. run_in: None means "loop" for an async function and "thread" for a plain one.
        Raises StartupError, which says what to change.
        """

        def register(given: Callable[Concatenate[Payload, P], R]) -> JobFunction[Payload, P, R]:
            function = given.function if isinstance(given, JobFunction) else given
            try:
                signatures.check_name("type", type)
                signatures.check_name("queue", queue)
                if type in self._handlers:
                    taken_by = signatures.where(self._handlers[type].function)
                    raise StartupError(f"the type {type!r} is taken by {taken_by}")
                signatures.check_limits(timeout, max_attempts, backoff)
                mode = signatures.mode(function, run_in)
                payload, with_context = signatures.parameters(function)
                decode = signatures.decoder(payload)
            except StartupError as error:
                raise StartupError(f"{signatures.where(function)}: {error.message}") from error.__cause__
            handler = Handler(
                type=type,
                function=function,
                mode=mode,
                takes_context=with_context,
                decode=decode,
                queue=queue,
                timeout=timeout,
                max_attempts=max_attempts,
                backoff=backoff,
            )
            self.add(handler)
            return JobFunction(function, type, _options(handler), lambda: self.sender)

        return register

    def add(self, handler: Handler) -> None:
        """Take in a handler that has been checked."""
        self._handlers[handler.type] = handler


def _options(handler: Handler) -> JobOptions:
    """What a job of this handler is sent with. Its timeout and backoff are known to whoever runs it."""
    options: JobOptions = {"queue": handler.queue}
    if handler.max_attempts is not None:
        options["max_attempts"] = handler.max_attempts
    return options


def load_app(path: str) -> App:
    """The App at "module:attribute"; modules are looked for in the current directory too.

    Raises StartupError, which says what to change.
    """
    module_name, _, attribute = path.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), attribute]):
        raise StartupError(f"--app {path!r}: write it as module:attribute, for example mymodule:app")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module_name)
    except StartupError:
        raise
    except Exception as error:
        raise StartupError(f"--app {path!r}: {_why_not(module_name, here, error)}") from error
    if not hasattr(found, attribute):
        raise StartupError(f"--app {path!r}: the module {module_name!r} has no attribute {attribute!r}")
    app = getattr(found, attribute)
    if not isinstance(app, App):
        raise StartupError(f"--app {path!r}: that is of the type {type(app).__qualname__}, not a queuey.App")
    return app


def _why_not(module_name: str, here: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
        return f"there is no module {error.name!r} in {here} or among the installed packages"
    return f"importing the module failed with {type(error).__qualname__}: {error}"
