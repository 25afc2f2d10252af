"""A store in this process that answers with the bytes of a test: for replies that no real store gives at will."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, cast

import hiredis

LOGIN: Final = {b"HELLO": b"%1\r\n$5\r\nproto\r\n:3\r\n", b"CLIENT": b"+OK\r\n"}
"""The replies to what redis-py sends when it connects."""
LAST_OF_LOGIN: Final = b"LIB-VER"

Respond = Callable[[list[bytes]], bytes]


class ScriptedStore:
    """Listens on a port of this machine. `respond` takes a command and returns the bytes of its reply."""

    def __init__(self, respond: Respond) -> None:
        self.respond = respond
        self.after_login = b""
        """Bytes that leave together with the last reply to a login."""
        self.clients: list[Client] = []
        self.url = ""
        self.came = asyncio.Event()

    @property
    def client(self) -> Client:
        """The connection that was made last."""
        return self.clients[-1]

    async def received(self, count: int) -> None:
        """Return when the last connection has sent so many commands."""
        async with asyncio.timeout(10):
            while not self.clients or len(self.client.commands) < count:
                self.came.clear()
                await self.came.wait()


class Client(asyncio.Protocol):
    """The store's end of a connection."""

    def __init__(self, store: ScriptedStore) -> None:
        self.closed = asyncio.Event()
        self.commands: list[list[bytes]] = []
        """Without those of the login."""
        self.transport: asyncio.Transport
        self._store = store
        self._reader = hiredis.Reader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._store.clients.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed.set()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while isinstance(command := self._reader.gets(), list):
            self.transport.write(self._reply(command))

    def _reply(self, command: list[bytes]) -> bytes:
        if command[0] not in LOGIN:
            self.commands.append(command)
            self._store.came.set()
            return self._store.respond(command)
        return LOGIN[command[0]] + (self._store.after_login if LAST_OF_LOGIN in command else b"")


@asynccontextmanager
async def scripted_store(respond: Respond) -> AsyncIterator[ScriptedStore]:
    """Run such a store."""
    store = ScriptedStore(respond)
    server = await asyncio.get_running_loop().create_server(lambda: Client(store), "127.0.0.1", 0)
    store.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield store
    finally:
        server.close()
        for client in store.clients:
            client.transport.abort()
            await client.closed.wait()
