"""An App made of several, and the defaults of an App."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from queuey import App, Backoff, Context, Testing
from queuey.errors import StartupError
from queuey.worker.handlers.handler import Handler


async def one(_: None) -> str:
    return "one"


async def two(_: None) -> str:
    return "two"


def limits(handler: Handler) -> tuple[object, ...]:
    return handler.queue, handler.timeout, handler.max_attempts, handler.backoff


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[None]:
    yield


def included() -> App:
    other = App()
    App().include(other)
    return other


def with_hook() -> App:
    other = App()
    other.on_dead(print)
    return other


class TestDefaults:
    def test_handlers_have_those_of_their_app_unless_they_name_others(self) -> None:
        app = App(queue="mail", timeout=5, max_attempts=9, backoff=Backoff(1.0, 3.0, 9.0))
        app.job("one")(one)
        app.job("two", queue="other", timeout=1, max_attempts=1, backoff=Backoff(2.0))(two)
        assert limits(app.handlers["one"]) == ("mail", 5, 9, Backoff(1.0, 3.0, 9.0))
        assert limits(app.handlers["two"]) == ("other", 1, 1, Backoff(2.0))

    def test_jobs_are_enqueued_with_them(self) -> None:
        request = App(queue="mail", max_attempts=9).job("one")(one).request(None)
        assert (request.queue, request.max_attempts) == ("mail", 9)

    @pytest.mark.parametrize("options", [{"queue": "a b"}, {"timeout": -1}, {"max_attempts": 0}])
    def test_those_that_are_not_valid_are_refused_at_once(self, options: dict[str, object]) -> None:
        with pytest.raises(StartupError):
            App(**options)  # type: ignore[arg-type]


class TestInclude:
    async def test_the_handlers_of_both_run(self) -> None:
        app, other = App(), App(queue="mail")
        app.job("one")(one)
        app.include(other)
        other.job("two")(two)  # later
        assert list(app.handlers) == ["one", "two"]
        assert app.queues == ("default", "mail")
        async with Testing(app) as testing:
            assert (await testing.run("two")).value(str) == "two"

    async def test_handlers_enqueue_with_the_worker_of_the_outermost_app(self) -> None:
        app, middle, inner = App(), App(), App()
        target = inner.job("two")(two)
        middle.include(inner)
        app.include(middle)

        @app.job("sends")
        async def sends(_: None, ctx: Context) -> None:
            await target.enqueue(None)

        async with Testing(app) as testing:
            assert (await testing.run("sends")).status == "succeeded"
            assert [job.type for job in testing.enqueued] == ["two"]

    def test_a_type_that_both_have_is_refused_and_changes_nothing(self) -> None:
        app, other = App(), App()
        app.job("one")(one)
        other.job("two")(two)
        other.job("one")(two)
        with pytest.raises(StartupError, match=r"'one' is already taken by .*one"):
            app.include(other)
        assert list(app.handlers) == ["one"]
        App().include(other)

    def test_a_type_that_is_registered_later_is_refused_in_all_apps(self) -> None:
        app, other = App(), App()
        app.include(other)
        app.job("one")(one)
        with pytest.raises(StartupError, match="already taken"):
            other.job("one")(two)
        assert not other.handlers

    @pytest.mark.parametrize(
        ("other", "said"),
        [
            (included(), "include each App once"),
            (App(lifespan=lifespan), "has a lifespan"),
            (with_hook(), "has hooks"),
        ],
    )
    def test_what_would_be_lost_is_refused(self, other: App, said: str) -> None:
        with pytest.raises(StartupError, match=said):
            App().include(other)

    def test_circles_are_refused(self) -> None:
        app, other = App(), App()
        app.include(other)
        for first, second in ((app, app), (other, app)):
            with pytest.raises(StartupError, match="cannot include itself"):
                first.include(second)

    def test_a_hook_of_an_included_app_is_refused(self) -> None:
        with pytest.raises(StartupError, match="register on_dead with the App that includes it"):
            included().on_dead(print)
