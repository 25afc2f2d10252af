"""Parts of Queuey together are tested on one kind of store, with one shard. A module for more of them says so:
`kind = one_of(*KINDS)`, `shards = one_of(*SHARDS)`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.connections.silent import BlackHole
from tests.support.http import ApiRig, api_over
from tests.support.store import Rig, Server


@pytest.fixture
def kind() -> str:
    return "valkey"


@pytest.fixture
def shards() -> int:
    return 1


@pytest.fixture
async def hole(server: Server) -> AsyncIterator[BlackHole]:
    """A way to the test's store that can fall silent, for the client of one shard."""
    async with BlackHole(server).running() as hole:
        yield hole


@pytest.fixture
async def api(rig: Rig) -> AsyncIterator[ApiRig]:
    """The HTTP API over the test's store, with the default settings."""
    async with api_over(rig.broker) as api:
        yield api
