"""Middleware: generators that run around each handler, where the handler runs.

When the handlers are made ready, each gets a new function: one layer for each middleware, the first one outermost. So
an App without middleware runs its handlers as they are.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import msgspec

from queuey import forks
from queuey.errors import StartupError
from queuey.worker.handlers.context import Context
from queuey.worker.handlers.error_text import blame
from queuey.worker.handlers.handler import Handler
from queuey.worker.handlers.signatures import where
from queuey.worker.hooks.outcome import AsyncMiddleware, HandlerOutcome, Middleware, raised, returned

MiddlewareFunction = Callable[[Context], Iterator[None]] | Callable[[Context], AsyncIterator[None]]
_Function = Callable[[Any, Context], Any]


class MiddlewareFault(Exception):
    """Raised when a middleware does not yield exactly once. The job has failed."""


class Layer(msgspec.Struct, frozen=True, eq=False):
    """A registered middleware."""

    function: Callable[[Context], Any]
    is_async: bool
    label: str
    """Its name and its place, for messages."""


def inspected(function: MiddlewareFunction) -> Layer:
    """Return the Layer of a function. Raises StartupError, which says what to change."""
    place = where(function)
    called = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    is_async = inspect.isasyncgenfunction(function) or inspect.isasyncgenfunction(called)
    if not (is_async or inspect.isgeneratorfunction(function) or inspect.isgeneratorfunction(called)):
        raise StartupError(
            f"{place}: a middleware is a generator function: it yields once, and the handler runs there. Leave out "
            "contextlib.contextmanager if it has that"
        )
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        raise StartupError(f"{place}: a middleware takes (ctx): {error}") from error
    return Layer(function, is_async, f"the middleware {place}")


def around(handler: Handler, layers: Iterable[Layer]) -> Handler:
    """Return the handler with these middlewares around its function, the first one outermost.

    Raises StartupError if one is async and the handler is not.
    """
    function, run = handler.function, handler.run
    within: _Function = run if handler.takes_context else lambda payload, ctx: run(payload)
    for layer in reversed([*layers]):
        if handler.mode != "loop":
            if layer.is_async:
                raise StartupError(
                    f"{layer.label} is async, and the handler {where(function)} is not: make the middleware a plain "
                    "generator, which async handlers can have too"
                )
            within = _plain(layer, within)
        else:
            within = _async(layer, within) if layer.is_async else _plain_in_loop(layer, within)
    return msgspec.structs.replace(handler, run=within, takes_context=True)


def _plain(layer: Layer, within: _Function) -> _Function:
    def call(payload: Any, ctx: Context) -> Any:
        generator = _enter(layer, ctx)
        here = forks.count()
        try:
            result = within(payload, ctx)
        except BaseException as error:
            _leave(layer, generator, here, ctx, raised(error, ctx._work))
            raise
        _leave(layer, generator, here, ctx, returned(result, ctx._work))
        return result

    return call


def _plain_in_loop(layer: Layer, within: _Function) -> _Function:
    async def call(payload: Any, ctx: Context) -> Any:
        generator = _enter(layer, ctx)
        here = forks.count()
        try:
            result = await within(payload, ctx)
        except BaseException as error:
            _leave(layer, generator, here, ctx, raised(error, ctx._work))
            raise
        _leave(layer, generator, here, ctx, returned(result, ctx._work))
        return result

    return call


def _async(layer: Layer, within: _Function) -> _Function:
    function, count = layer.function, forks.count

    async def call(payload: Any, ctx: Context) -> Any:
        try:
            generator = function(ctx)
            await generator.asend(None)
        except StopAsyncIteration:
            raise _never_yielded(layer) from None
        except BaseException as error:
            blame(error, layer.label)
            raise
        here = count()
        try:
            result = await within(payload, ctx)
        except GeneratorExit:  # the attempt was given up: nothing can be awaited, and the loop closes the generator
            raise
        except BaseException as error:
            await _leave_async(layer, generator, here, ctx, raised(error, ctx._work))
            raise
        if count() != here:
            forks.end_copy(ctx.type)
        try:  # what _leave_async does, without the coroutine, which each job would pay for
            await generator.asend(returned(result, ctx._work))
        except StopAsyncIteration:
            return result
        except BaseException as error:
            blame(error, layer.label)
            raise
        raise await _closed(layer, generator)

    return call


def _enter(layer: Layer, ctx: Context) -> Middleware:
    try:
        generator: Middleware = layer.function(ctx)
        next(generator)
    except StopIteration:
        raise _never_yielded(layer) from None
    except BaseException as error:
        blame(error, layer.label)
        raise
    return generator


def _leave(layer: Layer, generator: Middleware, here: int, ctx: Context, outcome: HandlerOutcome) -> None:
    """Run the middleware to its end. What it raises replaces the outcome."""
    _end_copy(here, ctx)
    try:
        generator.send(outcome)
    except StopIteration:
        return
    except BaseException as error:
        if error is not outcome.exception:
            blame(error, layer.label)
        raise
    with contextlib.suppress(BaseException):  # what it raises now says less
        generator.close()
    raise _yielded_twice(layer)


async def _leave_async(
    layer: Layer, generator: AsyncMiddleware, here: int, ctx: Context, outcome: HandlerOutcome
) -> None:
    _end_copy(here, ctx)
    try:
        await generator.asend(outcome)
    except StopAsyncIteration:
        return
    except BaseException as error:
        if error is not outcome.exception:
            blame(error, layer.label)
        raise
    raise await _closed(layer, generator)


async def _closed(layer: Layer, generator: AsyncMiddleware) -> MiddlewareFault:
    """Close a generator that yielded again. Return the fault."""
    with contextlib.suppress(Exception):
        await generator.aclose()
    return _yielded_twice(layer)


def _end_copy(here: int, ctx: Context) -> None:
    """End this process if the handler has forked it, so that the copy does not get to the middleware."""
    if forks.count() != here:
        forks.end_copy(ctx.type)


def _never_yielded(layer: Layer) -> MiddlewareFault:
    return MiddlewareFault(f"{layer.label} did not yield, so the handler did not run: it must yield exactly once")


def _yielded_twice(layer: Layer) -> MiddlewareFault:
    return MiddlewareFault(f"{layer.label} yielded twice: it must yield exactly once")
