"""Calls of both clients about schedules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import httpx
import pytest

from queuey.client import Client, Conflict, Invalid, NotFound
from queuey.models import JobRequest, ScheduleRequest
from tests.support.http import ApiRig, api_over
from tests.support.store import Rig

NIGHTLY = ScheduleRequest(
    cron="30 2 * * *", timezone="Europe/Berlin", overlap="allow", job=JobRequest("report", queue="reports")
)
HOURLY = ScheduleRequest(every=3600, job=JobRequest("mail", queue="mail", tags=["t"]))
FROM, TO = datetime(2026, 3, 27, tzinfo=UTC), datetime(2026, 3, 30, 12, tzinfo=UTC)


class LosesAnswers(httpx.AsyncBaseTransport):
    """Sends each request on, and loses the answers to the next ones if told so."""

    def __init__(self, app: Any) -> None:
        self._inner = httpx.ASGITransport(app)
        self.lost = 0
        self.sent: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        response = await self._inner.handle_async_request(request)
        if self.lost:
            self.lost -= 1
            raise httpx.ReadError("the answer is lost")
        return response


@pytest.fixture
async def api(rig: Rig) -> AsyncIterator[ApiRig]:
    await rig.broker.replicas.register()
    async with api_over(rig.broker) as api:
        yield api


@pytest.fixture
def transport(api: ApiRig) -> LosesAnswers:
    return LosesAnswers(api.app)


@pytest.fixture
async def client(transport: LosesAnswers) -> AsyncIterator[Client]:
    async with Client("http://127.0.0.1", transport=transport) as client:
        yield client


async def test_put_show_list_and_delete(client: Client) -> None:
    made = await client.put_schedule("nightly", NIGHTLY)
    assert (made.name, made.version, made.job.type, made.queue) == ("nightly", 1, "report", "reports")
    assert made.warnings
    assert len(made.next) == 5
    again = await client.put_schedule("nightly", NIGHTLY)
    assert (again.version, again.created_at) == (1, made.created_at)
    for number in range(120):
        await client.put_schedule(f"n{number}", HOURLY)
    assert len([one async for one in client.schedules()]) == 121
    assert [one.name async for one in client.schedules(queue="reports")] == ["nightly"]
    shown = await client.schedule("nightly")
    assert (shown.runs, shown.next) == ([], made.next)
    await client.delete_schedule("nightly")
    with pytest.raises(NotFound, match="There is no schedule 'nightly'"):
        await client.schedule("nightly")


async def test_only_a_new_one(client: Client) -> None:
    await client.put_schedule("nightly", NIGHTLY, only_new=True)
    await client.put_schedule("nightly", NIGHTLY, only_new=True)
    with pytest.raises(Conflict, match="If-None-Match does not hold"):
        await client.put_schedule("nightly", HOURLY, only_new=True)
    with pytest.raises(Invalid, match="must be 1 to 128 letters"):
        await client.put_schedule("a b", NIGHTLY)


async def test_pause_resume_and_trigger(client: Client) -> None:
    await client.put_schedule("hourly", HOURLY)
    paused = await client.pause_schedule("hourly", "holidays")
    assert (paused.status, paused.pause_reason) == ("paused", "holidays")
    assert (await client.pause_schedule("hourly")).pause_reason == "no reason given"
    fired = await client.trigger_schedule("hourly")
    assert fired.outcome == "fired"
    assert fired.job_id is not None
    assert (await client.get(fired.job_id)).tags == ("t",)
    assert (await client.resume_schedule("hourly")).status == "active"
    assert (await client.trigger_schedule("hourly")).outcome == "skipped"
    (run,) = (await client.schedule("hourly")).runs or []
    assert (run.kind, run.outcome, run.job_id) == ("trigger", "fired", fired.job_id)


async def test_backfill(client: Client) -> None:
    await client.put_schedule("nightly", NIGHTLY)
    listed = await client.backfill_schedule("nightly", FROM, TO, dry_run=True)
    assert (len(listed.ticks), listed.fired, listed.dry_run) == (4, 0, True)
    berlin = timezone(timedelta(hours=1))
    done = await client.backfill_schedule("nightly", FROM.astimezone(berlin), TO, overlap="allow")
    assert (done.fired, done.ticks) == (4, listed.ticks)
    assert (await client.backfill_schedule("nightly", FROM, TO)).there == 4
    with pytest.raises(Invalid, match="to must not be in the future"):
        await client.backfill_schedule("nightly", FROM, datetime.now(UTC) + timedelta(days=1))
    with pytest.raises(ValueError, match="start has no time zone"):
        await client.backfill_schedule("nightly", FROM.replace(tzinfo=None), TO)


async def test_what_is_sent_again_after_a_lost_answer(client: Client, transport: LosesAnswers) -> None:
    transport.lost = 1
    assert (await client.put_schedule("nightly", NIGHTLY, only_new=True)).version == 1
    for call in (client.trigger_schedule, client.pause_schedule, client.resume_schedule):
        transport.lost = 1
        await call("nightly")
    runs = (await client.schedule("nightly")).runs or []
    assert [run.kind for run in runs] == ["trigger"], "the overlap rule would allow a second job"
    sent = [request.headers["idempotency-key"] for request in transport.sent if request.url.path.endswith("/trigger")]
    assert len(sent) == 2
    assert len(set(sent)) == 1
    first = await client.trigger_schedule("nightly", key="mine")
    assert await client.trigger_schedule("nightly", key="mine") == first
    transport.lost = 1
    await client.backfill_schedule("nightly", FROM, TO)
    assert len((await client.schedule("nightly")).runs or []) == 6
