"""The client reads streams of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from queuey.client import BadAnswer, Client, Event, Forbidden, Unreachable
from queuey.protocol.models import ProgressEvent, StatusEvent
from tests.support.virtual_time import in_virtual_time

NOW = '"at":"2026-01-01T00:00:00Z"'
SEPARATOR = "\u2028"  # a line's end to Python, and plain text in JSON


def status(word: str, number: int = 0) -> bytes:
    first = f"id: {number}-0\n" if number else ""
    data = f'{{"job_id":"J","type":"t","queue":"q","status":"{word}","attempt":1,{NOW}}}'
    return f"{first}event: status\ndata: {data}\n\n".encode()


def progress(note: str) -> bytes:
    return f'event: progress\ndata: {{"job_id":"J","done":1,"total":2,"note":"{note}",{NOW}}}\n\n'.encode()


class Streams:
    """A transport that answers each request with the next list of chunks. An exception among them breaks the stream."""

    def __init__(self, *streams: list[bytes | Exception] | httpx.Response) -> None:
        self.streams = list(streams)
        self.asked: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.headers.get("last-event-id"))
        stream = self.streams.pop(0)
        return stream if isinstance(stream, httpx.Response) else httpx.Response(200, content=_chunks(stream))

    def client(self, retries: int = 1) -> Client:
        return Client("http://q.test", retries=retries, transport=httpx.MockTransport(self))


async def _chunks(stream: list[bytes | Exception]) -> AsyncIterator[bytes]:
    for chunk in stream:
        if isinstance(chunk, Exception):
            raise chunk
        yield chunk


def word(event: Event) -> str:
    if isinstance(event.data, StatusEvent):
        return event.data.status
    return str(event.data.note) if isinstance(event.data, ProgressEvent) else event.kind


@in_virtual_time
async def test_events_are_read_however_they_are_cut() -> None:
    whole = b": ping\n\n" + status("running") + progress(f"ü{SEPARATOR}x") + b"event: new\ndata: {}\n\n"
    whole += status("succeeded")
    for size in (1, 7, len(whole)):
        streams = Streams([whole[at : at + size] for at in range(0, len(whole), size)])
        async with streams.client() as client:
            assert [word(event) async for event in client.follow("J")] == ["running", f"ü{SEPARATOR}x", "succeeded"]


@in_virtual_time
async def test_a_job_is_followed_to_its_end_over_broken_streams() -> None:
    streams = Streams([status("queued")], [status("running"), httpx.ReadError("gone")], [status("cancelled")])
    async with streams.client() as client:
        assert [word(event) async for event in client.follow("J")] == ["queued", "running", "cancelled"]


@in_virtual_time
async def test_all_events_go_on_where_they_broke() -> None:
    streams = Streams(
        [status("queued", 5), httpx.ReadError("gone")], [b"event: reset\ndata: {}\n\n", status("running", 9)]
    )
    async with streams.client() as client:
        found = client.events(last_event_id="3-0")
        assert [word(await anext(found)) for _ in range(3)] == ["queued", "reset", "running"]
        await found.aclose()  # type: ignore[attr-defined]
    assert streams.asked == ["3-0", "5-0"]


@in_virtual_time
async def test_it_gives_up_when_the_server_stays_away() -> None:
    streams = Streams([httpx.ReadError("gone")], [httpx.ReadError("gone")])
    async with streams.client() as client:
        with pytest.raises(Unreachable):
            await anext(client.events())
    assert len(streams.asked) == 2


@in_virtual_time
async def test_a_stream_is_looked_for_as_long_as_a_restart_takes() -> None:
    """A server that takes a stream and says nothing in it has not come back."""
    asked: list[float] = []

    async def restarting(request: httpx.Request) -> httpx.Response:
        asked.append(asyncio.get_running_loop().time())
        if len(asked) == 1:
            return httpx.Response(200, content=_chunks([status("queued", 5), httpx.ReadError("gone")]))
        if asked[-1] < 30:
            raise httpx.ConnectError("refused")
        if asked[-1] < 55:
            return httpx.Response(200, content=_chunks([httpx.ReadError("gone")]))
        return httpx.Response(200, content=later(len(asked)))

    async def later(number: int) -> AsyncIterator[bytes]:
        yield status("running", number)
        await asyncio.sleep(100)
        raise httpx.ReadError("gone")

    async with Client("http://q.test", retry_for=1, transport=httpx.MockTransport(restarting)) as client:
        found = client.events()
        assert [word(await anext(found)) for _ in range(3)] == ["queued", "running", "running"]
        await found.aclose()  # type: ignore[attr-defined]
    assert asked[-1] >= 55


@in_virtual_time
async def test_what_will_not_change_is_raised_at_once() -> None:
    problem = {"type": "urn:queuey:problem:forbidden", "title": "", "status": 403, "detail": "No."}
    streams = Streams(httpx.Response(403, json=problem), [b"event: status\ndata: {}\n\n"], [b"x" * 1_000_001])
    async with streams.client() as client:
        for kind in (Forbidden, BadAnswer, BadAnswer):
            with pytest.raises(kind):
                await anext(client.events())
    assert len(streams.asked) == 3
