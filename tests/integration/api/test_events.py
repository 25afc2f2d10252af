"""Server-Sent Events: of one job to its end, and of all jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from queuey.protocol.models import ProgressReport
from queuey.services.events import subscribers as followers
from queuey.services.events.publisher import EventPublisher
from queuey.services.jobs.progress import ProgressRecorder
from queuey.services.maintenance.promoter import Promoter
from queuey.store.broker.broker import Broker
from queuey.store.shards import Shards
from tests.support.http import ApiRig, api_over, keys, problem
from tests.support.store import Rig
from tests.support.streams import Event, streaming
from tests.support.working import FaultyScripts, eventually


@pytest.fixture
async def api(rig: Rig) -> AsyncIterator[ApiRig]:
    async with api_over(observed(rig)) as api:
        yield api


def observed(rig: Rig, scripts: Any = None) -> Broker:
    """A broker whose moves are told, and `rig`'s from now on."""
    shards, scripts = Shards(rig.client, rig.broker.shards.count), scripts or rig.scripts
    rig.broker = Broker(shards, scripts, EventPublisher(Broker(shards, scripts)))
    return rig.broker


async def finish(rig: Rig) -> str:
    (job,) = (await rig.claim(now=0)).jobs
    await rig.broker.leases.complete(rig.shard, [(job.id, job.token, "")])
    return job.id


# --- one job -----------------------------------------------------------------------------------------------------


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


# --- all jobs ----------------------------------------------------------------------------------------------------


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


# --- what was missed ---------------------------------------------------------------------------------------------


async def test_who_comes_back_gets_what_it_missed_and_then_what_is_new(rig: Rig, api: ApiRig) -> None:
    async with streaming(api, "/v1/events") as stream:
        first = await api.submit()
        seen = await stream.expect("status", job_id=first)
        missed = [await api.submit() for _ in range(3)]
        last = [await stream.expect("status", job_id=job_id) for job_id in missed][-1]
        async with streaming(api, "/v1/events", last_event_id=seen.id) as again:
            for job_id in missed:
                await again.expect("status", job_id=job_id)
            new = await api.submit()
            await again.expect("status", job_id=new)
        async with streaming(api, "/v1/events", last_event_id=last.id) as again:
            await again.expect("status", job_id=new)


@pytest.mark.parametrize("event_id", ["1-1", "0-0x", "", "last", "99999999999999-0", "1" * 400 + "-1"])
async def test_an_id_that_is_not_there_is_a_reset(api: ApiRig, event_id: str) -> None:
    async with streaming(api, "/v1/events", last_event_id=event_id) as stream:
        assert await stream.next() == Event("reset", {})
        job_id = await api.submit()
        await stream.expect("status", job_id=job_id)


async def test_more_than_can_be_told_again_is_a_reset(rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "BUFFER", 5)
    async with streaming(api, "/v1/events") as stream:
        await api.submit()
        seen = await stream.expect("status", status="queued")
        for _ in range(6):
            job_id = await api.submit()
            await stream.expect("status", job_id=job_id)
        async with streaming(api, "/v1/events", last_event_id=seen.id) as again:
            assert await again.next() == Event("reset", {})


async def test_events_that_could_not_be_told_leave_a_reset(rig: Rig) -> None:
    scripts = FaultyScripts()
    async with api_over(observed(rig, scripts)) as api, streaming(api, "/v1/events") as stream:
        api.feed._published(0, None, RuntimeError("as when the store refuses it"))
        job_id = await api.submit()
        assert (await stream.next() or Event("", {})).name == "reset"
        await stream.expect("status", job_id=job_id)


async def test_a_lost_connection_loses_no_event(rig: Rig, api: ApiRig) -> None:
    async with streaming(api, "/v1/events") as stream:
        await api.submit()
        await stream.expect("status", status="queued")
        for _ in range(3):
            await rig.client.execute_command("CLIENT", "KILL", "ID", await _reader(rig))
            job_id = await api.submit()
            await stream.expect("status", job_id=job_id)


async def _reader(rig: Rig) -> str:
    """The id of the connection that waits for events."""
    found: list[str] = []

    async def waits() -> bool:
        found[:] = [client["id"] for client in await rig.client.client_list() if "b" in client["flags"]]
        return bool(found)

    await eventually(waits)
    return found[0]


async def test_a_stream_that_was_thrown_away_is_a_reset(rig: Rig, api: ApiRig) -> None:
    async with streaming(api, "/v1/events") as stream:
        await api.submit()
        await stream.expect("status", status="queued")
        await rig.client.delete(rig.broker.shards.keys[0].events, rig.broker.shards.keys[0].listening)
        await rig.client.execute_command("CLIENT", "KILL", "ID", await _reader(rig))
        assert await stream.next() == Event("reset", {})
        job_id = await api.submit()
        await stream.expect("status", job_id=job_id)


# --- bounds ------------------------------------------------------------------------------------------------------


async def test_who_does_not_keep_up_is_let_go_with_a_reset(
    rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followers, "BUFFER", 10)
    async with streaming(api, "/v1/events") as quick, streaming(api, "/v1/events") as slow:
        slow.reading.clear()
        for _ in range(40):
            job_id = await api.submit()
            await quick.expect("status", job_id=job_id)
        slow.reading.set()
        seen: list[str] = []
        while (event := await slow.next()) is not None:
            seen.append(event.name)
        assert seen[-1] == "reset"
        assert len(seen) < 30
        job_id = await api.submit()
        await quick.expect("status", job_id=job_id)


async def test_one_more_than_may_is_refused(rig: Rig) -> None:
    async with api_over(observed(rig), waiters=1) as api:
        async with streaming(api, "/v1/events"):
            problem(await api.http.get("/v1/events"), 429, "full")
        async with streaming(api, "/v1/events?seconds=0") as stream:
            assert await stream.next() is None


async def test_while_nobody_follows_the_store_is_told_nothing(rig: Rig) -> None:
    scripts = FaultyScripts()
    async with api_over(observed(rig, scripts)) as api:
        await api.submit()
        await finish(rig)
        assert {name for name, _ in scripts.calls} == {"enqueue", "claim", "complete"}


async def test_once_nobody_follows_any_more_the_reading_ends(rig: Rig, api: ApiRig) -> None:
    async with streaming(api, "/v1/events"):
        await _reader(rig)

    async def nobody_reads() -> bool:
        return not [client for client in await rig.client.client_list() if "b" in client["flags"]]

    await eventually(nobody_reads)


async def test_a_silent_stream_is_pinged(rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queuey.api.routes.events.PING_SECONDS", 0.01)
    (job_id,) = await rig.add(now=0)
    async with streaming(api, "/v1/events") as all_jobs, streaming(api, f"/v1/jobs/{job_id}/events") as one:
        await one.expect("status", status="queued")
        for stream in (all_jobs, one):
            assert [await stream.chunk() for _ in range(3)] == [": ping"] * 3


async def test_a_client_that_goes_leaves_nothing(rig: Rig, api: ApiRig) -> None:
    (job_id,) = await rig.add(now=0)
    async with streaming(api, f"/v1/jobs/{job_id}/events") as one, streaming(api, "/v1/events"):
        await one.expect("status", status="queued")
        assert api.followers.count == 2
    assert (api.followers.count, api.waiters.count) == (0, 0)
