"""claim: its plain way, and all that has to leave it, leave the store as its general way does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from queuey.protocol.models import Priority
from queuey.store.replies import Claimed
from tests.support.scripts.plain_ways import Twins, commands_of
from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig, Server, client_for

LATER = NOW + SECOND
Scenario = Callable[[Rig], Awaitable[Any]]


async def nothing(rig: Rig) -> Claimed:
    return await rig.claim(5, now=LATER)


async def one(rig: Rig) -> Claimed:
    await rig.add()
    return await rig.claim(now=LATER)


async def fewer_than_wanted(rig: Rig) -> Claimed:
    await rig.add(3)
    return await rig.claim(5, now=LATER)


async def more_than_wanted(rig: Rig) -> Claimed:
    await rig.add(20)
    await rig.marked()
    return await rig.claim(17, now=LATER)


async def all_that_are_there(rig: Rig) -> Claimed:
    await rig.add(16)
    await rig.marked()
    return await rig.claim(16, now=LATER)


async def other_headers(rig: Rig) -> Claimed:
    for extra in ("", "u=1", "A=b:c.d-e_f"):
        for fields in ({}, {"max_attempts": 2}, {"retention_ms": 7}, {"key": "k" + extra}, {"body": '{"type":"é☃"}'}):
            await rig.add(extra=extra, **fields)
    return await rig.claim(50, now=LATER)


async def jobs_that_were_delayed(rig: Rig) -> Claimed:
    await rig.add(2, delay_ms=5)
    await rig.broker.maintenance.promote(rig.shard, 10, now=NOW + 5)
    return await rig.claim(5, now=LATER)


async def several_queues(rig: Rig) -> Claimed:
    for queue in ("b", "a", "c"):
        await rig.add(3, queue=queue)
        await rig.marked(queue)
    return await rig.claim(5, queues=["c", "empty", "a", "b"], now=LATER)


async def several_queues_to_the_end(rig: Rig) -> Claimed:
    for queue in ("b", "a"):
        await rig.add(3, queue=queue)
    return await rig.claim(6, queues=["a", "b"], now=LATER)


async def a_paused_queue_beside_another(rig: Rig) -> Claimed:
    await rig.add(2)
    await rig.add(2, queue="other", priority="high")
    await rig.client.hset(rig.keys.queue("other"), "paused", "full")
    return await rig.claim(5, queues=["other", "default"], now=LATER)


async def a_paused_queue(rig: Rig) -> Claimed:
    await rig.add(2)
    await rig.client.hset(rig.keys.queue("default"), "paused", "full")
    return await rig.claim(5, now=LATER)


async def no_queue(rig: Rig) -> Claimed:
    await rig.add()
    return await rig.claim(queues=[])


async def a_job_that_is_scheduled(rig: Rig) -> Claimed:
    await rig.add(2)
    await rig.add(priority="low", delay_ms=HOUR)
    await rig.add(priority="high", delay_ms=2 * HOUR)
    return await rig.claim(5, now=LATER)


async def one_in_a_queue_that_is_not_asked(rig: Rig) -> Claimed:
    await rig.add(queue="other", priority="high")
    await rig.add(queue="other", delay_ms=1)
    await rig.add()
    return await rig.claim(5, now=LATER)


async def tombstones_that_are_gone(rig: Rig) -> Claimed:
    """The counter of the queue is there and 0."""
    gone = await rig.add(2)
    await rig.broker.jobs.cancel(rig.shard, gone, now=NOW)
    await rig.claim(5)
    await rig.add()
    return await rig.claim(5, now=LATER)


def in_lane(lane: Priority) -> Scenario:
    async def scenario(rig: Rig) -> Claimed:
        await rig.add(3, priority=lane)
        await rig.add(2, priority=lane, queue="mail")
        return await rig.claim(4, queues=["mail", "default"], now=LATER)

    return scenario


def stops_at(limit: int) -> Scenario:
    async def scenario(rig: Rig) -> Claimed:
        await rig.add(40, body='{"type":"t","payload":"' + "x" * 100 + '"}')
        bounds = (300_000, 1, 1_000, limit, False)
        call = rig.broker.leases._call
        await call(rig.shard, "claim", LATER, "c9", "w1", LEASE, 30, ["empty", "default"], *bounds)
        return await rig.claim(1, now=LATER)

    return scenario


PLAIN: dict[str, Scenario] = {
    scenario.__name__.replace("_", " "): scenario
    for scenario in (
        *(nothing, one, fewer_than_wanted, more_than_wanted, all_that_are_there, other_headers),
        *(jobs_that_were_delayed, several_queues, several_queues_to_the_end, a_paused_queue_beside_another),
        *(a_paused_queue, no_queue, a_job_that_is_scheduled, one_in_a_queue_that_is_not_asked),
        tombstones_that_are_gone,
    )
} | {
    "the high lane": in_lane("high"),
    "the low lane": in_lane("low"),
    **{f"at most {limit} bytes": stops_at(limit) for limit in (1, 141, 142, 2_000, 16 * 141, 16 * 141 + 1, 100_000)},
}


async def two_lanes(rig: Rig) -> Claimed:
    await rig.add(3)
    await rig.add(2, priority="high")
    return await rig.claim(4, now=LATER)


async def two_lanes_in_two_queues(rig: Rig) -> Claimed:
    await rig.add(3)
    await rig.add(2, queue="mail", priority="low")
    return await rig.claim(4, queues=["mail", "default"], now=LATER)


async def a_lane_that_starves(rig: Rig) -> Claimed:
    await rig.add(3, priority="low")
    await rig.add(3, now=NOW + HOUR)
    return await rig.claim(2, now=NOW + HOUR)


async def a_tombstone(rig: Rig) -> Claimed:
    first, *_ = await rig.add(3)
    await rig.broker.jobs.cancel(rig.shard, [first], now=NOW)
    return await rig.claim(5, now=LATER)


async def a_tombstone_whose_id_has_come_again(rig: Rig) -> Claimed:
    """Its job is in another queue now, without a state. The claim must not take it from here."""
    first, *_ = await rig.add(3)
    await rig.broker.jobs.cancel(rig.shard, [first], now=NOW)
    assert await rig.broker.jobs.delete(rig.shard, [first], now=NOW) == ["ok"]
    await rig.broker.jobs.enqueue(rig.shard, [rig.job(id=first, queue="mail")], now=NOW)
    return await rig.claim(5, now=LATER)


async def an_entry_without_a_job(rig: Rig) -> Claimed:
    first, *_ = await rig.add(3)
    await rig.client.delete(rig.keys.job(first))
    return await rig.claim(5, now=LATER)


async def an_entry_twice(rig: Rig) -> Claimed:
    first, *_ = await rig.add(3)
    await rig.client.rpush(rig.keys.ready("default", "default"), first)
    return await rig.claim(5, now=LATER)


async def a_job_that_is_due(rig: Rig) -> Claimed:
    await rig.add(2)
    await rig.add(delay_ms=SECOND, priority="low")
    return await rig.claim(5, now=LATER)


async def a_job_that_may_expire(rig: Rig) -> Claimed:
    await rig.add()
    await rig.add(expires_ms=HOUR)
    return await rig.claim(5, now=LATER)


async def a_job_that_has_expired(rig: Rig) -> Claimed:
    await rig.add(expires_ms=5)
    await rig.add()
    return await rig.claim(5, now=LATER)


async def a_job_that_has_failed(rig: Rig) -> Claimed:
    ((job_id, token),) = await rig.held()
    await rig.broker.leases.fail(rig.shard, [(job_id, token, "{}", 0, False)], now=NOW)
    await rig.broker.maintenance.promote(rig.shard, 10, now=LATER)
    await rig.add(2)
    return await rig.claim(5, now=LATER)


async def a_job_that_was_released(rig: Rig) -> Claimed:
    held = await rig.held(2)
    await rig.broker.leases.release(rig.shard, held, now=NOW)
    return await rig.claim(5, now=LATER)


async def a_job_that_has_crashed(rig: Rig) -> Claimed:
    await rig.crashed()
    await rig.add(2)
    return await rig.claim(5, suspects=0, now=LATER)


async def a_queue_twice(rig: Rig) -> Claimed:
    await rig.add(3)
    return await rig.claim(5, queues=["default", "default"], now=LATER)


GENERAL: dict[str, Scenario] = {
    scenario.__name__.replace("_", " "): scenario
    for scenario in (
        *(two_lanes, two_lanes_in_two_queues, a_lane_that_starves, a_tombstone, an_entry_without_a_job, an_entry_twice),
        a_tombstone_whose_id_has_come_again,
        *(a_job_that_is_due, a_job_that_may_expire, a_job_that_has_expired, a_job_that_has_failed),
        *(a_job_that_was_released, a_job_that_has_crashed, a_queue_twice),
    )
}


@pytest.mark.parametrize("case", PLAIN)
async def test_what_is_claimed_the_plain_way(twins: Twins, case: str) -> None:
    _, ways = await twins.alike(PLAIN[case])
    assert ways["claim"][-1]


@pytest.mark.parametrize("case", GENERAL)
async def test_what_is_claimed_the_general_way(twins: Twins, case: str) -> None:
    claimed, ways = await twins.alike(GENERAL[case])
    assert claimed.jobs
    assert not ways["claim"][-1]


async def test_a_job_without_a_claim_that_is_flagged_for_cancel_has_a_state(twins: Twins) -> None:
    """A replayed job too: MSETNX finds their states."""

    async def scenario(rig: Rig) -> Claimed:
        ((job_id, token),) = await rig.held()
        await rig.broker.leases.fail(rig.shard, [(job_id, token, "{}", 0, True)], now=NOW)
        await rig.broker.dlq.replay(rig.shard, "r1", [job_id], now=NOW)
        await rig.add()
        return await rig.claim(5, now=LATER)

    claimed, ways = await twins.alike(scenario)
    assert len(claimed.jobs) == 2
    assert ways["claim"] == [True, False]


async def test_a_claim_that_is_sent_again_is_a_repeat(twins: Twins) -> None:
    async def scenario(rig: Rig) -> Any:
        await rig.add(5)
        first = await rig.claim(3, claim_id="c9", now=LATER)
        async with rig.unchanged():
            again = await rig.claim(3, claim_id="c9", now=LATER + 5)
        assert again.jobs == first.jobs
        return first, again

    (first, again), ways = await twins.alike(scenario)
    assert (first.repeated, again.repeated) == (False, True)
    assert ways["claim"] == [True, False]


async def test_two_clients_never_claim_the_same_job(rig: Rig, server: Server) -> None:
    added = await rig.add(60)
    other = client_for(server.url)
    two = Rig(other, rig.broker.shards.count, rig.scripts)
    try:
        calls = [one.claim(20, claim_id=f"{name}{n}") for n in range(2) for name, one in (("a", rig), ("b", two))]
        claims = await asyncio.gather(*calls)
    finally:
        await other.aclose()
    assert sorted(job.id for claimed in claims for job in claimed.jobs) == sorted(added)


@pytest.mark.parametrize("kind", ["valkey"])
async def test_the_plain_way_calls_few_commands(rig: Rig) -> None:
    await rig.add(500, now=NOW - HOUR)
    counted = await commands_of(rig.client, rig.claim(500, now=LATER))
    reads = {"hmget": 1, "llen": 3, "exists": 1, "lrange": 1, "mget": 33}
    writes = {"msetnx": 1, "zadd": 1, "lpop": 1, "hincrby": 2, "expire": 1, "set": 1}
    assert counted == reads | writes
    empty = await commands_of(rig.client, rig.claim(500, now=LATER))
    assert empty == {"mget": 1, "hmget": 1, "llen": 3, "exists": 1}
