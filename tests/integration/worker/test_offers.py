"""The free slots of an idle worker go with an enqueue of its own process, which then brings the jobs."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import msgspec
import pytest

from queuey.errors import Full, OutcomeUnknown
from queuey.services.jobs import offers
from queuey.worker import store_source
from queuey.worker.handlers.attempt import Work
from tests.integration.worker.offering import idle
from tests.support.store import HOUR, Rig, Server
from tests.support.stores import one_of
from tests.support.working import HELD, PATIENCE, Clock, eventually

shards = one_of(1)


async def test_one_script_brings_the_job_and_leaves_no_marker(rig: Rig, server: Server) -> None:
    async with idle(rig, server, concurrency=7) as offering:
        job_id = await offering.enqueue(offering.job())
        assert await offering.stage.next() == job_id
        assert offering.called() == ["enqueue"]
        assert not await rig.marked()
        assert offering.moves == [(job_id, "queued"), (job_id, "running")]
        state = await rig.state(job_id)
        ((claim_id, worker, lease_ms, limit, queues, _),) = offering.offers()
        assert (state["h"], state["w"], worker, lease_ms, queues) == (claim_id, "w1", "w1", 30_000, ["default"])
        assert limit == 4
        assert offering.worker.running.keys() == {job_id}
        offering.stage.finish(job_id)
        await eventually(offering.all_finished)
        assert await rig.counters() == {"enqueued": 1, "claimed": 1, "succeeded": 1}
        assert offering.claims.cell(()) == [1]
        assert offering.metrics.enqueued.cell(("default",)) == [1]


async def test_a_worker_offers_half_of_its_slots_and_claims_the_rest(rig: Rig, server: Server) -> None:
    async with idle(rig, server, concurrency=4) as offering:
        jobs = [offering.job() for _ in range(3)]
        replies = await offering.producer.enqueue_many(jobs)
        assert not [reply for reply in replies if isinstance(reply, Exception)]
        assert await offering.stage.take(3) == [job.id for job in jobs]
        assert offering.called() == ["enqueue", "claim"]
        assert [offer[3] for offer in offering.offers()] == [2]
        offering.stage.finish(*(job.id for job in jobs))


async def test_one_offer_is_out_at_a_time(rig: Rig, server: Server) -> None:
    """And no claim is made beside it."""
    async with idle(rig, server) as offering:
        gate = offering.scripts.gates["enqueue"] = asyncio.Event()
        first = asyncio.create_task(offering.enqueue(offering.job()))
        assert await offering.scripts.waiting.get() == "enqueue"
        offering.worker.wake(0)
        other = offering.producing(resend_for=PATIENCE)
        second = asyncio.create_task(other.enqueue(offering.job()))
        assert await offering.scripts.waiting.get() == "enqueue"
        assert [offer is not None for offer in offering.offers()] == [True, False]
        assert offering.called() == ["enqueue", "enqueue"]
        gate.set()
        jobs = [await first, (await second).job_id]
        assert sorted(await offering.stage.take(2)) == sorted(jobs)
        assert offering.called()[2:] == ["claim"]
        offering.stage.finish(*jobs)


@pytest.mark.parametrize(
    "fields",
    [{"delay_ms": HOUR}, {"run_at_ms": 1}, {"queue": "mail"}, {"key": "k"}],
    ids=["later", "at", "queue", "key"],
)
async def test_no_offer_for_jobs_that_it_cannot_bring(rig: Rig, server: Server, fields: dict[str, Any]) -> None:
    async with idle(rig, server) as offering:
        await offering.enqueue(offering.job(**fields))
        assert offering.offers() == [None]


async def test_no_offer_for_jobs_of_two_lanes(rig: Rig, server: Server) -> None:
    async with idle(rig, server, waker=True) as offering:
        jobs = [offering.job(), offering.job(priority="high")]
        await offering.producer.enqueue_many(jobs)
        assert offering.offers() == [None]
        assert sorted(await offering.stage.take(2)) == sorted(job.id for job in jobs)
        offering.stage.finish(*(job.id for job in jobs))


async def test_no_offer_of_a_worker_without_a_free_slot(rig: Rig, server: Server) -> None:
    async with idle(rig, server, concurrency=1) as offering:
        first = await offering.enqueue(offering.job())
        assert await offering.stage.next() == first
        second = await offering.enqueue(offering.job())
        assert offering.offers()[1] is None
        offering.stage.finish(first)
        offering.worker.wake(0)
        await offering.assert_ran_once(second)


async def test_a_quiet_worker_offers_nothing(rig: Rig, server: Server) -> None:
    async with idle(rig, server) as offering:
        offering.worker.be_quiet()
        job_id = await offering.enqueue(offering.job())
        assert offering.offers() == [None]
        assert await rig.waiting() == [job_id]
        assert await rig.marked()


async def test_a_worker_that_has_become_quiet_gets_what_its_offer_brings(rig: Rig, server: Server) -> None:
    async with idle(rig, server) as offering:
        gate = offering.scripts.gates["enqueue"] = asyncio.Event()
        enqueued = asyncio.create_task(offering.enqueue(offering.job()))
        assert await offering.scripts.waiting.get() == "enqueue"
        offering.worker.be_quiet()
        gate.set()
        await offering.assert_ran_once(await enqueued)
        assert not offering.worker.may_wait.is_set()


async def test_a_paused_queue_is_not_offered_jobs(rig: Rig, server: Server) -> None:
    async with idle(rig, server) as offering:
        await rig.broker.queues.pause(0, "default", "why")
        job_id = await offering.enqueue(offering.job())
        await eventually(lambda: offering.has_called("claim"))
        assert await rig.waiting() == [job_id]
        await rig.broker.queues.resume(0, "default")
        offering.worker.wake(0)
        await offering.assert_ran_once(job_id)


async def test_an_offer_that_was_not_taken_is_followed_by_a_claim(rig: Rig, server: Server) -> None:
    """Another process's job is there already."""
    async with idle(rig, server) as offering:
        (other,) = await rig.add(now=0, body=HELD)
        job_id = await offering.enqueue(offering.job())
        assert await offering.stage.take(2) == [other, job_id]
        assert offering.called() == ["enqueue", "claim"]
        assert offering.scripts.arguments("claim")[0][1] != offering.offers()[0][0]
        offering.stage.finish(other, job_id)


async def test_the_timer_for_the_next_job_is_set_by_an_offer_too(rig: Rig, server: Server) -> None:
    async with idle(rig, server) as offering:
        (later,) = await rig.add(now=0, body=HELD, delay_ms=300)
        await offering.assert_ran_once(await offering.enqueue(offering.job()))
        await offering.assert_ran_once(later)


async def test_no_offer_to_a_full_store(rig: Rig, server: Server) -> None:
    async with idle(rig, server) as offering:
        offering.producer.set_full(True)
        with pytest.raises(Full):
            await offering.enqueue(offering.job())
        assert offering.offers() == [None]


async def test_no_offer_while_replicas_of_the_store_must_have_the_job(rig: Rig, server: Server) -> None:
    async with idle(rig, server) as offering:
        producer = offering.producing(resend_for=0.0, copies=1)
        with pytest.raises(OutcomeUnknown):
            await producer.enqueue(offering.job())
        assert offering.offers() == [None]


async def test_two_replicas_of_which_one_is_idle(rig: Rig, server: Server) -> None:
    """The process that enqueues is busy, so the marker brings the job to the other."""
    async with idle(rig, server, concurrency=1) as busy, idle(rig, server, waker=True) as other:
        first = await busy.enqueue(busy.job())
        assert await busy.stage.next() == first
        second = await busy.enqueue(busy.job())
        await other.assert_ran_once(second)
        assert busy.offers()[1] is None
        busy.stage.finish(first)


CALLER: ContextVar[str] = ContextVar("CALLER", default="nobody")


async def test_a_handler_does_not_run_in_the_context_of_the_request(
    rig: Rig, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with idle(rig, server) as offering:
        seen: asyncio.Queue[str] = asyncio.Queue()
        execution = offering.worker._execution
        begin = execution.begin

        def look(work: Work) -> Any:
            seen.put_nowait(CALLER.get())
            return begin(work)

        monkeypatch.setattr(execution, "begin", look)
        CALLER.set("request")
        job_id = await offering.enqueue(offering.job())
        assert await seen.get() == "nobody"
        await offering.assert_ran_once(job_id)


async def test_an_enqueue_is_answered_before_its_job_starts(rig: Rig, server: Server) -> None:
    """So a handler that blocks or kills its process does not cost the client the reply."""
    async with idle(rig, server) as offering:
        job_id = await offering.enqueue(offering.job())
        assert offering.stage.ran == []
        await offering.assert_ran_once(job_id)
        await asyncio.wait_for(offering.worker.may_wait.wait(), PATIENCE)
        await offering.producer.enqueue_many([batch := offering.job()])
        assert offering.stage.ran == [job_id]
        await offering.assert_ran_once(batch.id)


# --- lost replies --------------------------------------------------------------------------------------------------


async def test_a_reply_that_was_lost_after_the_script_ran(rig: Rig, server: Server) -> None:
    async with idle(rig, server) as offering:
        offering.scripts.replies_to_drop["enqueue"] = 2
        job_id = await offering.enqueue(offering.job())
        await offering.assert_ran_once(job_id)
        first, *others = [offer[0] for offer in offering.offers()]
        assert others == [first, first]
        assert offering.scripts.arguments("claim")[0][1] == first


async def test_a_call_that_was_lost_before_the_script_ran(rig: Rig, server: Server) -> None:
    async with idle(rig, server) as offering:
        offering.scripts.calls_to_lose["enqueue"] = 2
        job_id = await offering.enqueue(offering.job())
        assert await offering.stage.next() == job_id
        assert offering.called() == ["enqueue"] * 3
        first, *others = [offer[0] for offer in offering.offers()]
        assert others == [first, first]
        offering.stage.finish(job_id)


async def test_a_copy_that_comes_late_changes_nothing(rig: Rig, server: Server) -> None:
    async with idle(rig, server) as offering:
        offering.scripts.calls_to_lose["enqueue"] = 1
        job_id = await offering.enqueue(offering.job())
        assert await offering.stage.next() == job_id
        late = msgspec.msgpack.encode(offering.scripts.arguments("enqueue")[0])
        async with rig.unchanged():
            reply = await rig.scripts.call(rig.client, "enqueue", rig.keys.anchors, late)
        assert msgspec.msgpack.decode(reply) == ["new"]
        offering.stage.finish(job_id)


async def test_an_enqueue_that_was_given_up_is_asked_for(
    rig: Rig, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client has heard nothing, and no other enqueue follows."""
    monkeypatch.setattr(offers, "PATIENCE", 0.02)
    async with idle(rig, server) as offering:
        offering.scripts.replies_to_drop["enqueue"] = 1
        with pytest.raises(OutcomeUnknown) as unknown:
            await offering.producing(resend_for=0.0).enqueue(offering.job())
        await offering.assert_ran_once(unknown.value.job_ids[0])
        assert offering.called()[:2] == ["enqueue", "claim"]
        assert offering.scripts.arguments("claim")[0][1] == offering.offers()[0][0]


async def test_the_next_enqueue_settles_an_offer_that_was_given_up(rig: Rig, server: Server) -> None:
    async with idle(rig, server) as offering:
        producer = offering.producing(resend_for=0.0)
        offering.scripts.replies_to_drop["enqueue"] = 1
        with pytest.raises(OutcomeUnknown) as unknown:
            await producer.enqueue(offering.job())
        second = (await producer.enqueue(offering.job(delay_ms=1))).job_id
        first, again = offering.offers()
        assert first == again
        jobs = {*unknown.value.job_ids, second}
        assert set(await offering.stage.take(2)) == jobs
        assert [(await rig.state(job_id))["n"] for job_id in jobs] == ["1", "1"]
        offering.stage.finish(*jobs)


async def test_a_store_that_cannot_be_reached_leaves_no_offer_behind(rig: Rig, server: Server) -> None:
    async with idle(rig, server, waker=True) as offering:
        offering.scripts.down = True
        enqueued = asyncio.create_task(offering.enqueue(offering.job()))
        await eventually(lambda: offering.has_called("claim"))
        offering.scripts.down = False
        await offering.assert_ran_once(await enqueued)


async def test_a_late_reply_renews_the_leases_first(rig: Rig, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(store_source, "time", clock)
    async with idle(rig, server, lease=30.0) as offering:
        gate = offering.scripts.gates["enqueue"] = asyncio.Event()
        enqueued = asyncio.create_task(offering.enqueue(offering.job()))
        assert await offering.scripts.waiting.get() == "enqueue"
        clock.now += 12
        gate.set()
        job_id = await enqueued
        assert await offering.stage.next() == job_id
        assert offering.called()[:3] == ["enqueue", "claim", "extend"]
        offering.stage.finish(job_id)


# --- the end -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [0, 1])
async def test_a_drain_waits_for_an_offer_and_gives_its_jobs_back(rig: Rig, server: Server, lost: int) -> None:
    async with idle(rig, server) as offering:
        gate = offering.scripts.gates["enqueue"] = asyncio.Event()
        offering.scripts.replies_to_drop["enqueue"] = lost
        enqueued = asyncio.create_task(offering.enqueue(offering.job()))
        assert await offering.scripts.waiting.get() == "enqueue"
        draining = asyncio.create_task(offering.worker.drain(0.0))
        await asyncio.sleep(0)
        assert not draining.done()
        gate.set()
        job_id = await enqueued
        async with asyncio.timeout(PATIENCE):
            await draining
        assert offering.worker.running == {}
        assert await rig.waiting() == [job_id]
        state = await rig.state(job_id)
        assert (state["s"], "a" in state, "x" in state) == ("w", False, False)


async def test_a_worker_that_drains_offers_nothing(rig: Rig, server: Server) -> None:
    async with idle(rig, server) as offering:
        await offering.worker.drain(0.0)
        job_id = await offering.enqueue(offering.job())
        assert offering.offers() == [None]
        assert await rig.waiting() == [job_id]
