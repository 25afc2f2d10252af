"""The stream of events of all jobs: each move of a job is an event, and filters choose among them."""

from __future__ import annotations

import pytest

from queuey.services.maintenance.promoter import Promoter
from tests.support.events import observed
from tests.support.http import ApiRig, api_over, keys, problem
from tests.support.store import Rig
from tests.support.streams import streaming
from tests.support.working import eventually


async def test_all_that_happens_is_told_in_its_order(rig: Rig, api: ApiRig) -> None:
    async with streaming(api, "/v1/events") as stream:
        job_id = await api.submit(type="mail.send", queue="mail", priority="high")
        queued = await stream.expect("status", job_id=job_id, type="mail.send", queue="mail", status="queued")
        assert set(queued.data) == {"job_id", "type", "queue", "status", "attempt", "at"}
        (job,) = (await rig.claim(now=0, queues=["mail"])).jobs
        await stream.expect("status", job_id=job_id, status="running", attempt=1)
        await rig.broker.leases.release(rig.shard, [(job_id, job.token)])
        await stream.expect("status", job_id=job_id, status="queued")
        later = await api.submit(delay=60)
        await stream.expect("status", job_id=later, status="scheduled")
        await api.http.post(f"/v1/jobs/{later}/retry")
        await stream.expect("status", job_id=later, status="queued")
        await api.http.post(f"/v1/jobs/{later}/cancel")
        await stream.expect("status", job_id=later, status="cancelled")
        (job,) = (await rig.claim(now=0, queues=["mail"])).jobs
        await stream.expect("status", job_id=job_id, status="running", attempt=1)
        error = '{"attempt":1,"kind":"error","message":"m"}'
        await rig.broker.leases.fail(rig.shard, [(job_id, job.token, error, 0, True)])
        await stream.expect("status", job_id=job_id, status="dead_letter")
        await api.http.post("/v1/replay-dlq", headers={"x-api-key": "dev"})
        await stream.expect("status", job_id=job_id, type="mail.send", queue="mail", status="queued")


async def test_a_lapsed_lease_is_told(rig: Rig, api: ApiRig) -> None:
    (job_id,) = await rig.add(now=0)
    async with streaming(api, "/v1/events?status=scheduled") as stream:
        await rig.claim(now=0, lease_ms=1)
        await eventually(lambda: _reaped(rig))
        await stream.expect("status", job_id=job_id, type="t", status="scheduled")


async def _reaped(rig: Rig) -> bool:
    return bool((await rig.broker.maintenance.reap(rig.shard, 10, [60_000])).outcomes)


async def test_a_purge_is_reported_job_by_job(rig: Rig, api: ApiRig) -> None:
    async with streaming(api, "/v1/events?status=cancelled") as stream:
        jobs = {await api.submit(type="mail.send", queue="mail", delay=delay) for delay in (0, 0, 60)}
        response = await api.http.post("/v1/queues/mail/purge", json={}, headers={"x-api-key": "dev"})
        assert response.json()["cancelled"] == 3
        events = [await stream.expect("status", type="mail.send", queue="mail", attempt=0) for _ in jobs]
        assert {event.data["job_id"] for event in events} == jobs


async def test_a_large_purge_is_reported_in_its_steps(rig: Rig, api: ApiRig) -> None:
    jobs = {job_id for _ in range(2) for job_id in await rig.add(300, now=0, queue="mail")}
    async with streaming(api, "/v1/events?queue=mail") as stream:
        await api.http.post("/v1/queues/mail/purge", json={}, headers={"x-api-key": "dev"})
        events = [await stream.expect("status", status="cancelled") for _ in jobs]
    assert {event.data["job_id"] for event in events} == jobs


async def test_a_job_that_expires_is_reported(rig: Rig, api: ApiRig) -> None:
    (job_id,) = await rig.add(now=1, queue="mail", expires_ms=1)
    async with streaming(api, f"/v1/jobs/{job_id}/events") as one, streaming(api, "/v1/events") as all_jobs:
        await one.expect("status", status="queued")
        await rig.claim(now=0, queues=["mail"])
        for stream in (one, all_jobs):
            await stream.expect("status", job_id=job_id, type="t", queue="mail", status="cancelled", attempt=0)
        assert await one.next() is None


async def test_a_job_that_comes_due_is_reported_before_it_runs(rig: Rig, api: ApiRig) -> None:
    first, second = await rig.add(2, now=1, delay_ms=1, queue="mail")
    async with streaming(api, f"/v1/jobs/{second}/events") as one, streaming(api, "/v1/events") as all_jobs:
        await one.expect("status", status="scheduled", attempt=0)
        for _ in range(2):
            await rig.claim(now=0, queues=["mail"])
        seen = [await all_jobs.expect("status", type="t", queue="mail") for _ in range(4)]
        statuses = [(event.data["job_id"], event.data["status"], event.data["attempt"]) for event in seen]
        for job_id in (first, second):
            of_job = [(status, attempt) for found, status, attempt in statuses if found == job_id]
            assert of_job == [("queued", 0), ("running", 1)]
        await one.expect("status", status="queued", attempt=0)
        await one.expect("status", status="running", attempt=1)


async def test_what_the_promoter_moves_is_reported(rig: Rig, api: ApiRig) -> None:
    (job_id,) = await rig.add(now=1, delay_ms=1, queue="mail")
    async with streaming(api, "/v1/events") as stream:
        await Promoter(rig.broker).run_once()
        await stream.expect("status", job_id=job_id, type="t", queue="mail", status="queued", attempt=0)


async def test_filters(rig: Rig, api: ApiRig) -> None:
    query = "queue=mail&type=b&status=queued"
    async with streaming(api, f"/v1/events?{query}") as stream:
        for queue, job_type, delay in (("web", "b", 0), ("mail", "a", 0), ("mail", "b", 60), ("mail", "b", 0)):
            await api.submit(type=job_type, queue=queue, delay=delay)
        await stream.expect("status", queue="mail", type="b", status="queued")
        await api.submit(type="b", queue="mail", payload="last")
        await stream.expect("status", queue="mail", type="b", status="queued")


@pytest.mark.parametrize("query", ["queue=", "type=a/b", "status=done", "seconds=-1", "seconds=86401", "since=1"])
async def test_other_parameters_are_refused(api: ApiRig, query: str) -> None:
    problem(await api.http.get(f"/v1/events?{query}"), 422, "invalid")


async def test_a_caller_sees_the_queues_that_it_may_read(rig: Rig) -> None:
    credentials = keys(web="read@web", all="submit")
    async with api_over(observed(rig), credentials) as api, streaming(api, "/v1/events", x_api_key="web") as stream:
        for queue in ("mail", "web"):
            await api.http.post("/v1/jobs", json={"type": "t", "queue": queue}, headers={"x-api-key": "all"})
        await stream.expect("status", queue="web")


async def test_a_stream_may_have_an_end(api: ApiRig) -> None:
    async with streaming(api, "/v1/events?seconds=0") as stream:
        assert await stream.next() is None


async def test_head_is_answered_without_a_stream(rig: Rig, api: ApiRig) -> None:
    (job_id,) = await rig.add(now=0)
    for path in ("/v1/events", f"/v1/jobs/{job_id}/events"):
        response = await api.http.head(path)
        assert (response.status_code, response.headers["content-type"].split(";")[0]) == (200, "text/event-stream")
