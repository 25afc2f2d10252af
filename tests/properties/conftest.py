"""One Valkey for the state machine, emptied before each example."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.store import Server, valkey_binary


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    server = Server(valkey_binary())
    yield server
    server.stop()
