"""Jobs that are acknowledged once replicas of the store have them too (`wait_replicas`), with real ones."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from queuey.errors import NotFound, OutcomeUnknown, QueueyError, StoreUnavailable
from queuey.metrics import Metrics
from queuey.protocol import ids
from queuey.protocol.models import BackfillRequest, JobRequest, ScheduleRequest
from queuey.services.jobs.producer import Producer
from queuey.services.jobs.submission import Submission, SubmissionSettings
from queuey.services.jobs.type_queues import TypeQueues
from queuey.services.schedules.keeping import Schedules
from queuey.services.schedules.triggering import Triggers
from queuey.services.schedules.views import Pause
from queuey.settings.settings import Settings
from queuey.store.deadline import Deadline
from queuey.store.scripts import Scripts
from tests.support.replicated import Pair
from tests.support.session.tools import old_redis
from tests.support.store import Rig, client_for, free_port, valkey_binary
from tests.support.stores import KINDS, one_of
from tests.support.working import eventually, until_blocked

kind = one_of(*KINDS)

SHORT = 0.4
"""Seconds for a reply where none is expected: replicas have half of it."""


@pytest.fixture(scope="module", params=["valkey", "redis"])
def of_module(request: pytest.FixtureRequest) -> Iterator[Pair]:
    pair = Pair(valkey_binary() if request.param == "valkey" else old_redis())
    yield pair
    pair.stop()


@pytest.fixture
def pair(of_module: Pair) -> Iterator[Pair]:
    of_module.until_copied()
    yield of_module
    of_module.go_on()


@pytest.fixture
async def rig(pair: Pair, scripts: Scripts) -> AsyncIterator[Rig]:
    client = client_for(pair.first.url)
    await client.flushall()
    await scripts.load(client)
    yield Rig(client, 1, scripts)
    await client.aclose()


@pytest.fixture
async def hasty(pair: Pair, rig: Rig, scripts: Scripts) -> AsyncIterator[Rig]:
    """Another connection to the same, which soon gives up."""
    client = client_for(pair.first.url, timeout=SHORT)
    yield Rig(client, 1, scripts)
    await client.aclose()


async def test_what_is_acknowledged_is_with_the_replica(rig: Rig, pair: Pair) -> None:
    jobs = [rig.job() for _ in range(100)]
    for job in jobs:
        assert await rig.broker.jobs.enqueue(rig.shard, [job], copies=1) == ["new"]
        assert pair.has(job.id)


async def test_one_that_lags_is_told_of_and_the_job_may_be_there(rig: Rig, hasty: Rig, pair: Pair) -> None:
    pair.halt()
    job = rig.job()
    with pytest.raises(StoreUnavailable, match="The job is on 0 of the store's replicas and must be on 1") as caught:
        await hasty.broker.jobs.enqueue(rig.shard, [job], copies=1)
    assert caught.value.maybe_done
    assert (await rig.stored(job.id)).definition
    assert await rig.broker.jobs.enqueue(rig.shard, [rig.job()]) == ["new"]  # who asks for no copies does not wait


async def test_a_store_that_is_demoted_while_it_waits_may_have_the_job(rig: Rig, pair: Pair) -> None:
    """It answers WAIT with UNBLOCKED, after which no call that was sent by itself has run. The script has."""
    pair.halt()
    job = rig.job()
    sent = asyncio.ensure_future(rig.broker.jobs.enqueue(rig.shard, [job], copies=1))
    await until_blocked(rig.client, 1)
    await rig.client.replicaof("127.0.0.1", free_port())
    try:
        with pytest.raises(StoreUnavailable, match="UNBLOCKED") as caught:
            await sent
    finally:
        await rig.client.replicaof("NO", "ONE")
    assert caught.value.maybe_done
    assert (await rig.stored(job.id)).definition
    pair.go_on()
    assert await rig.broker.jobs.enqueue(rig.shard, [job], copies=1) == ["new"]


async def test_a_script_that_did_not_run_is_told_though_wait_was_answered(rig: Rig, pair: Pair) -> None:
    """WAIT goes out with the script, and its answer says nothing of that."""
    await rig.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(QueueyError) as caught:
            await rig.broker.jobs.enqueue(rig.shard, [rig.job(key="k")], copies=0)
        with pytest.raises(type(caught.value), match=re.escape(str(caught.value))):
            await rig.broker.jobs.enqueue(rig.shard, [rig.job(key="k")], copies=1)
    finally:
        await rig.client.config_set("maxmemory", 0)


async def test_a_resend_waits_too_though_the_job_is_there(rig: Rig, hasty: Rig, pair: Pair) -> None:
    """On another connection, which has written nothing that the store would wait for."""
    pair.halt()
    job = rig.job()
    await rig.broker.jobs.enqueue(rig.shard, [job])
    with pytest.raises(StoreUnavailable):
        await hasty.broker.jobs.enqueue(rig.shard, [job], copies=1)
    pair.go_on()
    assert await rig.broker.jobs.enqueue(rig.shard, [job], copies=1) == ["new"]
    assert pair.has(job.id)


async def test_more_replicas_than_there_are(rig: Rig, hasty: Rig) -> None:
    with pytest.raises(StoreUnavailable, match="on 1 of the store's replicas and must be on 2"):
        await hasty.broker.jobs.enqueue(rig.shard, [rig.job()], copies=2)


async def test_a_store_that_has_lost_the_scripts(rig: Rig, pair: Pair) -> None:
    await rig.client.script_flush()
    job = rig.job()
    assert await rig.broker.jobs.enqueue(rig.shard, [job], copies=1) == ["new"]
    assert pair.has(job.id)


async def test_a_producer_sends_again_until_the_replica_has_it(rig: Rig, hasty: Rig, pair: Pair) -> None:
    pair.halt()
    sent = asyncio.ensure_future(
        Producer(hasty.broker, metrics=Metrics(), resend_for=30, copies=1).enqueue(job := rig.job())
    )

    async def there() -> bool:
        return bool((await rig.stored(job.id)).definition)

    await eventually(there)
    assert not sent.done()
    pair.go_on()
    assert (await sent).job_id == job.id
    assert pair.has(job.id)


async def test_a_producer_that_gives_up_says_that_it_may_be_done(rig: Rig, hasty: Rig, pair: Pair) -> None:
    pair.halt()
    with pytest.raises(OutcomeUnknown, match="It may have been done") as caught:
        await Producer(hasty.broker, metrics=Metrics(), resend_for=0, copies=1).enqueue(job := rig.job())
    assert caught.value.job_ids == (job.id,)


# --- changes of schedules ------------------------------------------------------------------------------------------

NAME = "hourly"
HOURLY = ScheduleRequest(cron="0 * * * *", job=JobRequest("report", queue="reports"))
SPAN = BackfillRequest(from_=datetime.now(UTC) - timedelta(hours=2), to=datetime.now(UTC) - timedelta(minutes=1))


class Caller:
    """Changes the schedule NAME as a request does, which is not sent again. `copies`: as for the Producer."""

    def __init__(self, rig: Rig, changing: Rig, copies: int) -> None:
        producer = Producer(changing.broker, metrics=Metrics(), resend_for=0, copies=copies)
        submission = Submission(SubmissionSettings.of(Settings()), lambda _: None, None, TypeQueues())
        self.schedules = Schedules(rig.broker, submission, producer=producer)
        self.triggers = Triggers(self.schedules, producer)

    async def put(self) -> None:
        await self.schedules.put(NAME, HOURLY, Deadline(0))

    async def delete(self) -> None:
        await self.schedules.delete(NAME, Deadline(0))

    async def pause(self) -> None:
        await self.schedules.pause(NAME, Pause(), Deadline(0))

    async def resume(self) -> None:
        await self.schedules.resume(NAME, Deadline(0))

    async def trigger(self) -> None:
        assert (await self.triggers.trigger(NAME, Deadline(0), key="k")).reply.outcome == "fired"

    async def backfill(self) -> None:
        await self.triggers.backfill(NAME, SPAN, Deadline(0))


Change = Callable[[Caller], Awaitable[None]]
CHANGES: dict[Change, list[Change]] = {
    Caller.put: [],
    Caller.delete: [Caller.put],
    Caller.pause: [Caller.put],
    Caller.resume: [Caller.put, Caller.pause],
    Caller.trigger: [Caller.put],
    Caller.backfill: [Caller.put],
}
"""The changes of a schedule, with what comes before each."""


@pytest.fixture
async def plain(rig: Rig) -> Caller:
    await rig.broker.replicas.register()
    return Caller(rig, rig, copies=0)


@pytest.fixture
async def waiting(rig: Rig, hasty: Rig, plain: Caller) -> Caller:
    return Caller(rig, hasty, copies=1)


async def _record(rig: Rig) -> str | None:
    value = await rig.client.get(rig.keys.schedule(NAME))
    return None if value is None else value.decode()


@pytest.mark.parametrize("is_made", [False, True], ids=["new", "made"])
@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_of_a_schedule_waits_for_the_replica(
    rig: Rig, pair: Pair, plain: Caller, waiting: Caller, change: Change, is_made: bool
) -> None:
    """Also one that is made already, on another connection: the one that waits has written nothing yet."""
    for each in CHANGES[change]:
        await each(plain)
    pair.until_copied()
    pair.halt()
    if is_made:
        await change(plain)
    with pytest.raises(OutcomeUnknown):
        await change(waiting)
    await waiting.schedules.broker.jobs.get(rig.shard, ())  # what only reads waits for no replica
    made = await _record(rig)
    with pytest.raises(OutcomeUnknown):
        await change(waiting)
    assert await _record(rig) == made
    pair.go_on()
    with suppress(NotFound):  # what was deleted is not found
        await change(waiting)
    assert pair.reads(rig.keys.schedule(NAME)) == made
    if change == Caller.trigger:
        stored = (await plain.schedules.find(NAME, Deadline(5))).stored
        assert pair.has(ids.of_trigger(NAME, stored.uid, stored.created_ms, "k"))


async def test_what_waits_for_no_copies_does_not(rig: Rig, pair: Pair, plain: Caller) -> None:
    pair.halt()
    for change in (Caller.put, Caller.pause, Caller.resume, Caller.trigger, Caller.backfill, Caller.delete):
        await change(plain)
    assert not await rig.client.exists(rig.keys.copied)


async def test_a_put_of_what_is_there_with_another_condition(waiting: Caller) -> None:
    """It is not asked for, as without replicas."""
    await waiting.put()

    def never(mark: str) -> Any:
        raise AssertionError(mark)

    put = await waiting.schedules.put(NAME, HOURLY, Deadline(5), condition=never)
    assert (put.is_new, put.changed, put.kept.stored.version) == (False, False, 1)
