"""Group commit with real scripts: a batcher on each shard's enqueue, and what a resend finds."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from queuey.errors import OutcomeUnknown, ScriptFailed, StoreUnavailable
from queuey.protocol.records import NewJob
from queuey.store.batching import Batcher
from queuey.store.scripts import Scripts
from tests.support.store import Rig, client_for
from tests.support.stores import KINDS, SHARDS, StartServer, one_of

kind = one_of(*KINDS)
shards = one_of(*SHARDS)


def enqueuer(rig: Rig, *, resend_for: float = 10.0, **options: Any) -> Batcher[NewJob, str]:
    return Batcher(partial(rig.broker.jobs.enqueue, rig.shard), resend_for=resend_for, **options)


async def evalsha_calls(rig: Rig) -> int:
    stats = await rig.client.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {}).get("calls", 0))


async def test_concurrent_calls_become_few_script_calls_and_keep_their_order(rig: Rig) -> None:
    batcher = enqueuer(rig)
    jobs = [rig.job() for _ in range(1500)]
    before = await evalsha_calls(rig)
    answers = await asyncio.gather(*(batcher.submit(job, job.size) for job in jobs))
    assert answers == ["new"] * 1500
    assert await evalsha_calls(rig) - before <= 4
    assert await rig.waiting() == [job.id for job in jobs]


async def test_a_batch_of_large_jobs_is_cut_by_its_bytes(rig: Rig) -> None:
    batcher = enqueuer(rig)
    await rig.add()  # loads the scripts, which is a call more
    jobs = [rig.job(body='{"type":"t","payload":"' + "x" * 200_000 + '"}') for _ in range(10)]
    before = await evalsha_calls(rig)
    assert await asyncio.gather(*(batcher.submit(job, job.size) for job in jobs)) == ["new"] * 10
    assert await evalsha_calls(rig) - before == 3


async def test_outcomes_reach_the_one_they_belong_to(rig: Rig) -> None:
    (holder,) = await rig.add(key="held")
    batcher = enqueuer(rig)
    jobs = [rig.job(), rig.job(key="held"), rig.job()]
    answers = await asyncio.gather(*(batcher.submit(job) for job in jobs))
    assert answers == ["new", f"duplicate {holder}", "new"]


async def test_one_job_that_breaks_the_script_fails_alone(rig: Rig) -> None:
    batcher = enqueuer(rig)
    good, bad, other = rig.job(), rig.job(), rig.job()
    bad.delay_ms = "soon"  # type: ignore[assignment]
    answers = await asyncio.gather(*(batcher.submit(job) for job in (good, bad, other)), return_exceptions=True)
    assert [answers[0], answers[2]] == ["new", "new"]
    assert isinstance(answers[1], ScriptFailed)
    assert await rig.waiting() == [good.id, other.id]


async def test_a_lost_reply_is_made_good_by_sending_the_same_again(rig: Rig) -> None:
    lost: list[Sequence[NewJob]] = []

    async def lose_the_first_reply(jobs: Sequence[NewJob]) -> Sequence[str]:
        answers = await rig.broker.jobs.enqueue(rig.shard, jobs)
        if not lost:
            lost.append(jobs)
            raise StoreUnavailable("the reply was lost", maybe_done=True)
        return answers

    batcher = Batcher(lose_the_first_reply, resend_for=10.0)
    jobs = [rig.job(key="a"), rig.job(key="b"), rig.job(key="a")]
    answers = await asyncio.gather(*(batcher.submit(job) for job in jobs))
    assert answers == ["new", "new", f"duplicate {jobs[0].id}"]
    assert await rig.waiting() == [jobs[0].id, jobs[1].id]
    assert (await rig.counters())["enqueued"] == 2


async def test_a_waiter_that_goes_away_cancels_nothing(rig: Rig) -> None:
    batcher = enqueuer(rig)
    job = rig.job()
    batcher.submit(job).cancel()
    await batcher.drain()
    assert await rig.waiting() == [job.id]


@pytest.fixture
async def own(start_server: StartServer, scripts: Scripts) -> Any:
    """A Broker whose calls wait a tenth of a second, on a server that the test may stop."""
    server = start_server()
    client = client_for(server.url, timeout=0.1)
    await scripts.load(client)
    yield Rig(client, 1, scripts), server
    server.process.send_signal(signal.SIGCONT)
    await client.aclose()


async def test_a_store_that_stalls_is_waited_for(own: Any) -> None:
    rig, server = own
    batcher = enqueuer(rig, resend_for=20.0)
    server.process.send_signal(signal.SIGSTOP)
    jobs = [rig.job(key=f"k{number}") for number in range(20)]
    sent = [batcher.submit(job) for job in jobs]
    with pytest.raises(StoreUnavailable):
        await rig.broker.queues.stats(0)
    server.process.send_signal(signal.SIGCONT)
    assert await asyncio.gather(*sent) == ["new"] * 20
    assert await rig.waiting() == [job.id for job in jobs]


async def test_a_store_that_stalls_for_too_long_leaves_the_outcome_unknown(own: Any) -> None:
    rig, server = own
    batcher = enqueuer(rig, resend_for=0.3)
    await rig.broker.jobs.get(0, [])  # connected, so that what follows has been sent
    server.process.send_signal(signal.SIGSTOP)
    job = rig.job()
    with pytest.raises(OutcomeUnknown):
        await batcher.submit(job)
    server.process.send_signal(signal.SIGCONT)
    assert await enqueuer(rig).submit(job) == "new", "sent again it is one job"
    assert await rig.waiting() == [job.id]


async def test_a_store_that_is_gone_has_done_nothing(own: Any) -> None:
    rig, server = own
    server.process.kill()
    server.process.wait()
    with pytest.raises(StoreUnavailable):
        await rig.broker.queues.stats(0)
    with pytest.raises(StoreUnavailable):
        await enqueuer(rig, resend_for=0.1).submit(rig.job())
