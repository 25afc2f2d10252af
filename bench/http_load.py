"""A load generator for one kind of request over kept-alive connections, cheap enough not to be what is measured.

`run` sends as fast as replies come. `run_at_rate` sends when a schedule says so, however slow the replies are.
`connection` is for one request at a time. What the generator takes of the core that it shares with the store is
reported (`Load.cpu_seconds`): most of it is the kernel's way through the loopback interface.
"""

from __future__ import annotations

import asyncio
import gc
import random
import select
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Final, cast

TIMEOUT: Final = 120.0
"""Seconds for one whole load."""
RECEIVE_BYTES: Final = 65_536
HEAD_END: Final = b"\r\n\r\n"
OK: Final = b"HTTP/1.1 200"


def post(path: str, body: bytes, content_type: str = "application/json") -> bytes:
    """The bytes of a POST request."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def _is_complete(reply: bytes) -> bool:
    """Whether this is a whole reply."""
    head_end = reply.find(HEAD_END)
    return head_end >= 0 and len(reply) >= head_end + len(HEAD_END) + _length(reply[:head_end])


def _length(head: bytes) -> int:
    """The length of the body that this head announces."""
    head = head.lower()
    length_at = head.index(b"content-length:") + len(b"content-length:")
    return int(head[length_at:].split(b"\r\n", 1)[0])


def _length_line(reply: bytes) -> slice:
    """Where the line is that announces the length of the body of a whole reply."""
    start = reply.lower().index(b"content-length:")
    return slice(start, reply.index(b"\r\n", start))


@dataclass(frozen=True)
class Wire:
    """A protocol of requests and replies: how a good reply begins, and whether some bytes are a whole reply.

    `length_line`: where a reply announces its length, if it does. The next reply of the same size that has the same
    line there is whole too, which is cheaper to find out."""

    good: bytes
    is_whole: Callable[[bytes], bool]
    length_line: Callable[[bytes], slice] | None = None


HTTP: Final = Wire(OK, _is_complete, _length_line)


@dataclass(frozen=True)
class Load:
    """A load that is over: the seconds that it took, each request's latency in seconds, and this process's own CPU."""

    seconds: float
    latencies: list[float]
    cpu_seconds: float


class _Client(asyncio.Protocol):
    """One connection: sends the next request when the reply to the last has come."""

    def __init__(self, wire: Wire) -> None:
        self._good = wire.good
        self._is_whole = wire.is_whole
        self._length_line = wire.length_line
        self._size = 0
        self._line = slice(0)
        self._announced = b""
        self._part = b""
        self._sent_at = 0.0
        self._requests: Iterator[bytes]
        self._phase: _Phase
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one, without saying so

    def begin(self, requests: Iterator[bytes], phase: _Phase) -> None:
        """Send from `requests`, which all connections share, until there is none."""
        self._requests = requests
        self._phase = phase
        self._send_next(time.perf_counter())

    def close(self) -> None:
        self._transport.close()

    def _send_next(self, now: float) -> None:
        request = next(self._requests, None)
        if request is None:
            self._phase.connection_done()
            return
        self._sent_at = now
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._part:
            data = self._part + data
            self._part = b""
        if len(data) != self._size or data[self._line] != self._announced:
            if not self._is_whole(data):
                self._part = data
                return
            self._remember(data)
        if not data.startswith(self._good):
            self._phase.fail(data)
        now = time.perf_counter()
        self._phase.latencies.append(now - self._sent_at)
        self._send_next(now)

    def _remember(self, reply: bytes) -> None:
        """How this whole reply announces its length."""
        if self._length_line is not None:
            self._size = len(reply)
            self._line = self._length_line(reply)
            self._announced = reply[self._line]

    def connection_lost(self, exc: Exception | None) -> None:
        if self._sent_at:
            self._phase.fail(str(exc or "the connection was closed").encode())


class _Phase:
    """A number of requests that all connections send together."""

    def __init__(self, connections: int) -> None:
        self.latencies: list[float] = []
        self._busy = connections
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_done(self) -> None:
        self._busy -= 1
        if self._busy == 0 and not self._done.done():
            self._done.set_result(None)

    def fail(self, reply: bytes) -> None:
        if not self._done.done():
            self._done.set_exception(RuntimeError(f"a request failed: {reply[:500]!r}"))

    async def wait(self) -> None:
        await asyncio.wait_for(self._done, TIMEOUT)


async def run(
    host: str, port: int, requests: Iterator[bytes], connections: int, *, wire: Wire = HTTP, warm_up: int = 0
) -> Load:
    """Send all requests, the first `warm_up` of them uncounted. Every reply must be a good one."""
    loop = asyncio.get_running_loop()
    clients = [(await loop.create_connection(lambda: _Client(wire), host, port))[1] for _ in range(connections)]
    try:
        with _uncollected():
            if warm_up:
                await _sent(clients, islice(requests, warm_up))
            began, used = time.perf_counter(), time.process_time()
            latencies = await _sent(clients, requests)
            return Load(time.perf_counter() - began, latencies, time.process_time() - used)
    finally:
        for client in clients:
            client.close()


async def _sent(clients: list[_Client], requests: Iterator[bytes]) -> list[float]:
    """The latency of each request, once all have been answered."""
    phase = _Phase(len(clients))
    for client in clients:
        client.begin(requests, phase)
    await phase.wait()
    return phase.latencies


@contextmanager
def _uncollected() -> Iterator[None]:
    """No collection of garbage in the block: a stop of the generator would look like one of the server."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def run_at_rate(host: str, port: int, request: bytes, count: int, rate: float, connections: int) -> list[float]:
    """Send `count` requests, `rate` a second on average, at the random times at which independent clients would.

    Returns the seconds from when each was due until its reply was there: one that found every connection busy has
    waited, and that counts. Blocks its thread; `select` wakes it to the microsecond, where an event loop rounds to
    milliseconds. Every reply must be a 200."""
    with ExitStack() as stack:
        stack.enter_context(_uncollected())
        sockets = [stack.enter_context(socket.create_connection((host, port))) for _ in range(connections)]
        for one in sockets:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Paced(sockets, request, _arrivals(count, rate), count / rate + TIMEOUT).run()


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

    def __init__(
        self, sockets: list[socket.socket], request: bytes, arrivals: list[float], most_seconds: float
    ) -> None:
        self._idle = list(sockets)
        self._busy: dict[socket.socket, float] = {}
        """When what is under way on a connection was due."""
        self._replies = dict.fromkeys(sockets, b"")
        self._request = request
        self._due = deque(arrivals)
        self._most_seconds = most_seconds
        self._began = 0.0
        self._latencies: list[float] = []

    def run(self) -> list[float]:
        self._began = time.perf_counter()
        while self._due or self._busy:
            now = self._now()
            if now > self._most_seconds:
                raise RuntimeError(f"the load took more than {self._most_seconds:.0f} s")
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


class Connection(asyncio.Protocol):
    """One kept-alive connection for one request at a time."""

    def __init__(self) -> None:
        self._part = b""
        self._reply: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one, without saying so

    async def ask(self, request: bytes) -> bytes:
        """The body of the reply, which must be a 200."""
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        reply = await self._reply
        if not reply.startswith(OK):
            raise RuntimeError(f"a request failed: {reply[:500]!r}")
        return reply[reply.index(HEAD_END) + len(HEAD_END) :]

    def data_received(self, data: bytes) -> None:
        self._part += data
        if _is_complete(self._part) and self._reply is not None and not self._reply.done():
            self._reply.set_result(self._part)
            self._part = b""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(RuntimeError(f"a request failed: {exc or 'the connection was closed'}"))

    def close(self) -> None:
        self._transport.close()


@asynccontextmanager
async def connection(host: str, port: int) -> AsyncIterator[Connection]:
    _, made = await asyncio.get_running_loop().create_connection(Connection, host, port)
    try:
        yield made
    finally:
        made.close()
