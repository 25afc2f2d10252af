"""A load generator for one kind of request over kept-alive connections, cheap enough not to be what is measured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Final, cast

TIMEOUT: Final = 120.0
"""Seconds for one whole load."""


def post(path: str, body: bytes, content_type: str = "application/json") -> bytes:
    """The bytes of a POST request."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


class _Client(asyncio.Protocol):
    """One connection: sends the next request when the reply to the last has come."""

    def __init__(self, requests: Iterator[bytes], load: _Load) -> None:
        self._requests = requests
        self._load = load
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one, without saying so
        self._send_next()

    def _send_next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            self._load.connection_done()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._buffer[:head_end].lower()
        length_at = head.index(b"content-length:") + len(b"content-length:")
        length = int(head[length_at:].split(b"\r\n", 1)[0])
        if len(self._buffer) < head_end + 4 + length:
            return
        if not head.startswith(b"http/1.1 200"):
            self._load.fail(self._buffer[: head_end + 4 + length])
        self._buffer = b""
        self._load.latencies.append(time.perf_counter() - self._sent_at)
        self._send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._load.fail(str(exc).encode())


class _Load:
    def __init__(self, connections: int) -> None:
        self.latencies: list[float] = []
        self._open = connections
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_done(self) -> None:
        self._open -= 1
        if self._open == 0 and not self._done.done():
            self._done.set_result(None)

    def fail(self, reply: bytes) -> None:
        if not self._done.done():
            self._done.set_exception(RuntimeError(f"a request failed: {reply[:500]!r}"))

    async def wait(self) -> None:
        await asyncio.wait_for(self._done, TIMEOUT)


async def run(host: str, port: int, requests: Iterator[bytes], connections: int) -> tuple[float, list[float]]:
    """Send all requests. Returns the seconds that it took and each request's latency. Every reply must be a 200."""
    loop = asyncio.get_running_loop()
    load = _Load(connections)
    began = time.perf_counter()
    for _ in range(connections):
        await loop.create_connection(lambda: _Client(requests, load), host, port)
    await load.wait()
    return time.perf_counter() - began, load.latencies
