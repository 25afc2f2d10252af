"""Batches of items through both clients and through a handler, against the API over a real store."""

from __future__ import annotations

import asyncio

import httpx
from msgspec import UNSET

from queuey import App, Batch, Client, SyncClient
from queuey.client import new_id
from tests.support.http import HOST, api_over
from tests.support.store import Rig

BATCH = Batch("rows", max_size=2, max_wait=60)
APP = App()


@APP.job("rows", queue="search", max_attempts=2)
async def rows(rows: list[int]) -> None:
    raise AssertionError("it is only enqueued")


async def test_the_client_adds_items(rig: Rig) -> None:
    async with (
        api_over(rig.broker) as api,
        Client(f"http://{HOST}", transport=httpx.ASGITransport(api.app)) as client,
    ):
        first = await client.enqueue("t", {"n": 1}, batch=BATCH)
        item_id = new_id()
        second = await client.enqueue("t", None, batch=BATCH, id=item_id)
        again = await client.enqueue("t", None, batch=BATCH, id=item_id)
        assert (first.items, second.items, again.items) == (1, 2, UNSET)
        assert {first.job_id, second.job_id, again.job_id} == {first.job_id}
        assert again.deduplicated
        job = await client.get(first.job_id)
        assert (bytes(job.payload), job.batch_key) == (b'[{"n":1},null]', "rows")


async def test_a_handler_enqueues_items_with_either_client(rig: Rig) -> None:
    async with api_over(rig.broker) as api:
        transport = httpx.ASGITransport(api.app)
        async with Client(f"http://{HOST}", transport=transport) as client:
            reply = await rows.enqueue(1, batch=BATCH, client=client)
            many = await client.enqueue_many([rows.request(number, batch=BATCH) for number in (2, 3)])
            assert [each.items for each in many] == [2, 1]
            assert many[0].job_id == reply.job_id

            def in_a_thread() -> int | object:
                with SyncClient(f"http://{HOST}", transport=Through(transport, asyncio_loop)) as sync:
                    return rows.enqueue(4, batch=BATCH, client=sync).items

            asyncio_loop = asyncio.get_running_loop()
            assert await asyncio.to_thread(in_a_thread) == 2
            job = await client.get(str(many[1].job_id))
            assert (job.queue, job.max_attempts, bytes(job.payload)) == ("search", 2, b"[3,4]")


class Through(httpx.AsyncBaseTransport):
    """Passes requests of the loop of a SyncClient to a transport of the test's loop."""

    def __init__(self, inner: httpx.AsyncBaseTransport, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._loop = loop

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()

        async def pass_on() -> httpx.Response:
            response = await self._inner.handle_async_request(request)
            return httpx.Response(response.status_code, headers=response.headers, content=await response.aread())

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(pass_on(), self._loop))
