"""A listener without a socket, and a client of it."""

from __future__ import annotations

import pytest

from tests.support.wire import Client, Listening


@pytest.fixture
async def listener() -> Listening:
    return Listening()


@pytest.fixture
async def client(listener: Listening) -> Client:
    return listener.client()
