"""`POST /v1/jobs?wait=`: taken, and answered with the whole job at its end."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from queuey.store.broker.broker import Broker
from queuey.store.shards import Shards
from tests.support.http import ApiRig, api_over, keys, problem
from tests.support.store import Rig
from tests.support.working import PATIENCE, FaultyScripts, eventually

JOB = {"type": "t", "payload": {"n": 1}}


def submit(api: ApiRig, job: object = JOB, *, wait: str | None = "60", **headers: str) -> asyncio.Task[httpx.Response]:
    params = {} if wait is None else {"wait": wait}
    return asyncio.create_task(api.http.post("/v1/jobs", json=job, params=params, headers=headers))


async def result_of(request: asyncio.Task[httpx.Response]) -> httpx.Response:
    async with asyncio.timeout(PATIENCE):
        return await request


async def run_next(rig: Rig) -> str:
    """Run the next job, which somebody waits for, to success. Returns its id."""
    found: list[Any] = []

    async def claimed() -> bool:
        found.extend((await rig.claim(now=0)).jobs)
        return bool(found)

    await eventually(claimed)
    (job,) = found
    await eventually(lambda: _marked(rig, job.id))
    await rig.broker.leases.complete(rig.shard, [(job.id, job.token, '"done"')])
    return str(job.id)


async def _marked(rig: Rig, job_id: str) -> bool:
    return "v" in await rig.state(job_id)


async def test_the_whole_job_comes_at_its_end(rig: Rig, api: ApiRig) -> None:
    request = submit(api)
    job_id = await run_next(rig)
    response = await result_of(request)
    job = response.json()
    assert response.status_code == 200
    assert (job["id"], job["status"], job["result"], job["payload"]) == (job_id, "succeeded", "done", {"n": 1})
    assert response.headers["location"] == f"/v1/jobs/{job_id}"
    assert "preference-applied" not in response.headers
    assert job == await api.job(job_id)


async def test_the_header_asks_for_the_same_and_is_answered(rig: Rig, api: ApiRig) -> None:
    request = submit(api, wait=None, Prefer="respond-async, wait=30")
    job_id = await run_next(rig)
    response = await result_of(request)
    assert (response.json()["id"], response.json()["status"]) == (job_id, "succeeded")
    assert response.headers["preference-applied"] == "wait=30"


@pytest.mark.parametrize("wait", ["0", "0.01"])
async def test_after_its_time_it_is_what_it_is(api: ApiRig, wait: str) -> None:
    response = await result_of(submit(api, wait=wait))
    assert response.json()["status"] == "queued"
    assert response.headers["location"] == f"/v1/jobs/{response.json()['id']}"


async def test_without_a_wait_nothing_is_different(api: ApiRig) -> None:
    for headers in ({}, {"Prefer": "respond-async"}):
        response = await result_of(submit(api, wait=None, **headers))
        assert set(response.json()) == {"job_id", "deduplicated"}


async def test_a_duplicate_waits_for_the_job_that_was_there(rig: Rig, api: ApiRig) -> None:
    job = JOB | {"dedupe_key": "once"}
    first, second = submit(api, job), submit(api, job)
    job_id = await run_next(rig)
    assert {(await result_of(request)).json()["id"] for request in (first, second)} == {job_id}
    late = await result_of(submit(api, job))
    assert (late.json()["id"], late.json()["status"]) == (job_id, "succeeded")


async def test_a_wait_that_is_not_allowed_takes_no_job(rig: Rig, api: ApiRig) -> None:
    async with rig.unchanged():
        problem(await result_of(submit(api, wait="3600")), 422, "invalid")
        problem(await result_of(submit(api, wait=None, Prefer="wait=soon")), 422, "invalid")
        problem(await api.http.post("/v1/jobs?until=3", json=JOB), 422, "invalid")


async def test_who_may_not_read_may_not_wait(rig: Rig) -> None:
    async with api_over(rig.broker, keys(sends="submit", web="submit@web+read@web", both="submit+read@web")) as api:
        async with rig.unchanged():
            problem(await result_of(submit(api, **{"x-api-key": "sends"})), 403, "forbidden")
        mail = JOB | {"queue": "mail", "dedupe_key": "once"}
        assert (await result_of(submit(api, mail, wait=None, **{"x-api-key": "both"}))).status_code == 200
        web = JOB | {"queue": "web", "dedupe_key": "once"}
        problem(await result_of(submit(api, web, **{"x-api-key": "both"})), 403, "forbidden")


async def test_a_server_at_which_too_many_wait_takes_no_job(rig: Rig) -> None:
    async with api_over(rig.broker, waiters=1) as api:
        waits = submit(api)
        await eventually(lambda: _waits(api))
        problem(await result_of(submit(api)), 429, "full")
        await run_next(rig)
        assert (await result_of(waits)).json()["status"] == "succeeded"
        assert (await rig.row())["finished"] == 1
        assert (await rig.row())["default"] == 0


async def _waits(api: ApiRig) -> bool:
    return api.waiters.count == 1


async def test_a_job_that_was_taken_and_cannot_be_read_is_named(rig: Rig) -> None:
    scripts = FaultyScripts()
    scripts.replies_to_drop["get"] = 1000
    async with api_over(Broker(Shards(rig.client, 1), scripts), request_deadline=0.1) as api:
        body = problem(await result_of(submit(api, wait="0.01")), 503, "outcome-unknown")
    assert body["job_ids"] == await rig.waiting()
