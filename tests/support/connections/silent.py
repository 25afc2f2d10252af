"""Shards of one store, of which one is reached through a proxy that can stop answering: as a node that hangs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from queuey.protocol import ids
from queuey.store.connections.pipelined import StoreClient
from queuey.store.shards import Shards
from tests.support.store import Server, client_for

CHUNK: Final = 1 << 16


class BlackHole:
    """Between clients and the unix socket of a store. While it is silent, it takes connections and everything that is
    sent, and passes on neither that nor replies. Afterwards the store gets it all, also from connections that have been
    closed since."""

    def __init__(self, server: Server) -> None:
        self._target = str(server.socket)
        self._path = server.folder / "black-hole.sock"
        self._open = asyncio.Event()
        self._open.set()
        self._pumps: set[asyncio.Task[None]] = set()
        self.held: asyncio.Queue[bytes] = asyncio.Queue()
        """Everything that came while it was silent."""

    @property
    def url(self) -> str:
        return f"unix://{self._path}"

    def silence(self) -> None:
        self._open.clear()

    def speak(self) -> None:
        self._open.set()

    async def held_call(self) -> None:
        """Wait until something has come while it was silent."""
        await self.held.get()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[BlackHole]:
        server = await asyncio.start_unix_server(self._serve, Path(self._path))
        try:
            yield self
        finally:
            server.close()
            for pump in self._pumps:
                pump.cancel()
            await asyncio.gather(*self._pumps, return_exceptions=True)
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        store_reader, store_writer = await asyncio.open_unix_connection(self._target)
        pumps = [
            asyncio.create_task(self._pass(reader, store_writer)),
            asyncio.create_task(self._pass(store_reader, writer)),
        ]
        self._pumps.update(pumps)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(CHUNK):
                if not self._open.is_set():
                    self.held.put_nowait(data)
                    await self._open.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # one side has gone, and so does the other
        finally:
            writer.close()


class SplitShards(Shards):
    """Shards of which one, `apart`, has a client of its own."""

    def __init__(self, client: StoreClient, count: int, apart: int, apart_client: StoreClient) -> None:
        super().__init__(client, count)
        self.apart = apart
        self._apart_client = apart_client

    def client_of(self, shard: int) -> StoreClient:
        return self._apart_client if shard == self.apart else self.client

    async def close(self) -> None:
        await self._apart_client.aclose()
        await super().close()


class Apart(NamedTuple):
    """The shard behind a hole, and the timeout of calls in seconds."""

    hole: BlackHole
    shard: int
    timeout: float


@asynccontextmanager
async def shards_at(url: str, count: int, apart: Apart | None = None) -> AsyncIterator[Shards]:
    """The shards of a store, perhaps with one of them apart."""
    async with AsyncExitStack() as stack:

        def connected(to: str) -> StoreClient:
            client = client_for(to, timeout=apart.timeout) if apart else client_for(to)
            stack.push_async_callback(client.aclose)
            return client

        client = connected(url)
        yield SplitShards(client, count, apart.shard, connected(apart.hole.url)) if apart else Shards(client, count)


def id_on(shards: Shards, shard: int) -> str:
    """The id for a new job on this shard."""
    while shards.of_job(job_id := ids.new_id()) != shard:
        pass
    return job_id
