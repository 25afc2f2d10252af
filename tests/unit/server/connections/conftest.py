"""A listener without a socket, and a client of it."""

from __future__ import annotations

import pytest

from tests.support.direct.stub import Jobs
from tests.support.wire import Client, Listening


@pytest.fixture(params=["asgi", "direct"])
async def listener(request: pytest.FixtureRequest) -> Listening:
    """With the path for known heads too: whatever else comes must be dealt with as without it."""
    listener = Listening()
    if request.param == "direct":
        listener.direct = Jobs().direct
    return listener


@pytest.fixture
async def client(listener: Listening) -> Client:
    return listener.client()
