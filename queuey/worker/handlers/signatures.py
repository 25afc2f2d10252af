"""Checks of a handler's function and of its options. Each raises StartupError."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from queuey.errors import StartupError
from queuey.protocol.models import NAME_PATTERN, Backoff, MaxAttempts, Timeout

Mode = Literal["loop", "thread", "process"]
MAX_CONCURRENCY: Final = 10_000
"""The most jobs that a process runs at a time, as the setting `concurrency` allows."""


def where(function: Callable[..., Any]) -> str:
    """Return a function's name and its place, for messages."""
    plain: Any = inspect.unwrap(function)
    name = f"{plain.__module__}.{getattr(plain, '__qualname__', type(plain).__qualname__)}"
    code = getattr(plain, "__code__", None)
    return name if code is None else f"{name} ({code.co_filename}:{code.co_firstlineno})"


def check_name(what: str, name: str) -> None:
    """Check the name of a type or a queue."""
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise StartupError(
            f"{name!r} is not a valid {what}: use 1 to 64 of A-Z a-z 0-9 . _ -, and begin with a letter or digit"
        )


def check_decorated(type: object) -> None:
    """Check that the decorator got the type of the jobs, and not the function."""
    if callable(type):
        raise StartupError(f'{where(type)}: write @app.job("type"), with the type of its jobs')
    if not isinstance(type, str):
        raise StartupError(f'app.job({type!r}): write app.job("type"), with the type of its jobs')


def check_function(function: object) -> None:
    """Check that it is a function, or an object that can be called."""
    if not callable(function):
        kind = function.__class__.__name__
        raise StartupError(f"a handler is a function, and this is a {kind}: put @app.job on a function of a module")


def check_limits(timeout: float | None, max_attempts: int | None, backoff: Backoff | None) -> None:
    """Check the options against the limits of the HTTP API, which apply here too."""
    _check("timeout", timeout, Timeout | None)
    _check("max_attempts", max_attempts, MaxAttempts | None)
    _check("backoff", backoff, Backoff | None)
    if backoff is not None and backoff.cap < backoff.base:
        raise StartupError(f"backoff: its cap ({backoff.cap}) is below its base ({backoff.base})")


def check_concurrency(concurrency: object) -> None:
    """Check the number of jobs of a type that run at a time."""
    if concurrency is None:
        return
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or not 1 <= concurrency <= MAX_CONCURRENCY:
        raise StartupError(
            f"concurrency={concurrency!r}: it is a whole number from 1 to {MAX_CONCURRENCY}; leave it out for no limit"
        )


def _check(what: str, value: object, annotation: object) -> None:
    try:
        msgspec.convert(msgspec.to_builtins(value), annotation)
    except (TypeError, msgspec.ValidationError) as error:
        raise StartupError(f"{what}={value!r}: {error}") from error


def mode(function: Callable[..., Any], run_in: Mode | None) -> Mode:
    """Return where the function runs: as asked for, else in the loop if it is async, else in a thread."""
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object whose __call__ is async counts
    )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise StartupError("a handler returns its result: it cannot be a generator")
    if run_in not in (None, "loop", "thread", "process"):
        raise StartupError(f'run_in={run_in!r}: it is one of None, "loop", "thread", "process"')
    if is_async and run_in in ("thread", "process"):
        raise StartupError(f'an async function runs in the loop: make it a plain one for run_in="{run_in}"')
    if not is_async and run_in == "loop":
        raise StartupError('a plain function would block the loop: make it async, or leave run_in="loop" out')
    if run_in == "process":
        _check_importable(function)
    return run_in or ("loop" if is_async else "thread")


def _check_importable(function: Callable[..., Any]) -> None:
    """Check that a plain import finds the handler, since a child process imports the App again."""
    name = getattr(function, "__qualname__", "<object>")
    if "<" in name:
        raise StartupError('run_in="process" needs a function at the top of a module, that a child process can import')
    if function.__module__ == "__main__":
        raise StartupError(
            'run_in="process" needs a function in a module that a child process can import by name, not in __main__'
        )
