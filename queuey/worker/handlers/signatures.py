"""Checks of a handler's function and of its parameters. Each raises StartupError."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal, cast, get_type_hints

import msgspec

from queuey.errors import StartupError
from queuey.protocol.models import NAME_PATTERN, Backoff, MaxAttempts, Timeout

Mode = Literal["loop", "thread", "process"]


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


def check_limits(timeout: float | None, max_attempts: int | None, backoff: Backoff | None) -> None:
    """Check the options against the limits of the HTTP API, which apply here too."""
    _check("timeout", timeout, Timeout | None)
    _check("max_attempts", max_attempts, MaxAttempts | None)
    _check("backoff", backoff, Backoff | None)
    if backoff is not None and backoff.cap < backoff.base:
        raise StartupError(f"backoff: its cap ({backoff.cap}) is below its base ({backoff.base})")


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


def parameters(function: Callable[..., Any]) -> tuple[Any, bool]:
    """Return the payload's type, and whether the function takes a Context too."""
    signature = _signature(function)
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = list(signature.parameters)
    if len(names) not in (1, 2) or any(p.kind not in positional for p in signature.parameters.values()):
        raise StartupError(f"a handler takes (payload) or (payload, ctx), not {_shape(signature)}")
    annotation = signature.parameters[names[0]].annotation
    if annotation is inspect.Parameter.empty:
        return Any, len(names) == 2
    # Only that annotation is resolved, since the others may use names that only type checkers import.
    probe = SimpleNamespace(__annotations__={"payload": annotation})
    try:
        hints = get_type_hints(probe, globalns=_scope(function), include_extras=True)
    except Exception as error:
        raise StartupError(
            f"the annotation of {names[0]!r} ({annotation}) cannot be resolved ({error}): "
            "define its type at the top of the module, and import it at run time"
        ) from error
    return hints["payload"], len(names) == 2


def _scope(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the names that its annotations may use."""
    plain: Any = inspect.unwrap(function)
    if isinstance(plain, partial):
        plain = plain.func
    if not hasattr(plain, "__globals__"):
        plain = type(plain).__call__
    return getattr(plain, "__globals__", {})


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        import annotationlib

        return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(function)


def _shape(signature: inspect.Signature) -> str:
    return str(signature.replace(return_annotation=inspect.Signature.empty))


def decoder(payload: Any) -> Callable[[str | bytes | msgspec.Raw], Any]:
    """Return the function that turns JSON text into that type."""
    try:
        decoder = msgspec.json.Decoder(payload)
        # Decoder accepts any class and fails at the first job; making the schema fails for undecodable types.
        msgspec.json.schema(payload)
    except Exception as error:
        reason = str(error).rpartition("\n")[2]
        raise StartupError(
            f"the payload's type {payload!r} cannot be decoded from JSON ({reason}): use a msgspec.Struct, "
            "a dataclass, a TypedDict or plain types"
        ) from error
    return cast("Callable[[str | bytes | msgspec.Raw], Any]", decoder.decode)
