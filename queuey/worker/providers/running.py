"""The running of handlers with providers: each value is made before the handler, and left after it in reverse order.

When the handlers are made ready, each that has providers gets a new function. The others run as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import msgspec

from queuey import forks
from queuey.worker.handlers.context import Context
from queuey.worker.handlers.handler import Handler
from queuey.worker.providers.kept import Kept
from queuey.worker.providers.making import entered, entered_async
from queuey.worker.providers.overrides import replaced
from queuey.worker.providers.reading import NO_OVERRIDES, Needs, Overrides, Provider

_Values = dict[object, Any]


def prepared(handlers: Mapping[str, Handler], kept: Kept, overrides: Overrides = NO_OVERRIDES) -> dict[str, Handler]:
    """Return the handlers with their providers. Raises StartupError if an override does not fit."""
    if overrides != NO_OVERRIDES:
        handlers = replaced(handlers, overrides)
    return {type: _filled(handler, kept) if handler.needs else handler for type, handler in handlers.items()}


def _filled(handler: Handler, kept: Kept) -> Handler:
    steps: dict[object, Provider] = {}
    _sort(handler.needs, steps)
    filler = _Filler(handler, tuple(steps.values()), kept)
    run = filler.run_async if handler.mode == "loop" else filler.run
    return msgspec.structs.replace(handler, run=run, takes_context=True)


def _sort(needs: Needs, steps: dict[object, Provider]) -> None:
    """Add the providers in the order in which they can run, each once."""
    for _, provider in needs:
        if provider is not None and provider.key not in steps:
            _sort(provider.needs, steps)
            steps[provider.key] = provider


class _Filler:
    """Runs one handler with the values of its providers."""

    def __init__(self, handler: Handler, steps: tuple[Provider, ...], kept: Kept) -> None:
        self._run = handler.run
        self._needs = handler.needs
        self._steps = steps
        self._kept = kept
        self._in_child = handler.mode == "process"

    def run(self, payload: Any, ctx: Context) -> Any:
        here = forks.count()
        with ExitStack() as stack:
            values: _Values = {}
            try:
                for provider in self._steps:
                    arguments = _arguments(provider.needs, values, ctx)
                    if provider.per == "process":
                        value = self._kept.value(provider, arguments, self._in_child, ctx._work)
                    else:
                        value = entered(provider, arguments, stack)
                    values[provider.key] = value
                _check_in_time(ctx)
                result = self._run(payload, **_arguments(self._needs, values, ctx))
            finally:
                _end_copy(here, ctx)
            _check_in_time(ctx)
            return result

    async def run_async(self, payload: Any, ctx: Context) -> Any:
        here = forks.count()
        async with AsyncExitStack() as stack:
            values: _Values = {}
            try:
                for provider in self._steps:
                    arguments = _arguments(provider.needs, values, ctx)
                    if provider.per == "process":
                        value = await self._kept.value_in_loop(provider, arguments, ctx._work)
                    elif provider.is_async:
                        value = await entered_async(provider, arguments, stack)
                    else:
                        value = entered(provider, arguments, stack)
                    values[provider.key] = value
                result = await self._run(payload, **_arguments(self._needs, values, ctx))
            finally:
                _end_copy(here, ctx)
            _check_in_time(ctx)
            return result


def _arguments(needs: Needs, values: _Values, ctx: Context) -> dict[str, Any]:
    return {name: ctx if provider is None else values[provider.key] for name, provider in needs}


def _check_in_time(ctx: Context) -> None:
    """Raise TimeoutError if the result comes too late. The providers see it, so that a session is not committed."""
    if ctx._work.stopping == "timeout":
        raise TimeoutError(f"no result within {ctx._work.limit:g} s")


def _end_copy(here: int, ctx: Context) -> None:
    """End this process if the handler has forked it, so that the copy does not leave the values of its parent."""
    if forks.count() != here:
        forks.end_copy(ctx.type)
