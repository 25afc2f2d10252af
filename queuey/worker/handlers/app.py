"""The App, which is a set of handlers, and the loading of one. See docs/handlers.md."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import MappingProxyType, ModuleType
from typing import Any, Final, TypeVar, cast

from queuey.errors import AppNotFound, StartupError
from queuey.protocol.json.codecs import Codec
from queuey.protocol.models import Backoff
from queuey.worker.handlers import signatures
from queuey.worker.handlers.error_text import describe, traceback_of
from queuey.worker.handlers.functions import JobFunction, Register, Sender
from queuey.worker.handlers.handler import Handler, inspected, scheduled
from queuey.worker.handlers.retry_policy import Exceptions, Wait
from queuey.worker.handlers.signatures import Mode
from queuey.worker.hooks.coding import reads_sealed
from queuey.worker.hooks.events import EventFunction
from queuey.worker.hooks.hooks import Hooks
from queuey.worker.hooks.middleware import MiddlewareFunction
from queuey.worker.schedules.declaring import Declared, Schedule, given_schedules

M = TypeVar("M", bound=MiddlewareFunction)
E = TypeVar("E", bound=EventFunction)
MAX_NAME: Final = 64
MAX_NAMED: Final = 3
"""The maximum number of Apps that an error proposes."""
Lifespan = Callable[["App"], AbstractAsyncContextManager[Any]]
ProcessLifespanFunction = Callable[["App"], AbstractContextManager[Any]]


class App:
    """A set of handlers for job types.

    `name` is shown with its workers. Without a name, it gets that of the top package of the module that `--app` names.
    `lifespan` is a function that takes the App and returns an async context manager. It is entered before the first job
    and left after the last. The value that it yields is `ctx.state`. `process_lifespan` is a function that takes the
    App and returns a plain context manager. Each child process enters it, for its handlers. `codec` changes the bytes
    of payloads and results.

    `queue`, `timeout` (in seconds), `max_attempts` and `backoff` are the defaults of the handlers that are registered
    with this App. Raises StartupError, which says what to change.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        lifespan: Lifespan | None = None,
        process_lifespan: ProcessLifespanFunction | None = None,
        queue: str = "default",
        timeout: float | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | Wait | None = None,
        codec: Codec | None = None,
    ) -> None:
        if name is not None:
            signatures.check_name("name of an App", name)
        signatures.check_name("queue", queue)
        signatures.check_limits(timeout, max_attempts, backoff if isinstance(backoff, Backoff) else None)
        if inspect.isasyncgenfunction(lifespan):
            raise StartupError(f"decorate {signatures.where(lifespan)} with contextlib.asynccontextmanager")
        if inspect.isgeneratorfunction(process_lifespan):
            raise StartupError(f"decorate {signatures.where(process_lifespan)} with contextlib.contextmanager")
        self.name = name or ""
        """Empty until an App without a name is loaded by its path."""
        self.is_named: Final = name is not None
        self.lifespan: Final = lifespan
        self.process_lifespan: Final = process_lifespan
        self.sender: Sender | None = None
        """Takes the jobs that async handlers enqueue without a client. The worker that runs them sets it."""
        self._handlers: dict[str, Handler] = {}
        self.codec: Final = codec
        self.hooks = Hooks(codec)
        self._included_by: App | None = None
        self._queue: Final = queue
        self._timeout: Final = timeout
        self._max_attempts: Final = max_attempts
        self._backoff: Final = backoff

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The handlers by type."""
        return MappingProxyType(self._handlers)

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that its handlers name, in their order; `default` when there are no handlers."""
        return tuple(dict.fromkeys(handler.queue for handler in self._handlers.values())) or ("default",)

    @property
    def schedules(self) -> Mapping[str, Declared]:
        """The schedules of its handlers, by name."""
        return {each.name: each for handler in self._handlers.values() for each in handler.schedules}

    def queue_of(self, type: str) -> str | None:
        """Return the queue of the type's handler, or None."""
        handler = self._handlers.get(type)
        return handler.queue if handler else None

    def job(
        self,
        type: str,
        *,
        queue: str | None = None,
        timeout: float | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | Wait | None = None,
        retry_on: Exceptions | None = None,
        dead_on: Exceptions | None = None,
        run_in: Mode | None = None,
        concurrency: int | None = None,
        cron: str | None = None,
        every: float | None = None,
        timezone: str | None = None,
        schedules: Sequence[Schedule] = (),
    ) -> Register:
        """Register the decorated function for jobs of this type. It is called as before, and has `enqueue`.

        `timeout` is in seconds. An option that is None is that of the App; `run_in=None` means "loop" for an async
        function and "thread" for a plain one. An error of `dead_on` makes the job dead at once; with `retry_on`, so
        does every other error. `backoff` may be a function of the failed attempts and the error, which returns seconds.
        `concurrency`: the number of jobs of this type that each worker process runs at a time.

        `cron`, with its `timezone`, or `every`, in seconds, is a schedule for jobs without a payload. `schedules` has
        those that need more: several of them, a payload, or other rules.
        Raises StartupError, which says what to change.
        """

        signatures.check_decorated(type)

        def register(given: Callable[..., Any]) -> JobFunction[Any, Any, Any]:
            function = given.function if isinstance(given, JobFunction) else given
            try:
                handler = inspected(
                    type,
                    function,
                    queue=self._queue if queue is None else queue,
                    timeout=self._timeout if timeout is None else timeout,
                    max_attempts=self._max_attempts if max_attempts is None else max_attempts,
                    backoff=self._backoff if backoff is None else backoff,
                    retry_on=retry_on,
                    dead_on=dead_on,
                    run_in=run_in,
                    concurrency=concurrency,
                )
                self.add(scheduled(handler, given_schedules(cron, every, timezone, schedules)))
            except StartupError as error:
                raise StartupError(f"{signatures.where(function)}: {error.message}") from error.__cause__
            return JobFunction(
                function, type, handler.options, self._current_sender, handler.fields, self._current_codec
            )

        return cast("Register", register)

    def middleware(self, function: M) -> M:
        """Run the decorated generator function around every handler. It takes the Context and yields once.

        The yield gives it the HandlerOutcome. What it raises replaces the outcome. The first middleware is outermost.
        Raises StartupError, which says what to change.
        """
        self.hooks.add_middleware(function)
        return function

    def on_start(self, function: E) -> E:
        """Call the decorated function with a JobEvent when a worker begins an attempt, in the worker's event loop.

        The functions for events only look: an exception is logged. There is no promise that each event is reported.
        """
        self.hooks.add_event("on_start", function)
        return function

    def on_success(self, function: E) -> E:
        """Call the decorated function with a JobEvent when a job has succeeded."""
        self.hooks.add_event("on_success", function)
        return function

    def on_retry(self, function: E) -> E:
        """Call the decorated function with a JobEvent when an attempt has failed and there will be another."""
        self.hooks.add_event("on_retry", function)
        return function

    def on_failure(self, function: E) -> E:
        """Call the decorated function with a JobEvent when an attempt has failed, before on_retry or on_dead."""
        self.hooks.add_event("on_failure", function)
        return function

    def on_dead(self, function: E) -> E:
        """Call the decorated function with a JobEvent when a job has become a dead letter."""
        self.hooks.add_event("on_dead", function)
        return function

    def include(self, other: App) -> None:
        """Add the handlers of another App, also those that it registers later. They keep the defaults of that App.

        Hooks and the lifespan are those of this App. Raises StartupError, which says what to change.
        """
        if other._included_by is not None:
            raise StartupError("this App is already included: include each App once")
        if other in self._line():
            raise StartupError("an App cannot include itself, nor an App that includes it")
        if other.lifespan is not None or other.process_lifespan is not None:
            raise StartupError("the included App has a lifespan: move it to the App that includes it")
        for handler in other._handlers.values():
            self._check_free(handler)
        other.hooks.leave_to_another()
        for handler in other._handlers.values():
            self.add(handler)
        other._included_by = self

    def _line(self) -> list[App]:
        """Return this App, the one that includes it, and so on."""
        line = [self]
        while line[-1]._included_by is not None:
            line.append(line[-1]._included_by)
        return line

    def _current_sender(self) -> Sender | None:
        return self._line()[-1].sender or self.sender

    def _current_codec(self) -> Codec | None:
        return self._line()[-1].codec

    def add(self, handler: Handler) -> None:
        """Add a handler that has been checked. Raises StartupError if its type is taken."""
        self._check_free(handler)
        if (codec := self._current_codec()) is not None:
            handler = reads_sealed(handler, codec)
        for app in self._line():
            app._handlers[handler.type] = handler

    def _check_free(self, handler: Handler) -> None:
        for app in self._line():
            if taken := app._handlers.get(handler.type):
                by = signatures.where(taken.function)
                raise StartupError(f"the type {handler.type!r} is already taken by {by}")
            _check_names(handler, app._handlers.values())


def _check_names(handler: Handler, others: Iterable[Handler]) -> None:
    """Check that each schedule of the handler has a name of its own. Raises StartupError."""
    taken = {each.name: other for other in others for each in other.schedules}
    for each in handler.schedules:
        if (other := taken.setdefault(each.name, handler)) is not handler:
            by = signatures.where(other.function)
            raise StartupError(f"the schedule {each.name!r} is already taken by {by}: give one of them another name")
    if len({each.name for each in handler.schedules}) < len(handler.schedules):
        raise StartupError("two of its schedules have the same name: give each a name, as in Schedule(name=...)")


def load_app(path: str) -> App:
    """Import the App at "module:attribute", and name it if it has no name. The current directory is searched too.

    Raises AppNotFound if the path is wrong, else StartupError. Both say what to change.
    """
    module_name, _, attribute = path.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), attribute]):
        raise AppNotFound(f"--app {path!r}: write it as module:attribute, for example mymodule:app")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module_name)
    except StartupError:
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
            reason = f"there is no module {error.name!r} in {here} or among the installed packages"
            raise AppNotFound(f"--app {path!r}: {reason}") from error
        reason = f"importing the module failed with {describe(error)}"
        raise StartupError(f"--app {path!r}: {reason}", traceback_of(error)) from error
    app = getattr(found, attribute, None)
    if not isinstance(app, App):
        raise AppNotFound(f"--app {path!r}: {_why_not(found, attribute)}")
    app.name = app.name or module_name.partition(".")[0][:MAX_NAME]
    return app


def _why_not(module: ModuleType, attribute: str) -> str:
    """Return why an attribute cannot be the App, and which ones can."""
    reason = f"the module {module.__name__!r} has no attribute {attribute!r}"
    if hasattr(module, attribute):
        reason = f"it has the type {type(getattr(module, attribute)).__qualname__}; it must be a queuey.App"
    apps = [f"{module.__name__}:{name}" for name, value in vars(module).items() if isinstance(value, App)]
    return f"{reason}. Use {' or '.join(apps[:MAX_NAMED])}" if apps else reason
