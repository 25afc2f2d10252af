"""The providers that a test replaces. The providers of each handler are read again, with the replacements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from queuey.errors import StartupError
from queuey.worker.handlers.handler import Handler
from queuey.worker.handlers.signatures import where
from queuey.worker.providers.depends import Depends
from queuey.worker.providers.reading import Needs, Overrides, provider_of


def replaced(handlers: Mapping[str, Handler], overrides: Overrides) -> dict[str, Handler]:
    """Return the handlers with these providers replaced. Raises StartupError, which says what to change."""
    _check(overrides)
    ready = {type: _replaced(handler, overrides) for type, handler in handlers.items()}
    met = {one for handler in (*handlers.values(), *ready.values()) for one in _functions(handler.needs)}
    for function, other in overrides.items():
        if function not in met and other not in met:
            raise StartupError(f"overrides: no handler needs the provider {where(function)}")
    return ready


def _check(overrides: object) -> None:
    if not isinstance(overrides, Mapping):
        raise StartupError(f"overrides={overrides!r}: write overrides={{provider: function}}")
    for function, other in overrides.items():
        if not callable(function):
            raise StartupError(f"overrides: {function!r} is not a function: its keys are what Depends(...) has")
        if not callable(other):
            raise StartupError(
                f"overrides: {where(function)} is replaced by a {type(other).__name__}, not by a function: write "
                "overrides={provider: lambda: value}"
            )
        try:
            Depends(other).check()
        except StartupError as error:
            raise StartupError(f"overrides: {error.message}") from error


def _replaced(handler: Handler, overrides: Overrides) -> Handler:
    try:
        needs: Needs = tuple(
            (name, provider and provider_of(Depends(provider.function, per=provider.per), handler.mode, overrides))
            for name, provider in handler.needs
        )
    except StartupError as error:
        raise StartupError(f"overrides: {where(handler.function)}: {error.message}") from error
    return msgspec.structs.replace(handler, needs=needs)


def _functions(needs: Needs) -> Iterator[Callable[..., Any]]:
    """Yield the functions of providers, and of those that they need."""
    for _, provider in needs:
        if provider is not None:
            yield provider.function
            yield from _functions(provider.needs)
