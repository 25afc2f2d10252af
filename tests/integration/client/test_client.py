"""The client against the API over a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from msgspec import UNSET, Raw

from queuey import Debounce, Throttle, Unique
from queuey.client import Client, Forbidden, Invalid, KeyHeld, LostLease, NotFound, Unauthorized, WrongState, new_id
from queuey.protocol.credentials import Credentials
from queuey.protocol.models import (
    CompleteItem,
    ExtendItem,
    FailItem,
    JobRequest,
    PreviewRequest,
    ProgressReport,
    ReleaseItem,
    ScheduleRequest,
)
from tests.support.http import HOST, api_over, keys
from tests.support.store import Rig


@asynccontextmanager
async def client_of(rig: Rig, key: str | None = None, credentials: Credentials | None = None) -> AsyncIterator[Client]:
    async with api_over(rig.broker, credentials) as api:
        transport = httpx.ASGITransport(api.app)
        async with Client(f"http://{HOST}", key, transport=transport) as client:
            yield client


async def test_a_job_is_taken_shown_and_cancelled(rig: Rig) -> None:
    async with client_of(rig, "dev") as client:
        reply = await client.enqueue("mail", {"to": ["a", None]}, queue="post", priority="high", delay=60)
        job = await client.get(reply.job_id)
        assert (job.type, job.queue, job.priority, job.status) == ("mail", "post", "high", "scheduled")
        assert (bytes(job.payload), bytes(job.result)) == (b'{"to":["a",null]}', b"null")
        assert (await client.cancel(reply.job_id)).status == "cancelled"
        assert (await client.cancel(reply.job_id)).status == "cancelled"
        await client.delete(reply.job_id)
        with pytest.raises(NotFound):
            await client.get(reply.job_id)


async def test_an_id_fits_its_dedupe_key_and_a_repeat_is_one_job(rig: Rig) -> None:
    async with client_of(rig) as client:
        first = await client.enqueue("mail", dedupe_key="file:1")
        second = await client.enqueue("mail", dedupe_key="file:1")
        assert (second.job_id, first.deduplicated, second.deduplicated) == (first.job_id, False, True)
        own = new_id()
        assert [(await client.enqueue("mail", id=own)).job_id for _ in range(2)] == [own] * 2


async def test_unique_jobs_find_replace_and_reject(rig: Rig) -> None:
    await rig.broker.replicas.register()
    async with client_of(rig) as client:
        first = await client.enqueue("sync", 1, unique=Unique("k"))
        assert first.job_id[:2] == new_id("k")[:2]
        assert (await client.enqueue("sync", 2, unique=Unique("k"))).job_id == first.job_id
        replaced = await client.enqueue("sync", 3, unique=Unique("k", on_conflict="replace"))
        assert (replaced.job_id, replaced.deduplicated, replaced.replaced) == (first.job_id, True, "payload")
        assert bytes((await client.get(first.job_id)).payload) == b"3"
        with pytest.raises(KeyHeld) as raised:
            await client.enqueue("sync", 4, unique=Unique("k", on_conflict="reject"))
        assert raised.value.problem.job_ids == [first.job_id]
        debounced = await client.enqueue("index", 1, debounce=Debounce("p", wait=5))
        assert (await client.enqueue("index", 2, debounce=Debounce("p", wait=5))).job_id == debounced.job_id
        throttled = await client.enqueue("mail", 1, throttle=Throttle("u", per=60))
        assert (await client.enqueue("mail", 2, throttle=Throttle("u", per=60))).job_id == throttled.job_id


async def test_a_unique_option_of_another_type_is_refused_before_it_is_sent(rig: Rig) -> None:
    async with client_of(rig) as client:
        with pytest.raises(TypeError, match=r"unique must be a queuey\.Unique, not 'k'"):
            await client.enqueue("sync", unique="k")  # type: ignore[arg-type]


async def test_a_result_is_the_text_that_came(rig: Rig) -> None:
    async with client_of(rig) as client:
        reply = await client.enqueue("mail")
        (job,) = (await rig.claim(now=0)).jobs
        await rig.broker.leases.complete(0, [(job.id, job.token, "12345678901234567890")])
        assert (await client.wait(reply.job_id)).result == Raw(b"12345678901234567890")


async def test_many_have_an_outcome_each(rig: Rig) -> None:
    requests = [JobRequest("mail"), JobRequest("no name!"), JobRequest("mail", dedupe_key="k")]
    async with client_of(rig) as client:
        first, second, third = await client.enqueue_many(requests)
        assert (first.job_id, third.job_id) == (requests[0].id, requests[2].id)
        assert second.error is not UNSET
        assert second.error.status == 422
        assert await client.enqueue_many([]) == []


async def test_jobs_are_listed_over_pages(rig: Rig) -> None:
    async with client_of(rig) as client:
        await client.enqueue_many([JobRequest("mail") for _ in range(250)] + [JobRequest("other")])
        assert len({job.id async for job in client.jobs(type="mail", status="queued")}) == 250
        assert [job.type async for job in client.jobs(queue="default", type="other")] == ["other"]


async def test_waiting_ends_with_the_job_or_the_time(rig: Rig) -> None:
    async with client_of(rig) as client:
        reply = await client.enqueue("mail", delay=60)
        assert (await client.wait(reply.job_id, timeout=0.01)).status == "scheduled"
        waiting = asyncio.create_task(client.wait(reply.job_id))
        await client.cancel(reply.job_id)
        assert (await waiting).status == "cancelled"
        assert (await client.run("mail", wait=0.01, delay=60)).status == "scheduled"


async def test_a_scheduled_job_is_retried_and_dead_ones_replayed(rig: Rig) -> None:
    async with client_of(rig, "dev") as client:
        reply = await client.enqueue("mail", delay=60)
        assert (await client.retry(reply.job_id)).status == "queued"
        with pytest.raises(WrongState) as raised:
            await client.retry(reply.job_id)
        assert raised.value.code == "wrong-state"
        assert (await client.metrics()).queue_default_length == 1
        assert await client.replay(10) == 0


async def test_problems_are_errors(rig: Rig) -> None:
    async with client_of(rig, "reader", keys(reader="read")) as client:
        with pytest.raises(Forbidden, match="submit"):
            await client.enqueue("mail")
        with pytest.raises(NotFound):
            await client.get("no-id")
    async with client_of(rig, "nobody", keys(reader="read")) as client:
        with pytest.raises(Unauthorized):
            await client.metrics()
    async with client_of(rig) as client:
        with pytest.raises(Invalid) as raised:
            await client.enqueue("mail", max_attempts=0)
        assert raised.value.problem.errors != UNSET
        assert (await client.run("mail", wait=-1)).status == "queued"


async def test_jobs_are_leased_and_told_of_one_by_one(rig: Rig) -> None:
    async with client_of(rig, "dev") as client:
        await client.enqueue_many([JobRequest("mail", payload=Raw(b"[1]")) for _ in range(4)])
        jobs = await client.lease(max=10, lease=60, worker="w-1")
        assert [(job.type, bytes(job.payload), job.attempt) for job in jobs] == [("mail", b"[1]", 1)] * 4
        assert await client.lease(["default", "other"]) == []
        done, failed, extended, released = jobs
        assert (await client.complete(done, {"sent": True})).status == "ok"
        assert (await client.fail(failed, "broken", retry_after=60)).status == "retry"
        outcome = await client.extend(extended, 600, progress=ProgressReport(1, 2, "half"))
        assert outcome.status == "ok"
        assert outcome.lease_expires_at is not UNSET
        assert outcome.lease_expires_at > extended.lease_expires_at
        assert (await client.release(released)).status == "ok"
        assert (await client.complete(done, {"sent": True})).status == "ok"
        with pytest.raises(LostLease):
            await client.complete(released)
        assert bytes((await client.get(done.id)).result) == b'{"sent":true}'
        assert (await client.get(failed.id)).last_error == "broken"


async def test_many_outcomes_go_together(rig: Rig) -> None:
    async with client_of(rig, "dev") as client:
        await client.enqueue_many([JobRequest("mail") for _ in range(4)])
        one, two, three, four = await client.lease(max=4)
        told = await client.complete_many([CompleteItem(job.id, job.token) for job in (one, two)])
        assert [outcome.status for outcome in told] == ["ok", "ok"]
        (told_failed,) = await client.fail_many([FailItem(three.id, three.token, "no", dead=True)])
        assert told_failed.status == "dead_letter"
        assert [o.status for o in await client.extend_many([ExtendItem(four.id, four.token)])] == ["ok"]
        stale = ReleaseItem(one.id, "9.x")
        statuses = [o.status for o in await client.release_many([ReleaseItem(four.id, four.token), stale])]
        assert statuses == ["ok", "lost"]


async def test_a_claim_id_brings_the_same_jobs(rig: Rig) -> None:
    async with client_of(rig, "dev") as client:
        await client.enqueue_many([JobRequest("mail") for _ in range(2)])
        first = await client.lease(claim_id="c-1")
        assert [job.token for job in await client.lease(claim_id="c-1")] == [job.token for job in first]
        assert [job.id for job in await client.lease(max=5)] != [first[0].id]


async def test_a_schedule_is_previewed(rig: Rig) -> None:
    async with client_of(rig) as client:
        found = await client.preview_schedule(PreviewRequest(cron="30 2 * * *", timezone="Europe/Berlin"))
        assert len(found.next) == 5
        assert len(found.warnings) >= 2
        job = JobRequest("mail", id=new_id())
        assert len((await client.preview_schedule(ScheduleRequest(every=60, job=job))).next) == 5
        with pytest.raises(Invalid, match="timezone is not a known time zone"):
            await client.preview_schedule(PreviewRequest(cron="30 2 * * *", timezone="Europe"))
