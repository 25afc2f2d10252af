"""Checkpoints of pull workers: kept under the lease, and handed to the next attempt."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from queuey.client import Client
from queuey.protocol.models import MAX_CHECKPOINT
from queuey.protocol.models.leases import MAX_NUMBER
from queuey.worker.handlers.attempt import Work
from queuey.worker.remote.reports import Checkpoints
from tests.support.http import HOST, ApiRig, moment, problem
from tests.support.pull.leasing import CHECKPOINT, COMPLETE, FAIL, RELEASE, held, lease, one, report


async def test_the_next_lease_has_it(api: ApiRig) -> None:
    job = await one(api)
    assert "checkpoint" not in job
    response = await api.http.post(CHECKPOINT, json=held(job, checkpoint={"line": 7}))
    assert (response.status_code, response.json()) == (200, {"id": job["id"], "status": "ok"})
    shown = await api.job(job["id"])
    assert (shown["status"], shown["result"], shown["checkpoint"]["bytes"]) == ("running", None, len('{"line":7}'))
    assert moment(shown["checkpoint"]["at"]) >= moment(shown["started_at"])
    await report(api, FAIL, held(job, error="no luck", retry_after=0))
    (again,) = await lease(api, queues=["default"])
    assert (again["id"], again["checkpoint"], again["attempt"]) == (job["id"], {"line": 7}, 2)
    stale, fresh = await report(api, CHECKPOINT, held(job, checkpoint=1), held(again, checkpoint=[1, 2]))
    assert (stale["status"], fresh["status"]) == ("lost", "ok")
    await report(api, RELEASE, held(again))
    (last,) = await lease(api, queues=["default"])
    assert last["checkpoint"] == [1, 2]
    await report(api, COMPLETE, held(last, result="done"))
    ended = await api.job(job["id"])
    assert (ended["result"], ended["checkpoint"]) == ("done", None)


async def test_null_removes_it(api: ApiRig) -> None:
    job = await one(api)
    for value in (1, None):
        await report(api, CHECKPOINT, held(job, checkpoint=value))
    assert (await api.job(job["id"]))["checkpoint"] is None
    await report(api, RELEASE, held(job))
    assert "checkpoint" not in (await lease(api, queues=["default"]))[0]


async def test_one_that_comes_late_is_answered_and_changes_nothing(api: ApiRig) -> None:
    job = await one(api)
    items = [held(job, checkpoint="new", number=2), held(job, checkpoint="old", number=1)]
    assert [told["status"] for told in await report(api, CHECKPOINT, *items)] == ["ok", "ok"]
    response = await api.http.post(CHECKPOINT, json=held(job, checkpoint=None, number=1))
    assert (response.status_code, response.json()["status"]) == (200, "ok")
    await report(api, RELEASE, held(job))
    (again,) = await lease(api, queues=["default"])
    assert again["checkpoint"] == "new"
    await report(api, CHECKPOINT, held(again, checkpoint="newest", number=None))
    await report(api, RELEASE, held(again))
    assert (await lease(api, queues=["default"]))[0]["checkpoint"] == "newest"


async def test_it_is_kept_on_one_line(api: ApiRig) -> None:
    job = await one(api)
    text = b'{"id":"%s","token":"%s","checkpoint":{\r\n "a":\n "x\\ny"}}' % (job["id"].encode(), job["token"].encode())
    response = await api.http.post(CHECKPOINT, content=text, headers={"content-type": "application/json"})
    assert response.status_code == 200, response.text
    await report(api, FAIL, held(job, error="no luck", retry_after=0))
    (again,) = await lease(api, queues=["default"])
    assert again["checkpoint"] == {"a": "x\ny"}
    assert [error["message"] for error in (await api.job(job["id"]))["errors"]] == ["no luck"]


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"checkpoint": "x" * (MAX_CHECKPOINT - 1)}, 413, "too-large"),
        ({}, 422, "invalid"),
        ({"checkpoint": 1, "value": 2}, 422, "invalid"),
        ({"checkpoint": 1, "number": 0}, 422, "invalid"),
        ({"checkpoint": 1, "number": 1.5}, 422, "invalid"),
        ({"checkpoint": 1, "number": "1"}, 422, "invalid"),
        ({"checkpoint": 1, "number": MAX_NUMBER + 1}, 422, "invalid"),
    ],
)
async def test_what_is_refused(api: ApiRig, more: dict[str, Any], status: int, code: str) -> None:
    job = await one(api)
    problem(await api.http.post(CHECKPOINT, json=held(job, **more)), status, code)
    assert (await api.job(job["id"]))["checkpoint"] is None


async def test_the_largest_is_kept(api: ApiRig) -> None:
    job = await one(api)
    (told,) = await report(api, CHECKPOINT, held(job, checkpoint="x" * (MAX_CHECKPOINT - 2)))
    assert told["status"] == "ok"
    assert (await api.job(job["id"]))["checkpoint"]["bytes"] == MAX_CHECKPOINT


class FirstIsLate(httpx.AsyncBaseTransport):
    """Keeps the first request back: its client gives it up and sends it again."""

    def __init__(self, api: ApiRig) -> None:
        self._to = httpx.ASGITransport(api.app)
        self.late: httpx.Request | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.late is None:
            self.late = request
            raise httpx.ReadTimeout("late")
        return await self._to.handle_async_request(request)

    async def arrives(self) -> httpx.Response:
        assert self.late is not None
        return await self._to.handle_async_request(self.late)


async def test_what_a_worker_gave_up_replaces_nothing_when_it_arrives(api: ApiRig) -> None:
    job = await one(api)
    work = Work(job["id"], "t", "default", "1", job["token"], 1, 5)
    transport = FirstIsLate(api)
    async with Client(f"http://{HOST}", transport=transport) as client:
        checkpoints = Checkpoints(client)
        for value in ('"first"', '"second"'):
            await asyncio.wrap_future(checkpoints.keep(work, value))
        await checkpoints.close()
    late = await transport.arrives()
    assert late.status_code == 200
    await report(api, RELEASE, held(job))
    assert (await lease(api, queues=["default"]))[0]["checkpoint"] == "second"


async def test_the_client_passes_the_number_on(api: ApiRig) -> None:
    await api.submit()
    async with Client(f"http://{HOST}", transport=httpx.ASGITransport(api.app)) as client:
        (job,) = await client.lease()
        await client.checkpoint(job, "new", number=2)
        assert (await client.checkpoint(job, "old", number=1)).status == "ok"
        await client.release(job)
        (again,) = await client.lease()
        assert again.checkpoint == msgspec.Raw(b'"new"')
