"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

SHOP = """
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from queuey import App, Context, Depends

left = []


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[str]:
    yield "open"
    left.append("lifespan")


def session() -> str:
    return "a session"


app = App(lifespan=lifespan)
other = App()


@app.job("loop")
async def loop(n: int, ctx: Context, db: Annotated[str, Depends(session)]) -> list[object]:
    await thread.enqueue(n + 1)
    return [n, ctx.state, db]


@app.job("thread")
def thread(n: int) -> int:
    return 2 * n


@other.job("other")
def of_other(job: None) -> str:
    return "other"
"""
SYNC = """
import shop


def test_jobs(queuey_sync_testing):
    assert queuey_sync_testing.run(shop.loop, 1).value() == [1, "open", "a session"]
    assert [job.type for job in queuey_sync_testing.enqueued] == ["thread"]
    assert [ran.value() for ran in queuey_sync_testing.run_all()] == [4]
    assert shop.left == []


def test_the_lifespan_was_left(queuey_app):
    assert shop.left == ["lifespan"]
    assert queuey_app is shop.app
"""
ASYNC = """
import pytest
import shop


{mark}
async def test_jobs(queuey_testing):
    assert (await queuey_testing.run(shop.loop, 1)).value() == [1, "open", "a session"]
    assert [ran.value() for ran in await queuey_testing.run_all()] == [4]
    assert shop.left == []


{mark}
async def test_the_lifespan_was_left():
    assert shop.left == ["lifespan"]
"""
OWN = """
from datetime import UTC, datetime

import pytest
import shop


@pytest.fixture
def queuey_app():
    return shop.other


def test_another_app(queuey_sync_testing):
    assert queuey_sync_testing.run("other").value() == "other"


class TestOverrides:
    @pytest.fixture
    def queuey_app(self):
        return shop.app

    @pytest.fixture
    def queuey_overrides(self):
        return {shop.session: lambda: "a fake"}

    def test_a_provider(self, queuey_sync_testing):
        assert queuey_sync_testing.run("loop", 1).value() == [1, "open", "a fake"]


class TestClock:
    @pytest.fixture
    def queuey_now(self):
        return datetime(2027, 3, 27, tzinfo=UTC)

    def test_the_clock(self, queuey_sync_testing):
        queuey_sync_testing.advance(60)
        assert queuey_sync_testing.now == datetime(2027, 3, 27, 0, 1, tzinfo=UTC)
"""
CONFIGURED = ("-o", "queuey_app=shop:app")
ASYNCIO = ("-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function")


@pytest.fixture(autouse=True)
def few_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load only the plugins that a test names, since those of this environment take seconds to import."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(pytester: pytest.Pytester, test: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(shop=SHOP, test_shop=test)
    return pytester.runpytest_subprocess("-q", "-W", "error", "-p", "no:cacheprovider", "-p", "queuey", *arguments)


def test_plain_tests(pytester: pytest.Pytester) -> None:
    run(pytester, SYNC, *CONFIGURED).assert_outcomes(passed=2)


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_async_tests(pytester: pytest.Pytester, mode: str) -> None:
    test = ASYNC.format(mark="@pytest.mark.asyncio" if mode == "strict" else "")
    run(pytester, test, *CONFIGURED, *ASYNCIO, "-o", f"asyncio_mode={mode}").assert_outcomes(passed=2)


@pytest.mark.parametrize("others", [(), ASYNCIO])
def test_async_tests_by_anyio(pytester: pytest.Pytester, others: tuple[str, ...]) -> None:
    test = ASYNC.format(mark="@pytest.mark.anyio")
    run(pytester, test, *CONFIGURED, "-p", "anyio", *others).assert_outcomes(passed=2)


def test_fixtures_of_the_project_replace_the_app_and_providers(pytester: pytest.Pytester) -> None:
    run(pytester, OWN).assert_outcomes(passed=3)


def test_without_an_app_it_says_what_to_do(pytester: pytest.Pytester) -> None:
    result = run(pytester, SYNC)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(['*set queuey_app = "module:attribute" in the configuration of pytest*'])


def test_an_app_that_is_not_there(pytester: pytest.Pytester) -> None:
    result = run(pytester, SYNC, "-o", "queuey_app=nothing:app")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["The option queuey_app names no App *: 'nothing:app': there is no module *"])


def test_a_suite_that_does_not_use_it_imports_nothing_of_queuey(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All plugins of the environment are loaded here, as pytest does by itself."""
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    test = """
        import sys


        def test_modules():
            assert "pytest_queuey" in sys.modules
            assert not [name for name in sys.modules if name.partition(".")[0] in ("queuey", "msgspec")]
    """
    pytester.makepyfile(test)
    flags = ("-p", "no:cacheprovider", "-p", "no:schemathesis", "-W", "ignore")
    pytester.runpytest_subprocess(*flags).assert_outcomes(passed=1)
