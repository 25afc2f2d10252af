"""A load generator for one kind of request over kept-alive connections, cheap enough not to be what is measured.

`run` sends as fast as replies come. `run_at_rate` sends when a schedule says so, however slow the replies are.
`connection` is for one request at a time.
"""

from __future__ import annotations

import asyncio
import random
import select
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import Final, cast

TIMEOUT: Final = 120.0
"""Seconds for one whole load."""
OK: Final = b"HTTP/1.1 200"
RECEIVE_BYTES: Final = 65_536


def post(path: str, body: bytes, content_type: str = "application/json") -> bytes:
    """The bytes of a POST request."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def _is_complete(reply: bytes) -> bool:
    """Whether this is a whole reply."""
    head_end = reply.find(b"\r\n\r\n")
    return head_end >= 0 and len(reply) >= head_end + 4 + _length(reply[:head_end])


def _length(head: bytes) -> int:
    """Of the body that this head announces."""
    head = head.lower()
    length_at = head.index(b"content-length:") + len(b"content-length:")
    return int(head[length_at:].split(b"\r\n", 1)[0])


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
        if not _is_complete(self._buffer):
            return
        if not self._buffer.startswith(OK):
            self._load.fail(self._buffer)
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


def run_at_rate(host: str, port: int, request: bytes, count: int, rate: float, connections: int) -> list[float]:
    """Send `count` requests, `rate` a second on average, at the random times at which independent clients would.

    Returns the seconds from when each was due until its reply was there: one that found every connection busy has
    waited, and that counts. Blocks its thread; `select` wakes it to the microsecond, where an event loop rounds to
    milliseconds. Every reply must be a 200."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_connection((host, port))) for _ in range(connections)]
        for one in sockets:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Paced(sockets, request, _arrivals(count, rate)).run()


def _arrivals(count: int, rate: float) -> list[float]:
    """When each request is due, in seconds from the start: the same ones in every run."""
    chance = random.Random(1)
    at = 0.0
    times = []
    for _ in range(count):
        at += chance.expovariate(rate)
        times.append(at)
    return times


class _Paced:
    """One load at a fixed rate."""

    def __init__(self, sockets: list[socket.socket], request: bytes, arrivals: list[float]) -> None:
        self._idle = list(sockets)
        self._busy: dict[socket.socket, float] = {}
        """When what is under way on a connection was due."""
        self._replies = dict.fromkeys(sockets, b"")
        self._request = request
        self._due = deque(arrivals)
        self._began = 0.0
        self._latencies: list[float] = []

    def run(self) -> list[float]:
        self._began = time.perf_counter()
        while self._due or self._busy:
            now = self._now()
            if now > TIMEOUT:
                raise RuntimeError(f"the load took more than {TIMEOUT:.0f} s")
            while self._due and self._idle and self._due[0] <= now:
                self._send()
            readable, _, _ = select.select(list(self._busy), [], [], self._rest())
            for one in readable:
                self._receive(one)
        return self._latencies

    def _now(self) -> float:
        return time.perf_counter() - self._began

    def _rest(self) -> float:
        """Seconds until the next request can be sent, if no reply comes before."""
        return max(0.0, self._due[0] - self._now()) if self._due and self._idle else 1.0

    def _send(self) -> None:
        one = self._idle.pop()
        self._busy[one] = self._due.popleft()
        one.sendall(self._request)

    def _receive(self, one: socket.socket) -> None:
        data = one.recv(RECEIVE_BYTES)
        reply = self._replies[one] = self._replies[one] + data
        if not data or (_is_complete(reply) and not reply.startswith(OK)):
            raise RuntimeError(f"a request failed: {reply[:500]!r}")
        if _is_complete(reply):
            self._replies[one] = b""
            self._latencies.append(self._now() - self._busy.pop(one))
            self._idle.append(one)


class Connection:
    """One kept-alive connection for one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, request: bytes) -> bytes:
        """The body of the reply, which must be a 200."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        body = await self._reader.readexactly(_length(head))
        if not head.startswith(OK):
            raise RuntimeError(f"a request failed: {head + body[:500]!r}")
        return body


@asynccontextmanager
async def connection(host: str, port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
