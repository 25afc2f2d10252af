"""Fixtures for tests of the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.support.session.tools import old_redis
from tests.support.store import valkey_binary
from tests.support.store_users import User, users

MakeUser = Callable[..., User]


@pytest.fixture(params=["valkey", "redis"])
def binary(request: pytest.FixtureRequest) -> Path:
    """The program of a server of the test's own: Valkey's, or the oldest supported Redis's."""
    return valkey_binary() if request.param == "valkey" else old_redis()


@pytest.fixture
async def make_user(tmp_path: Path) -> AsyncIterator[MakeUser]:
    """Makes users of an embedded store in this process, on one data directory unless a test names another."""
    async with users(tmp_path / "data") as make:
        yield make
