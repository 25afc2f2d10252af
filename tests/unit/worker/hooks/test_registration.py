"""Middleware that does not fit is refused when it is registered or at the start, with file and line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from queuey import App, AsyncMiddleware, Context, Middleware, Testing
from queuey.errors import StartupError

PLACE = r"test_registration\.py:\d+\)"


def fine(ctx: Context) -> Middleware:
    yield


def no_generator(ctx: Context) -> None: ...


@contextmanager
def decorated(ctx: Context) -> Iterator[None]:
    yield


def without_context() -> Iterator[None]:
    yield


def two(ctx: Context, more: int) -> Iterator[None]:
    yield


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (no_generator, "a middleware is a generator function: it yields once"),
        (decorated, "Leave out contextlib.contextmanager"),
        (without_context, r"a middleware takes \(ctx\): too many positional arguments"),
        (two, r"a middleware takes \(ctx\): missing a required argument: 'more'"),
    ],
)
def test_a_function_that_is_no_middleware_is_refused(function: Any, message: str) -> None:
    with pytest.raises(StartupError, match=message) as refused:
        App().middleware(function)
    assert "test_registration.py:" in str(refused.value)


def test_one_that_is_registered_twice_is_refused() -> None:
    app = App()
    app.middleware(fine)
    with pytest.raises(StartupError, match=rf"\.fine \(.*{PLACE}: this middleware is registered twice"):
        app.middleware(fine)
    App().middleware(fine)


def test_an_object_with_a_generator_as_its_call_is_one() -> None:
    class Counting:
        calls = 0

        def __call__(self, ctx: Context) -> Middleware:
            yield
            self.calls += 1

    app, counting = App(), Counting()
    assert app.middleware(counting) is counting


@pytest.mark.parametrize("run_in", ["thread", "process"])
async def test_an_async_one_is_refused_at_the_start_if_a_handler_is_plain(run_in: Any) -> None:
    @(app := App()).middleware
    async def waits(ctx: Context) -> AsyncMiddleware:
        yield

    app.job("plain", run_in=run_in)(plain)
    message = (
        rf"\.waits \(.*{PLACE} is async, and the handler .*\.plain \(.*{PLACE} is not: make the middleware a plain"
    )
    with pytest.raises(StartupError, match=message):
        await Testing(app).__aenter__()


def plain(payload: Any) -> None: ...


async def test_none_can_be_registered_while_the_app_runs() -> None:
    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        with pytest.raises(StartupError, match="the App runs already: register middleware when its module is imported"):
            app.middleware(fine)
        yield

    @(app := App(lifespan=lifespan)).job("adds")
    def adds(payload: Any) -> None:
        app.middleware(fine)

    async with Testing(app) as testing:
        message = str((await testing.run(adds)).message)
        assert "fine (" in message
        assert "the App runs already" in message
