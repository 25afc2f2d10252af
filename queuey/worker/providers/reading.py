"""The reading of providers at the registration of a handler: what they are, and what they need."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from inspect import Parameter
from types import MappingProxyType
from typing import Any, Final

import msgspec

from queuey.errors import StartupError
from queuey.worker.handlers.parameters.annotations import (
    CONTEXT_NAMES,
    is_context,
    says_nothing,
    shape,
    signature_of,
)
from queuey.worker.handlers.signatures import Mode, where
from queuey.worker.providers.depends import Depends, Per, depends_of

Needs = tuple[tuple[str, "Provider | None"], ...]
"""The names of parameters, each with the provider that fills it; None is the Context."""
Overrides = Mapping[Callable[..., Any], Callable[..., Any]]
"""Providers, each with the function to use in its place."""
NO_OVERRIDES: Final[Overrides] = MappingProxyType({})
_VARIABLE: Final = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


class Provider(msgspec.Struct, frozen=True, eq=False):
    """A provider as it was read."""

    function: Callable[..., Any]
    per: Per
    is_async: bool
    is_generator: bool
    needs: Needs
    label: str
    """Its name and its place, for messages."""
    manager: Callable[..., Any]
    """The function of a generator as a context manager."""
    key: tuple[Callable[..., Any], Per]
    """The key of its value: a run has one of each."""


def needs_of(provided: Mapping[str, Depends], context: str | None, mode: Mode) -> Needs:
    """Return what fills the parameters of a handler that the payload does not fill; nothing if it has no provider.

    Raises StartupError if a provider cannot be used there.
    """
    if not provided:
        return ()
    needs: Needs = tuple((name, provider_of(mark, mode)) for name, mark in provided.items())
    return needs if context is None else (*needs, (context, None))


def provider_of(
    mark: Depends, mode: Mode, overrides: Overrides = NO_OVERRIDES, users: Sequence[Callable[..., Any]] = ()
) -> Provider:
    """Return the provider of a mark, and those that it needs. `users` are the providers that led to it.

    A function that replaces a provider, and needs that one, gets the one that it replaces.
    """
    function = overrides.get(mark.provider, mark.provider)
    if users and function == users[-1]:
        function = mark.provider
    label = f"the provider {where(function)}"
    if function in users:
        line = " -> ".join(where(one) for one in (*users[users.index(function) :], function))
        raise StartupError(f"providers depend on each other in a circle: {line}")
    is_async, is_generator = _kind(function, label)
    if is_async and mode != "loop":
        raise StartupError(
            f"{label} is async, and its handler is not: make the provider a plain function, which async handlers can "
            "have too"
        )
    needs = tuple(_needs(function, label, mode, overrides, (*users, function)))
    if mark.per == "process":
        _check_lasts(needs, label)
    manager = asynccontextmanager(function) if is_async else contextmanager(function)
    return Provider(function, mark.per, is_async, is_generator, needs, label, manager, (function, mark.per))


def _kind(function: Callable[..., Any], label: str) -> tuple[bool, bool]:
    """Return whether it is async, and whether it is a generator function."""
    if isinstance(function, type):
        return False, False
    called = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    either = (function, called)  # a functools.partial counts by itself, an object by its __call__
    is_generator = any(inspect.isgeneratorfunction(one) for one in either)
    is_async_generator = any(inspect.isasyncgenfunction(one) for one in either)
    wrapped = inspect.unwrap(function)
    if not (is_generator or is_async_generator) and (
        inspect.isgeneratorfunction(wrapped) or inspect.isasyncgenfunction(wrapped)
    ):
        raise StartupError(f"{label} returns no value, but something around it: leave out contextlib.contextmanager")
    is_async = is_async_generator or any(inspect.iscoroutinefunction(one) for one in either)
    return is_async, is_generator or is_async_generator


def _needs(
    function: Callable[..., Any], label: str, mode: Mode, overrides: Overrides, users: Sequence[Callable[..., Any]]
) -> Iterator[tuple[str, Provider | None]]:
    """Yield each parameter that must be filled, with what fills it."""
    try:
        signature = signature_of(function)
    except ValueError:  # of a class that is not written in Python
        return
    given = [one for one in signature.parameters.values() if one.kind not in _VARIABLE]
    try:
        marks = depends_of(function, given)
    except StartupError as error:
        raise StartupError(f"{label}: {error.message}") from error
    for parameter in given:
        name = parameter.name
        if parameter.kind is Parameter.POSITIONAL_ONLY and (parameter.default is Parameter.empty or name in marks):
            raise StartupError(f"{label}: {name!r} cannot be positional-only: remove the / from {shape(signature)}")
        if name in marks:
            yield name, provider_of(marks[name], mode, overrides, users)
        elif is_context(function, parameter) and parameter.kind is not Parameter.POSITIONAL_ONLY:
            yield name, None
        elif parameter.default is Parameter.empty:
            if name not in CONTEXT_NAMES or not says_nothing(function, parameter):
                raise StartupError(
                    f"{label}: nothing fills {name!r}. Annotate it with Context or Annotated[..., Depends(...)], or "
                    "give it a default"
                )
            yield name, None


def _check_lasts(needs: Needs, label: str) -> None:
    """Check that a value for the process needs nothing that belongs to one run."""
    for name, provider in needs:
        if provider is None or provider.per == "run":
            what = "the Context" if provider is None else provider.label
            raise StartupError(
                f'{label} has per="process", so its {name!r} cannot be {what}, which belongs to one run: leave '
                "one of the two out"
            )
