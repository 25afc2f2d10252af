"""enqueue: with an offer it claims the new jobs; test_offers_are_claims.py compares that with a claim."""

from __future__ import annotations

from typing import Any

import pytest

from queuey.protocol.records import NewJob
from queuey.store.offers import Offer
from tests.support.scripts.asides import set_aside
from tests.support.scripts.plain_ways import commands_of
from tests.support.store import LEASE, NOW, Rig


@pytest.fixture(autouse=True)
async def known(rig: Rig) -> None:
    """The queues `default` and `mail` are there."""
    await rig.client.sadd(rig.keys.queues, "default", "mail")


def offer(limit: int = 2, *, claim_id: str = "offered", queues: tuple[str, ...] = ("default",)) -> Offer:
    return Offer(claim_id=claim_id, worker="w1", lease_ms=LEASE, limit=limit, queues=queues)


async def enqueue(rig: Rig, given: Offer, *jobs: NewJob, **options: Any) -> list[str]:
    return await rig.broker.jobs.enqueue(rig.shard, jobs, offer=given, **{"now": NOW, **options})


async def test_jobs_up_to_the_limit_are_claimed_and_the_rest_waits(rig: Rig) -> None:
    given, jobs = offer(), [rig.job(body=f'{{"type":"t{number}"}}') for number in range(3)]
    assert await enqueue(rig, given, *jobs) == ["new"] * 3
    assert given.claimed is not None
    assert [(job.id, job.token, job.definition) for job in given.claimed.jobs] == [
        (job.id, "1.offered", f"r={NOW}\n{job.body}") for job in jobs[:2]
    ]
    assert given.claimed.more
    assert await rig.waiting() == [jobs[2].id]
    assert await rig.marked()
    assert await rig.scores(rig.keys.leases("default")) == {job.id: NOW + LEASE for job in jobs[:2]}
    assert await rig.counters() == {"enqueued": 3, "claimed": 2}


@pytest.mark.parametrize(("count", "taken"), [(1_000, 1_000), (1_001, 0), (2_000, 0)])
async def test_a_call_of_many_jobs_claims_all_or_goes_the_general_way(rig: Rig, count: int, taken: int) -> None:
    given, jobs = offer(count), [rig.job() for _ in range(count)]
    assert await enqueue(rig, given, *jobs) == ["new"] * count
    assert (len(given.claimed.jobs) if given.claimed else 0) == taken
    assert await rig.waiting() == [job.id for job in jobs[taken:]]
    assert await rig.counters() == {"enqueued": count} | ({"claimed": taken} if taken else {})


async def test_sent_again_it_claims_nothing_and_the_claim_id_brings_the_jobs(rig: Rig) -> None:
    jobs = [rig.job(), rig.job()]
    await enqueue(rig, offer(), *jobs)
    async with rig.unchanged():
        again = offer()
        assert await enqueue(rig, again, *jobs) == ["new", "new"]
        assert again.claimed is None
        claimed = await rig.claim(2, claim_id="offered")
    assert claimed.repeated
    assert [job.id for job in claimed.jobs] == [job.id for job in jobs]


async def test_a_late_copy_does_not_claim_after_a_copy_without_the_offer(rig: Rig) -> None:
    """Once the jobs are there, whoever claims them."""
    jobs = [rig.job()]
    await rig.broker.jobs.enqueue(rig.shard, jobs, now=NOW)
    async with rig.unchanged():
        late = offer()
        await enqueue(rig, late, *jobs)
        assert late.claimed is None


async def test_a_claimer_that_dies_costs_its_jobs_one_crash_as_after_any_claim(rig: Rig) -> None:
    """The process was killed after the script ran, before it read the reply."""
    job = rig.job()
    await enqueue(rig, offer(), job)
    await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + LEASE)
    await rig.broker.maintenance.promote(rig.shard, 10, now=NOW + LEASE)
    (again,) = (await rig.claim(now=NOW + LEASE)).jobs
    assert (again.id, again.token[:2], again.attempt, again.crashes) == (job.id, "2.", 1, 1)


@pytest.mark.parametrize("full", [True, False])
async def test_a_full_store_claims_nothing(rig: Rig, full: bool) -> None:
    given = offer()
    answers = await enqueue(rig, given, rig.job(), full=full)
    assert answers == (["full"] if full else ["new"])
    assert (given.claimed is None) == full


async def test_the_reply_says_when_the_next_job_is_due(rig: Rig) -> None:
    await rig.add(delay_ms=500)
    await rig.add(delay_ms=300, queue="mail", priority="low")
    given = offer(queues=("default", "mail"))
    await enqueue(rig, given, rig.job(), now=NOW + 100)
    assert given.claimed is not None
    assert (given.claimed.due_in_ms, given.claimed.more) == (200, False)


async def test_a_job_that_is_due_comes_first(rig: Rig) -> None:
    await rig.add(delay_ms=500)
    given = offer()
    await enqueue(rig, given, rig.job(), now=NOW + 500)
    assert given.claimed is None


async def test_an_offer_costs_few_commands(rig: Rig) -> None:
    await enqueue(rig, offer(), rig.job())
    alone = await commands_of(rig.client, enqueue(rig, offer(claim_id="c2"), rig.job()))
    checks = {"sismember": 1, "hmget": 1, "exists": 2, "msetnx": 1}
    assert alone == {**checks, "zadd": 1, "set": 1, "hincrby": 4}


@pytest.mark.parametrize("queue", ["default", "mail"])
async def test_an_offer_gets_nothing_while_a_list_is_set_aside(rig: Rig, queue: str) -> None:
    await set_aside(rig, "x", queue=queue)
    given, job = offer(queues=("default", "mail")), rig.job()
    assert await enqueue(rig, given, job) == ["new"]
    assert given.claimed is None
    assert await rig.waiting() == [job.id]
    assert await rig.marked()


async def test_a_worker_that_runs_a_suspect_alone_is_given_nothing(rig: Rig) -> None:
    job = rig.job()
    await rig.client.set(rig.keys.alone(offer().worker), f"{rig.new_id()} {NOW + 5_000}")
    await enqueue(rig, offer(), job)
    assert await rig.waiting() == [job.id]
    await rig.client.delete(rig.keys.alone(offer().worker))
    assert [each.id for each in (await rig.claim(9)).jobs] == [job.id]
