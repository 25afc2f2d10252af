"""A SyncClient is closed while other threads use it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import httpx
import pytest
from opentelemetry import trace

from queuey.client import Client, SyncClient
from queuey.client.sync import _stepping
from queuey.protocol import traceparent

PATIENCE = 10.0


class Silent(httpx.AsyncBaseTransport):
    """A transport that never answers. Each request releases `asked`."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.closed = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.release()
        await asyncio.Event().wait()
        raise AssertionError

    async def aclose(self) -> None:
        self.closed += 1


def test_calls_of_a_closed_client_raise_in_their_threads() -> None:
    transport = Silent()
    client = SyncClient(transport=transport)
    reasons: list[str] = []

    def use() -> None:
        try:
            client.metrics()
        except RuntimeError as error:
            reasons.append(str(error))

    threads = [threading.Thread(target=use, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert transport.asked.acquire(timeout=PATIENCE)
    client.close()
    for thread in threads:
        thread.join(PATIENCE)
    assert reasons == ["This client is closed. Create another one."] * 3
    assert transport.closed == 1


def close_when_all_are_there(client: SyncClient, start: threading.Barrier, errors: list[BaseException]) -> None:
    start.wait(PATIENCE)
    try:
        client.close()
    except BaseException as error:
        errors.append(error)


def test_several_threads_may_close_it() -> None:
    for _ in range(20):
        transport = Silent()
        client = SyncClient(transport=transport)
        start = threading.Barrier(4)
        errors: list[BaseException] = []
        threads = [
            threading.Thread(target=close_when_all_are_there, args=[client, start, errors], daemon=True)
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert (errors, transport.closed) == ([], 1)
        assert not any(thread.is_alive() for thread in threads)


def test_what_was_read_half_may_be_closed_after_it() -> None:
    ended: list[str] = []

    async def numbers(_: Client) -> AsyncIterator[int]:
        try:
            for number in range(9):
                yield number
        finally:
            ended.append("ended")

    client = SyncClient(transport=Silent())
    read = _stepping(numbers)(client)
    assert next(read) == 0
    client.close()
    assert ended == ["ended"]
    read.close()
    with pytest.raises(RuntimeError, match="closed"):
        next(_stepping(numbers)(client))


def test_the_span_of_the_calling_thread_goes_along() -> None:
    """The client makes its requests in its own thread."""
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("traceparent"))
        return httpx.Response(200, json={"job_id": "1", "deduplicated": False})

    span = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    context = traceparent.read(span)
    assert context is not None
    with SyncClient(transport=httpx.MockTransport(answer)) as client:
        with trace.use_span(trace.NonRecordingSpan(context)):
            client.enqueue("t")
        client.enqueue("t")
    assert seen == [span, None]
