"""Fixtures for tests on a real store: one server of each kind for the whole session, emptied before each test.

kind     what it is there for
valkey   what `queuey serve` starts by itself
cluster  the same with `cluster-enabled yes`, one node with all slots: it refuses keys of two slots in one call
redis    Debian's redis-server, the oldest version that is supported
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from queuey.store.scripts import Scripts
from tests.support.session.tools import old_redis
from tests.support.store import Rig, Server, client_for, valkey_binary

KINDS = ("valkey", "cluster", "redis")
SHARDS = (1, 4)

StartServer = Callable[..., Server]


def one_of(*values: Any) -> Any:
    """A fixture that is each of these values in turn, for a module of tests: `kind = one_of(*KINDS)`."""

    @pytest.fixture(params=values, ids=lambda value: f"{value}shards" if isinstance(value, int) else value)
    def chosen(request: pytest.FixtureRequest) -> Any:
        return request.param

    return chosen


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[str], Server]]:
    """Gives the session's server of a kind, started when first asked for."""
    running: dict[str, Server] = {}

    def server(kind: str) -> Server:
        if kind not in running:
            binary = old_redis() if kind == "redis" else valkey_binary()
            running[kind] = Server(binary, cluster=kind == "cluster")
        return running[kind]

    yield server
    for started in running.values():
        started.stop()


@pytest.fixture(scope="session")
def scripts() -> Scripts:
    return Scripts()


@pytest.fixture
def server(servers: Callable[[str], Server], kind: str) -> Server:
    """The session's server of this kind, not emptied."""
    return servers(kind)


@pytest.fixture
async def rig(server: Server, shards: int, scripts: Scripts) -> AsyncIterator[Rig]:
    """A Broker on an emptied store."""
    client = client_for(server.url)
    await client.flushall()
    yield Rig(client, shards, scripts)
    await client.aclose()


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Starts servers of a test's own: Valkey, or `binary`; options as in `Server`."""
    started: list[Server] = []

    def start(*options: str, **settings: object) -> Server:
        binary = settings.pop("binary", None) or valkey_binary()
        started.append(Server(binary, *options, **settings))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for server in started:
        server.stop()
