"""The load generator: what it counts as a reply, and that a slow server cannot hide in an open load."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import pytest

from bench import http_load

OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
REFUSED: Final = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
REQUEST: Final = http_load.post("/v1/jobs", b"{}")


class Answering(asyncio.Protocol):
    """Answers each request with a reply, or hangs up where that is empty."""

    def __init__(self, reply: Callable[[int], tuple[float, bytes]], numbers: itertools.count[int]) -> None:
        self._reply = reply
        self._numbers = numbers
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert data == REQUEST
        delay, reply = self._reply(next(self._numbers))
        asyncio.get_running_loop().call_later(delay, self._answer, reply)

    def _answer(self, reply: bytes) -> None:
        if reply:
            self._transport.write(reply)
        else:
            self._transport.close()


@asynccontextmanager
async def answering(reply: Callable[[int], tuple[float, bytes]]) -> AsyncIterator[int]:
    """A server on the port that this gives. `reply`: of a request's number, the seconds to wait and what to send."""
    numbers = itertools.count()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answering(reply, numbers), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def at_rate(port: int, count: int, connections: int) -> asyncio.Future[list[float]]:
    load = partial(http_load.run_at_rate, "127.0.0.1", port, REQUEST, count, 100_000.0, connections)
    return asyncio.get_running_loop().run_in_executor(None, load)


async def test_every_request_of_a_schedule_is_answered() -> None:
    async with answering(lambda number: (0, OK)) as port:
        latencies = await at_rate(port, 200, 4)
    assert len(latencies) == 200
    assert min(latencies) > 0


async def test_a_request_that_finds_no_free_connection_counts_from_when_it_was_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_load, "_arrivals", lambda count, rate: [0.0] * count)
    async with answering(lambda number: (0.05 if number == 0 else 0, OK)) as port:
        latencies = await at_rate(port, 10, 1)
    # Counted from when each was sent, the first would have taken longest.
    assert latencies == sorted(latencies)


@pytest.mark.parametrize("reply", [REFUSED, b""], ids=["refused", "hung-up"])
async def test_a_failed_request_ends_the_load(reply: bytes) -> None:
    async with answering(lambda number: (0, reply if number == 5 else OK)) as port:
        with pytest.raises(RuntimeError, match="a request failed"):
            await at_rate(port, 20, 2)


async def test_one_request_at_a_time() -> None:
    async with (
        answering(lambda number: (0, OK if number == 0 else REFUSED)) as port,
        http_load.connection("127.0.0.1", port) as connection,
    ):
        assert await connection.ask(REQUEST) == b"{}"
        with pytest.raises(RuntimeError, match="503"):
            await connection.ask(REQUEST)


# --- as fast as replies come ------------------------------------------------------------------------------------------


async def as_fast(port: int, count: int, connections: int, **flags: Any) -> http_load.Load:
    return await http_load.run("127.0.0.1", port, itertools.repeat(REQUEST, count), connections, **flags)


async def test_the_warm_up_is_sent_and_not_counted() -> None:
    numbers: list[int] = []

    def reply(number: int) -> tuple[float, bytes]:
        numbers.append(number)
        return 0, OK

    async with answering(reply) as port:
        load = await as_fast(port, 20, 4, warm_up=8)
    assert len(numbers) == 20
    assert len(load.latencies) == 12
    assert min(load.latencies) > 0
    assert load.cpu_seconds > 0


async def test_a_reply_in_parts_is_one_reply() -> None:
    head, body = OK[:20], OK[20:]

    class InParts(Answering):
        def _answer(self, reply: bytes) -> None:
            self._transport.write(head)
            asyncio.get_running_loop().call_later(0.01, self._transport.write, body)

    loop = asyncio.get_running_loop()
    numbers = itertools.count()
    async with await loop.create_server(lambda: InParts(lambda number: (0, OK), numbers), "127.0.0.1", 0) as server:
        load = await as_fast(server.sockets[0].getsockname()[1], 10, 2)
    assert len(load.latencies) == 10


@pytest.mark.parametrize("reply", [REFUSED, b""], ids=["refused", "hung-up"])
async def test_a_failed_request_ends_the_fast_load_too(reply: bytes) -> None:
    async with answering(lambda number: (0, reply if number == 5 else OK)) as port:
        with pytest.raises(RuntimeError, match="a request failed"):
            await as_fast(port, 20, 2)


@pytest.mark.parametrize("cut", [20, len(OK) - 1, len(OK)])
async def test_a_longer_reply_is_not_whole_when_it_is_as_long_as_the_last(cut: int) -> None:
    """The second reply is cut where the first one ended. The next request must not come before its rest was sent."""
    longer = OK.replace(b": 2", b": 8").replace(b"{}", b'{"a": 1}')
    events: list[str] = []

    class Cutting(Answering):
        def _answer(self, reply: bytes) -> None:
            events.append("request")
            self._transport.write(reply[:cut])
            if reply[cut:]:
                asyncio.get_running_loop().call_later(0.01, self._rest, reply[cut:])

        def _rest(self, rest: bytes) -> None:
            events.append("rest")
            self._transport.write(rest)

    numbers = itertools.count()
    loop = asyncio.get_running_loop()
    made = partial(Cutting, lambda number: (0, longer if number else OK), numbers)
    async with await loop.create_server(made, "127.0.0.1", 0) as server:
        load = await as_fast(server.sockets[0].getsockname()[1], 6, 1)
    assert len(load.latencies) == 6
    in_parts = ["request", "rest"]
    assert events == (in_parts if cut < len(OK) else ["request"]) + 5 * in_parts


async def test_another_protocol_says_what_a_reply_is() -> None:
    lines = http_load.Wire(b"INSERTED", lambda reply: reply.endswith(b"\r\n"))
    async with answering(lambda number: (0, b"INSERTED 7\r\n" if number < 5 else b"DRAINING\r\n")) as port:
        assert len((await as_fast(port, 5, 1, wire=lines)).latencies) == 5
        with pytest.raises(RuntimeError, match="DRAINING"):
            await as_fast(port, 5, 1, wire=lines)


async def test_garbage_is_collected_again_after_a_load() -> None:
    async with answering(lambda number: (0, OK)) as port:
        await as_fast(port, 4, 2)
    assert gc.isenabled()


def test_the_arrivals_are_the_same_in_every_run_and_have_the_rate() -> None:
    arrivals = http_load._arrivals(10_000, 50)
    assert arrivals == http_load._arrivals(10_000, 50) == sorted(arrivals)
    assert arrivals[-1] == pytest.approx(200, rel=0.05)


@pytest.mark.parametrize("end", range(1, len(OK)))
def test_a_part_of_a_reply_is_not_yet_one(end: int) -> None:
    assert not http_load._is_complete(OK[:end])
    assert http_load._is_complete(OK)
