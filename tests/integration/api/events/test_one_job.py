"""The stream of events of one job, to its end."""

from __future__ import annotations

import pytest

from queuey.protocol.models import ProgressReport
from queuey.services.reports.progress import ProgressRecorder
from queuey.store.broker.broker import Broker
from tests.support.events import finish, observed
from tests.support.http import ApiRig, api_over, keys, problem
from tests.support.store import Rig
from tests.support.streams import streaming


@pytest.mark.parametrize("shards", [1, 4])
async def test_a_job_is_followed_from_what_it_is_to_its_end(rig: Rig, api: ApiRig) -> None:
    (job_id,) = await rig.add(now=0)
    async with streaming(api, f"/v1/jobs/{job_id}/events") as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-store"
        await stream.expect("status", job_id=job_id, type="t", queue="default", status="queued", attempt=0)
        (job,) = (await rig.claim(now=0)).jobs
        running = await stream.expect("status", job_id=job_id, status="running", attempt=1)
        assert running.id
        await rig.broker.leases.fail(
            rig.shard, [(job_id, job.token, '{"attempt":1,"kind":"error","message":"m"}', 0, False)]
        )
        await stream.expect("status", status="scheduled", attempt=1)
        (job,) = (await rig.claim(now=0)).jobs
        await stream.expect("status", status="queued", attempt=1)
        await stream.expect("status", status="running", attempt=2)
        await rig.broker.leases.complete(rig.shard, [(job_id, job.token, "1")])
        await stream.expect("status", status="succeeded", attempt=2)
        assert await stream.next() is None
    assert (api.followers.count, api.waiters.count) == (0, 0)


async def test_progress_is_told_the_last_at_once(rig: Rig, api: ApiRig) -> None:
    (job_id,) = await rig.add(now=0)
    recorder = ProgressRecorder(rig.broker, api.feed.progress)
    (job,) = (await rig.claim(now=0)).jobs
    await rig.broker.jobs.progress(rig.shard, [(job_id, job.token, '{"done":1}')])
    async with streaming(api, f"/v1/jobs/{job_id}/events") as stream:
        await stream.expect("status", status="running")
        await stream.expect("progress", job_id=job_id, done=1, total=None, note=None)
        recorder.record(job_id, job.token, ProgressReport(2, 3, "two"))
        event = await stream.expect("progress", job_id=job_id, done=2, total=3, note="two")
        assert set(event.data) == {"job_id", "done", "total", "note", "at"}


async def test_a_pull_workers_progress_and_outcome_are_told(rig: Rig, api: ApiRig) -> None:
    job_id = await api.submit(type="pulled")
    async with streaming(api, f"/v1/jobs/{job_id}/events") as stream:
        await stream.expect("status", status="queued")
        (leased,) = (await api.http.post("/v1/leases", json={"queues": ["default"]})).json()["jobs"]
        await stream.expect("status", type="pulled", status="running")
        held = {"id": job_id, "token": leased["token"]}
        await api.http.post("/v1/leases/extend", json=held | {"progress": {"done": 1, "total": 2}})
        await stream.expect("progress", job_id=job_id, done=1, total=2)
        assert (await api.job(job_id))["progress"]["done"] == 1
        await api.http.post("/v1/leases/complete", json=held | {"result": None})
        await stream.expect("status", status="succeeded")
        assert await stream.next() is None


async def test_what_has_ended_is_told_and_that_is_all(rig: Rig, api: ApiRig) -> None:
    await rig.add(now=0)
    job_id = await finish(rig)
    async with streaming(api, f"/v1/jobs/{job_id}/events") as stream:
        await stream.expect("status", status="succeeded", attempt=1)
        assert await stream.next() is None


async def test_the_end_is_told_though_no_event_comes(rig: Rig) -> None:
    """The end is done by one who tells no events, as an older version in a rolling deploy."""
    (job_id,) = await rig.add(now=0)
    plain = Broker(rig.broker.shards, rig.scripts)
    async with api_over(plain) as api, streaming(api, f"/v1/jobs/{job_id}/events") as stream:
        await stream.expect("status", status="queued")
        await rig.broker.jobs.cancel(rig.shard, [job_id])
        await stream.expect("status", status="cancelled")
        assert await stream.next() is None


async def test_jobs_that_are_not_there_or_not_for_the_caller_are_404(rig: Rig) -> None:
    (job_id,) = await rig.add(now=0, queue="mail")
    async with api_over(observed(rig), keys(web="read@web")) as api:
        for path in (f"/v1/jobs/{job_id}/events", f"/v1/jobs/{rig.new_id()}/events", "/v1/jobs/x/events"):
            problem(await api.http.get(path, headers={"x-api-key": "web"}), 404, "not-found")
        assert api.followers.count == 0


async def test_a_server_that_stops_ends_the_streams(rig: Rig, api: ApiRig) -> None:
    (job_id,) = await rig.add(now=0)
    async with streaming(api, f"/v1/jobs/{job_id}/events") as one, streaming(api, "/v1/events") as all_jobs:
        await one.expect("status", status="queued")
        api.waiters.close()
        api.followers.close()
        assert await all_jobs.next() is None
        while (event := await one.next()) is not None:
            assert event.data["status"] == "queued"
    async with streaming(api, "/v1/events") as late:
        assert await late.next() is None
