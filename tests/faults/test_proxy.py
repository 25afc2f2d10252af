"""The proxy does each of its mischiefs, and nothing when told nothing."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest
from redis.exceptions import ConnectionError

from tests.faults.system.proxy import Proxy
from tests.support.store import Server, client_for, valkey_binary
from tests.support.working import eventually

SCRIPT = "return redis.call('INCR', KEYS[1])"
SHA = hashlib.sha1(SCRIPT.encode()).hexdigest()


class Line:
    """A client behind the proxy and one past it."""

    def __init__(self, server: Server) -> None:
        self.proxy = Proxy(server.folder / "proxy.sock", server.socket, {SHA: "incr"})
        self.proxy.start()
        self.client: Any = client_for(f"unix://{server.folder / 'proxy.sock'}", timeout=5.0)
        self.direct: Any = client_for(server.url)

    async def call(self) -> int:
        return int(await self.client.evalsha(SHA, 1, "n"))

    async def count(self) -> int:
        return int(await self.direct.get("n") or 0)

    async def held_call(self) -> asyncio.Task[int]:
        """A second call, which has run and whose reply is held."""
        assert await self.call() == 1  # the connection is made, and the greeting over
        self.proxy.hold_replies(True)
        call = asyncio.create_task(self.call())

        async def has_run() -> bool:
            return await self.count() == 2

        await eventually(has_run)
        assert self.proxy.in_flight() == {"incr": 1}
        return call


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    server = Server(valkey_binary())
    line = Line(server)
    await line.direct.script_load(SCRIPT)
    yield line
    await line.client.aclose()
    await line.direct.aclose()
    line.proxy.stop()
    server.stop()


async def test_it_forwards(line: Line) -> None:
    assert [await line.call(), await line.call()] == [1, 2]
    assert not line.proxy.in_flight()


async def test_a_dropped_reply_is_that_of_a_call_which_ran(line: Line) -> None:
    line.proxy.drop_replies(1.0, Random(0))
    with pytest.raises(ConnectionError):
        await line.call()
    assert await line.count() == 1
    assert line.proxy.dropped == {"incr": 1}
    assert await line.client.ping()  # only scripts are hit
    line.proxy.drop_replies(0, Random(0))
    assert await line.call() == 2


async def test_held_replies_come_later(line: Line) -> None:
    call = await line.held_call()
    assert not call.done()
    line.proxy.hold_replies(False)
    assert await call == 2


async def test_a_cut_ends_what_is_in_flight(line: Line) -> None:
    call = await line.held_call()
    line.proxy.cut()
    with pytest.raises(ConnectionError):
        await call
    line.proxy.hold_replies(False)
    assert await line.call() == 3


async def test_when_parted_nothing_passes(line: Line) -> None:
    assert await line.call() == 1
    line.proxy.part(True)
    with pytest.raises(ConnectionError):
        await line.call()
    assert await line.count() == 1
    line.proxy.part(False)
    assert await line.call() == 2


async def test_a_delay_delays(line: Line) -> None:
    assert await line.call() == 1
    loop = asyncio.get_running_loop()
    line.proxy.delay(0.1)
    began = loop.time()
    assert await line.call() == 2
    assert loop.time() - began >= 0.1
