"""The pytest plugin of Queuey: fixtures for tests of handlers (docs/handlers.md).

pytest imports this module in every environment that has Queuey. So it is outside of the package, and imports nothing of
it before a test uses a fixture.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from queuey import App, SyncTesting, Testing

OPTION = "queuey_app"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the App."""
    parser.addini(OPTION, 'The App of the fixture queuey_app, as "module:attribute".', default="")


def pytest_configure(config: pytest.Config) -> None:
    """Add the async fixture, for the plugin that runs async tests: pytest-asyncio, else that of anyio."""
    fixture: Any = pytest.fixture
    asyncio_plugin = sys.modules.get("pytest_asyncio.plugin")
    if asyncio_plugin is not None and config.pluginmanager.is_registered(asyncio_plugin):
        fixture = asyncio_plugin.fixture
    fixtures: Any = ModuleType("queuey_async_fixtures")  # pytest looks for fixtures in modules
    fixtures.queuey_testing = fixture(_testing, name="queuey_testing")
    config.pluginmanager.register(fixtures, fixtures.__name__)


@pytest.fixture
def queuey_app(pytestconfig: pytest.Config) -> App:
    """The App under test: that of the option `queuey_app`. Define a fixture of this name to use another."""
    path = pytestconfig.getini(OPTION)
    if not path:
        pytest.fail(
            'Queuey does not know your App: set queuey_app = "module:attribute" in the configuration of pytest, or '
            "define a fixture queuey_app that returns it.",
            pytrace=False,
        )
    from queuey.errors import StartupError
    from queuey.worker.handlers.app import load_app

    try:
        return load_app(path)
    except StartupError as error:
        reason = f"The option {OPTION} names no App that can be tested: {error.message.removeprefix('--app ')}"
        pytest.fail("\n".join(filter(None, (error.trace, reason))), pytrace=False)


@pytest.fixture
def queuey_overrides() -> Mapping[Callable[..., Any], Callable[..., Any]]:
    """The providers to replace, each with the function in its place. Define a fixture of this name to replace some."""
    return {}


@pytest.fixture
def queuey_now() -> datetime | None:
    """The time at which the clock of a test begins: the present. Define a fixture of this name for another time."""
    return None


@pytest.fixture
def queuey_sync_testing(
    queuey_app: App, queuey_overrides: Mapping[Any, Any], queuey_now: datetime | None
) -> Iterator[SyncTesting]:
    """A `queuey.SyncTesting` of the App, for tests that are not async."""
    from queuey import SyncTesting

    with SyncTesting(queuey_app, overrides=queuey_overrides, now=queuey_now) as testing:
        yield testing


async def _testing(
    queuey_app: App, queuey_overrides: Mapping[Any, Any], queuey_now: datetime | None
) -> AsyncIterator[Testing]:
    """A `queuey.Testing` of the App, for async tests."""
    from queuey import Testing

    async with Testing(queuey_app, overrides=queuey_overrides, now=queuey_now) as testing:
        yield testing
