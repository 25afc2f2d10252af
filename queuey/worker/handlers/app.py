"""The App, which is a set of handlers, and the loading of one. See docs/handlers.md."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from queuey.errors import StartupError
from queuey.protocol.models import Backoff
from queuey.worker.handlers import signatures
from queuey.worker.handlers.functions import JobFunction, Sender
from queuey.worker.handlers.handler import Handler, inspected
from queuey.worker.handlers.signatures import Mode

Payload = TypeVar("Payload")
P = ParamSpec("P")
R = TypeVar("R")
MAX_NAME: Final = 64
Lifespan = Callable[["App"], AbstractAsyncContextManager[Any]]


class App:
    """A set of handlers for job types.

    `name` is shown with its workers. Without a name, it gets that of the top package of the module that `--app` names.
    `lifespan` is a function that takes the App and returns an async context manager. It is entered before the first job
    and left after the last. The value that it yields is `ctx.state`.
    """

    def __init__(self, *, name: str | None = None, lifespan: Lifespan | None = None) -> None:
        if name is not None:
            signatures.check_name("name of an App", name)
        if inspect.isasyncgenfunction(lifespan):
            raise StartupError(f"decorate {signatures.where(lifespan)} with contextlib.asynccontextmanager")
        self.name = name or ""
        """Empty until an App without a name is loaded by its path."""
        self.lifespan: Final = lifespan
        self.sender: Sender | None = None
        """Takes the jobs that async handlers enqueue without a client. The worker that runs them sets it."""
        self._handlers: dict[str, Handler] = {}

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The handlers by type."""
        return MappingProxyType(self._handlers)

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that its handlers name, in their order; `default` when there are no handlers."""
        return tuple(dict.fromkeys(handler.queue for handler in self._handlers.values())) or ("default",)

    def queue_of(self, type: str) -> str | None:
        """Return the queue of the type's handler, or None."""
        handler = self._handlers.get(type)
        return handler.queue if handler else None

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

        `timeout` is in seconds. `run_in=None` means "loop" for an async function and "thread" for a plain one.
        Raises StartupError, which says what to change.
        """

        def register(given: Callable[Concatenate[Payload, P], R]) -> JobFunction[Payload, P, R]:
            function = given.function if isinstance(given, JobFunction) else given
            try:
                if type in self._handlers:
                    taken_by = signatures.where(self._handlers[type].function)
                    raise StartupError(f"the type {type!r} is already taken by {taken_by}")
                handler = inspected(
                    type,
                    function,
                    queue=queue,
                    timeout=timeout,
                    max_attempts=max_attempts,
                    backoff=backoff,
                    run_in=run_in,
                )
            except StartupError as error:
                raise StartupError(f"{signatures.where(function)}: {error.message}") from error.__cause__
            self.add(handler)
            return JobFunction(function, type, handler.options, lambda: self.sender)

        return register

    def add(self, handler: Handler) -> None:
        """Add a handler that has been checked."""
        self._handlers[handler.type] = handler


def load_app(path: str) -> App:
    """Import the App at "module:attribute", and name it if it has no name. The current directory is searched too.

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
        raise StartupError(f"--app {path!r}: it has the type {type(app).__qualname__}; it must be a queuey.App")
    app.name = app.name or module_name.partition(".")[0][:MAX_NAME]
    return app


def _why_not(module_name: str, here: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
        return f"there is no module {error.name!r} in {here} or among the installed packages"
    return f"importing the module failed with {type(error).__qualname__}: {error}"
