"""A SyncClient is closed while other threads use it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator

import httpx
import pytest
from opentelemetry import trace

from queuey import loops
from queuey.client import Client, SyncClient, job_metadata
from queuey.client.sync import IN_SERVER, _stepping
from queuey.protocol import traceparent
from queuey.protocol.models import JobRequest

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


class Answering(Silent):
    """A transport that answers at once."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(204)


def close_when_all_are_there(client: SyncClient, start: threading.Barrier, errors: list[BaseException]) -> None:
    start.wait(PATIENCE)
    try:
        client.close()
    except BaseException as error:
        errors.append(error)


def test_several_threads_may_close_it() -> None:
    for _ in range(20):
        transport = Answering()
        client = SyncClient(transport=transport)
        client.delete("J")
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


def test_the_metadata_of_the_calling_thread_goes_along() -> None:
    seen: list[object] = []

    def answer(request: httpx.Request) -> httpx.Response:
        jobs = json.loads(request.content)
        seen.append([job.get("metadata") for job in jobs] if isinstance(jobs, list) else jobs.get("metadata"))
        results = [{"job_id": "1", "deduplicated": False}]
        return httpx.Response(200, json={"results": results} if isinstance(jobs, list) else results[0])

    with SyncClient(transport=httpx.MockTransport(answer)) as client:
        with job_metadata(request_id="r-1"):
            client.enqueue("t")
            client.enqueue_many([JobRequest("t", metadata={"tenant": "acme"})])
        client.enqueue("t")
    assert seen == [{"request_id": "r-1"}, [{"request_id": "r-1", "tenant": "acme"}], None]


# --- in an event loop ---------------------------------------------------------------------------------------------


class Empty(httpx.AsyncBaseTransport):
    """A server without jobs."""

    def __init__(self) -> None:
        self.requests = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        return httpx.Response(200, json={"queues": [], "jobs": [], "next": None})


async def test_it_is_refused_in_the_loop_of_a_server_before_anything_is_sent() -> None:
    transport = Empty()
    with SyncClient(transport=transport) as client, loops.serving():
        for call in (client.queues, lambda: list(client.jobs())):
            with pytest.raises(RuntimeError) as caught:
                call()
            assert str(caught.value) == IN_SERVER
        assert transport.requests == 0
        assert await asyncio.to_thread(client.queues) == [], "a plain handler runs in a thread"


async def test_it_works_in_the_loop_of_a_notebook() -> None:
    """Also if a server has run in this process before."""
    with loops.serving():
        pass
    with SyncClient(transport=Empty()) as client:
        assert client.queues() == []
        assert list(client.jobs()) == []


def test_a_server_in_another_thread_does_not_matter() -> None:
    serving, ending = threading.Event(), threading.Event()

    async def serve() -> None:
        with loops.serving():
            serving.set()
            await asyncio.to_thread(ending.wait, PATIENCE)

    thread = threading.Thread(target=asyncio.run, args=[serve()])
    thread.start()
    try:
        assert serving.wait(PATIENCE)
        with SyncClient(transport=Empty()) as client:
            asyncio.run(asyncio.to_thread(client.queues))
            assert client.queues() == []
    finally:
        ending.set()
        thread.join(PATIENCE)
