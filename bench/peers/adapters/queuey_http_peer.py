"""Queuey, enqueued over HTTP on one kept-alive connection; many jobs by /v1/jobs/batch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

import common
import queuey_server

from bench.http_load import post

AT_ONCE = 1000
CONNECTIONS = 4
"""On which batches are sent at the same time."""


class Connection:
    """The cheapest client that there can be: a socket, and requests as bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, request: bytes) -> None:
        """Raises RuntimeError at any reply but a 200."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        _, _, length = head.lower().partition(b"content-length:")
        body = await self._reader.readexactly(int(length.split(b"\r\n", 1)[0]))
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the server answered {head!r} {body!r}")


async def connect() -> Connection:
    """Waits for the server to come up."""
    for _ in range(500):
        try:
            return Connection(*await asyncio.open_connection("127.0.0.1", common.PORT))
        except ConnectionError:
            await asyncio.sleep(0.02)
    raise RuntimeError("the server did not come up")


def definition(kind: str, payload: str) -> str:
    return json.dumps({"type": kind, "payload": payload}, separators=(",", ":"))


@cache
def batch(size: int) -> bytes:
    return post("/v1/jobs/batch", f"[{','.join([definition('noop', common.TEXT)] * size)}]".encode())


@asynccontextmanager
async def sender() -> AsyncIterator[common.Sender]:
    connections = [await connect() for _ in range(CONNECTIONS)]

    async def one(kind: str, payload: str) -> None:
        await connections[0].send(post("/v1/jobs", definition(kind, payload).encode()))

    async def many(count: int) -> None:
        sizes = iter(common.batches(count, AT_ONCE))

        async def share(connection: Connection) -> None:
            for size in sizes:
                await connection.send(batch(size))

        await asyncio.gather(*(share(connection) for connection in connections))

    yield common.Sender(one, many)


if __name__ == "__main__":
    common.main(sender, queuey_server.worker, queuey_server.serve)
