"""Unique jobs and batches of items through the SyncClient, from a thread, against the API over a real store."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from msgspec import Raw

from queuey import Batch, Debounce, SyncClient, Throttle, Unique
from queuey.client import ClientError, KeyHeld, new_id
from queuey.protocol.models import JobRequest
from tests.integration.client.test_items import Through
from tests.support.http import HOST, api_over
from tests.support.store import Rig


async def test_a_sync_client_has_each_of_the_four(rig: Rig) -> None:
    await rig.broker.replicas.register()
    async with api_over(rig.broker) as api:
        through = Through(httpx.ASGITransport(api.app), asyncio.get_running_loop())

        def in_a_thread() -> None:
            with SyncClient(f"http://{HOST}", transport=through) as client:
                find_and_reject(client)
                replace_and_throttle(client)
                add_items(client)

        await asyncio.to_thread(in_a_thread)


def find_and_reject(client: SyncClient) -> None:
    first = client.enqueue("sync", 1, unique=Unique("k"))
    assert client.enqueue("sync", 2, unique=Unique("k")).job_id == first.job_id
    with pytest.raises(KeyHeld) as held:
        client.enqueue("sync", 2, unique=Unique("k", on_conflict="reject"))
    assert held.value.problem.job_ids == [first.job_id]
    job = client.get(first.job_id)
    assert job.unique is not None
    assert (job.unique.key, job.unique.until, bytes(job.payload)) == ("k", "finished", b"1")


def replace_and_throttle(client: SyncClient) -> None:
    debounce = Debounce("k2", wait=60)
    first = client.enqueue("page", 1, debounce=debounce)
    again = client.enqueue("page", 2, debounce=debounce)
    assert (again.job_id, again.replaced) == (first.job_id, "payload")
    job = client.get(first.job_id)
    assert (job.status, bytes(job.payload)) == ("scheduled", b"2")
    mails = [client.enqueue("mail", number, throttle=Throttle("k3", per=60)) for number in range(2)]
    assert [(mail.job_id, mail.deduplicated) for mail in mails] == [(mails[0].job_id, False), (mails[0].job_id, True)]


def add_items(client: SyncClient) -> None:
    batch, item_id = Batch("k4", max_size=3, max_wait=60), new_id()
    first = client.enqueue("rows", 1, batch=batch, id=item_id)
    assert client.enqueue("rows", 1, batch=batch, id=item_id).deduplicated
    unique = JobRequest("sync", unique=Unique("k"))
    found, added = client.enqueue_many([unique, JobRequest("rows", payload=Raw(b"2"), batch=batch)])
    assert (found.deduplicated, added.job_id, added.items) == (True, first.job_id, 2)
    with pytest.raises(ClientError, match="unique is not for an item of a batch"):
        client.enqueue("rows", 1, batch=batch, unique=Unique("k5"))
    assert bytes(client.get(first.job_id).payload) == b"[1,2]"
