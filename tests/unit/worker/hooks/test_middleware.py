"""Middleware: it runs where the handler runs, in order, and what it raises replaces the outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from queuey import App, AsyncMiddleware, Context, Dead, Middleware, Retry, Testing
from queuey.forks import EXIT_CODE
from queuey.worker.handlers.attempt import Failed, Succeeded
from tests.support.executions import executing, failed, make_work
from tests.unit.worker.hooks import middleware_app as ready

EVERYWHERE = pytest.mark.parametrize(
    ("type", "isolated"),
    [("loop", False), ("thread", False), ("process", False), ("loop", True), ("thread", True), ("process", True)],
)
HERE = "test_middleware.py:"


@EVERYWHERE
async def test_it_runs_around_the_handler_in_order_and_in_its_context(type: str, isolated: bool) -> None:
    async with executing(ready.app, ready.PATH) as execution:
        work = make_work(type, {}, attempt=2)
        work.isolated = isolated
        outcome = await execution.run(work)
    assert isinstance(outcome, Succeeded)
    assert msgspec.json.decode(outcome.result_json) == [
        f"outer {type} 2",
        "inner",
        "inner succeeded None",
        "outer left",
    ]


@EVERYWHERE
async def test_what_it_raises_replaces_the_outcome(type: str, isolated: bool) -> None:
    async with executing(ready.app, ready.PATH) as execution:
        work = make_work(type, {"fail": True})
        work.isolated = isolated
        outcome = failed(await execution.run(work), "retry")
    assert outcome.message.startswith(f"outer {type} 1 < inner < inner error ValueError('no'): error ValueError")
    assert outcome.after == 7
    assert "deed" in str(outcome.detail), "the handler's own error is kept as its context"


@pytest.mark.parametrize("type", ["loop", "thread", "process"])
async def test_a_copy_that_comes_back_from_the_handler_does_not_get_to_it(type: str) -> None:
    async with Testing(ready.app) as testing:
        assert str(EXIT_CODE) in (await testing.run(type, {"fork": True})).value()


async def test_it_sees_no_payload_that_does_not_fit() -> None:
    async with Testing(ready.app) as testing:
        assert (await testing.run("loop", {"fail": "?"})).kind == "payload"


def both(register: Callable[[App], object], *, is_async: bool = False) -> App:
    """An App with that middleware, and a handler in the loop and one in a thread."""
    app = App()
    register(app)

    @app.job("loop")
    async def in_loop(payload: Any) -> str:
        return "ran"

    if not is_async:

        @app.job("thread")
        def in_thread(payload: Any) -> str:
            return "ran"

    return app


def refuse(why: str) -> None:
    raise KeyError(why)


def raises_before(ctx: Context) -> Iterator[None]:
    refuse("before")
    yield


def raises_after(ctx: Context) -> Middleware:
    yield
    raise KeyError("after")


def never_yields(ctx: Context) -> Iterator[None]:
    yield from ()


def yields_twice(ctx: Context) -> Iterator[None]:
    while True:
        try:
            yield
        except GeneratorExit as error:
            raise LookupError("not the reason") from error


async def raises_before_async(ctx: Context) -> AsyncIterator[None]:
    refuse("before")
    yield


async def raises_after_async(ctx: Context) -> AsyncMiddleware:
    yield
    raise KeyError("after")


async def never_yields_async(ctx: Context) -> AsyncIterator[None]:
    for _ in ():
        yield


async def yields_twice_async(ctx: Context) -> AsyncIterator[None]:
    yield
    yield


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (raises_before, "KeyError: 'before' (the middleware "),
        (raises_after, "KeyError: 'after' (the middleware "),
        (never_yields, "did not yield, so the handler did not run: it must yield exactly once"),
        (yields_twice, "yielded twice: it must yield exactly once"),
        (raises_before_async, "KeyError: 'before' (the middleware "),
        (raises_after_async, "KeyError: 'after' (the middleware "),
        (never_yields_async, "did not yield, so the handler did not run: it must yield exactly once"),
        (yields_twice_async, "yielded twice: it must yield exactly once"),
    ],
)
async def test_a_bad_one_fails_the_job_and_is_named(bad: Any, message: str) -> None:
    seen = []

    def outer(ctx: Context) -> Middleware:
        seen.append((yield).status)

    def register(app: App) -> None:
        app.middleware(outer)
        app.middleware(bad)

    async with executing(app := both(register, is_async="async" in bad.__name__), None) as execution:
        for type in app.handlers:
            outcome = failed(await execution.run(make_work(type)), "error")
            assert message in outcome.message
            assert f".{bad.__name__} (" in outcome.message
            assert HERE in outcome.message
            assert outcome.message.count(bad.__name__) == 1, (
                "it is named once, however many middlewares are further out"
            )
            assert not outcome.dead
        assert seen == ["error"] * len(app.handlers)


async def test_an_exception_that_it_only_passes_on_is_the_handlers() -> None:
    @(app := App()).middleware
    def passes_on(ctx: Context) -> Middleware:
        outcome = yield
        if outcome.exception is not None:
            raise outcome.exception

    @app.job("fails")
    async def fails(payload: Any) -> None:
        raise ValueError("mine")

    async with executing(app, None) as execution:
        assert failed(await execution.run(make_work("fails")), "error").message == "ValueError: mine"


@pytest.mark.parametrize(("error", "status"), [(Retry("x"), "retry"), (Dead("x"), "dead"), (OSError(), "error")])
async def test_the_status_is_the_kind_of_the_failure(error: Exception, status: str) -> None:
    seen = []

    @(app := App()).middleware
    def look(ctx: Context) -> Middleware:
        outcome = yield
        seen.append((outcome.status, outcome.exception, outcome.result))

    @app.job("fails")
    def fails(payload: Any) -> None:
        raise error

    async with executing(app, None) as execution:
        failed(await execution.run(make_work("fails")), status)
    assert seen == [(status, error, None)]


@pytest.mark.parametrize("place", ["before", "within", "after"])
async def test_the_timeout_of_the_job_holds_for_one_that_never_returns(place: str) -> None:
    seen = []

    @(app := App()).middleware
    def outer(ctx: Context) -> Middleware:
        seen.append((yield).status)

    @app.middleware
    async def waits(ctx: Context) -> AsyncMiddleware:
        if place == "before":
            await asyncio.Event().wait()
        seen.append((yield).status)
        if place == "after":
            await asyncio.Event().wait()

    @app.job("loop")
    async def in_loop(payload: Any) -> None:
        if place == "within":
            await asyncio.Event().wait()

    async with executing(app, None) as execution:
        failed(await execution.run(make_work("loop", timeout=0.01)), "timeout")
    assert seen == {"before": ["timeout"], "within": ["timeout", "timeout"], "after": ["succeeded", "timeout"]}[place]


async def test_a_handler_that_is_given_up_still_ends_its_middleware() -> None:
    seen = []

    @(app := App()).middleware
    def outer(ctx: Context) -> Middleware:
        outcome = yield
        seen.append((outcome.status, type(outcome.exception)))

    @app.job("stubborn")
    async def stubborn(payload: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    async with executing(app, None, grace=0.01) as execution:
        failed(await execution.run(make_work("stubborn", timeout=0.01)), "timeout")
    assert seen == [("timeout", GeneratorExit)]


async def test_an_app_without_middleware_runs_its_handlers_as_they_are() -> None:
    async with executing(app := both(lambda app: None), None) as execution:
        assert execution._handlers == app.handlers
        assert all(execution._handlers[type] is handler for type, handler in app.handlers.items())


async def test_one_that_is_added_later_counts_in_the_next_execution() -> None:
    async with Testing(app := both(lambda app: None)) as testing:
        assert (await testing.run("loop")).value() == "ran"
    app.middleware(raises_after)
    async with Testing(app) as testing:
        outcome = await testing.run("loop")
        assert "raises_after" in str(outcome.message)


async def test_a_lifespan_that_fails_leaves_the_app_open() -> None:
    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        refuse("not yet")
        yield

    app = App(lifespan=lifespan)
    with pytest.raises(Exception, match="not yet"):
        async with Testing(app):
            raise AssertionError
    app.middleware(raises_after)


async def test_the_outcome_that_counts_is_that_of_the_handlers_function() -> None:
    """Its result is written as JSON later: a fault there is not seen."""
    seen = []

    @(app := App()).middleware
    def look(ctx: Context) -> Middleware:
        seen.append((yield).status)

    @app.job("odd")
    async def odd(payload: Any) -> object:
        return object()

    async with executing(app, None) as execution:
        assert isinstance(await execution.run(make_work("odd")), Failed)
    assert seen == ["succeeded"]
