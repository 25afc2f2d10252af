"""Waits, event streams and enqueues of the clients go on over a restart of the server, on the same port."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

import httpx
import pytest

from queuey import Client, SyncClient
from queuey.client import Event
from queuey.protocol.models import Job, StatusEvent
from tests.e2e.conftest import Serve
from tests.support.serving import PATIENCE, Serving

End = Callable[[Serving], object]
ENDS = [pytest.param(Serving.kill, id="killed"), pytest.param(Serving.stop, id="stopped")]


def port_of(server: Serving) -> int:
    return httpx.URL(server.url).port or 0


@pytest.mark.parametrize("end", ENDS)
async def test_a_wait_ends_with_the_job(serve: Serve, end: End) -> None:
    server = serve()
    async with Client(server.url, "dev", retry_for=0.5) as client:
        await client.pause("default")
        job_id = (await client.enqueue("echo", 1)).job_id
        waiting = asyncio.create_task(client.wait(job_id, timeout=2 * PATIENCE))
        await client.get(job_id)  # a whole request after that of the wait
        await asyncio.to_thread(end, server)
        await asyncio.to_thread(serve, port=port_of(server))
        assert not waiting.done()
        await client.resume("default")
        assert (await waiting).status == "succeeded"


def test_a_wait_in_a_thread_ends_with_the_job(serve: Serve) -> None:
    server = serve()
    jobs: list[Job] = []
    with SyncClient(server.url, "dev", retry_for=0.5) as client:
        client.pause("default")
        job_id = client.enqueue("echo", 1).job_id
        waiting = threading.Thread(target=lambda: jobs.append(client.wait(job_id, timeout=2 * PATIENCE)))
        waiting.start()
        client.get(job_id)
        server.kill()
        serve(port=port_of(server))
        client.resume("default")
        waiting.join(PATIENCE)
    assert [job.status for job in jobs] == ["succeeded"]


@pytest.mark.parametrize("end", ENDS)
async def test_events_go_on(serve: Serve, end: End) -> None:
    server = serve()
    async with Client(server.url, retry_for=0.5) as client:
        first = (await client.enqueue("echo", 1, delay=600)).job_id
        async with closing(client.events()) as events, closing(client.follow(first)) as followed:
            await until_connected(events, client)
            assert (await anext(followed)).kind == "status"
            await asyncio.to_thread(end, server)
            cancelled = [asyncio.create_task(find(each, "cancelled", first)) for each in (events, followed)]
            await asyncio.to_thread(serve, port=port_of(server))
            async with closing(client.events()) as later:
                await until_connected(later, client)
            await client.cancel(first)
            await asyncio.gather(*cancelled)


def closing(events: AsyncIterator[Event]) -> aclosing[AsyncGenerator[Event]]:
    assert isinstance(events, AsyncGenerator)
    return aclosing(events)


async def until_connected(events: AsyncIterator[Event], client: Client) -> None:
    """Make events until the stream yields one, since nothing tells when it is there."""
    first = asyncio.create_task(find(events, "scheduled"))
    while not first.done():
        await client.enqueue("echo", 1, delay=600)
        await asyncio.wait([first], timeout=0.1)
    await first


async def find(events: AsyncIterator[Event], status: str, job_id: str | None = None) -> None:
    async with asyncio.timeout(2 * PATIENCE):
        async for event in events:
            data = event.data
            if isinstance(data, StatusEvent) and data.status == status and job_id in (None, data.job_id):
                return


async def test_an_enqueue_comes_through_once_the_server_is_there(serve: Serve) -> None:
    server = serve()
    async with Client(server.url, retry_for=PATIENCE) as client:
        await client.metrics()
        await asyncio.to_thread(server.kill)
        sending = [asyncio.create_task(client.enqueue("echo", number, delay=60)) for number in range(20)]
        await asyncio.to_thread(serve, port=port_of(server))
        ids = {(await one).job_id for one in sending}
        assert {job.id async for job in client.jobs(type="echo")} == ids
        assert len(ids) == 20
