"""Which job a claim takes first: lanes, then queues in turn, then age; and the guard against starvation."""

from __future__ import annotations

from typing import Any

from tests.support.store import HOUR, NOW, SECOND, Rig

STARVE = 300_000


async def ids_of(rig: Rig, limit: int, **options: Any) -> list[str]:
    return [job.id for job in (await rig.claim(limit, **options)).jobs]


async def test_a_lane_is_first_in_first_out(rig: Rig) -> None:
    added = await rig.add(50)
    assert await ids_of(rig, 20) == added[:20]
    assert await ids_of(rig, 50) == added[20:]


async def test_lanes_are_strict(rig: Rig) -> None:
    low = await rig.add(2, priority="low")
    default = await rig.add(2)
    high = await rig.add(2, priority="high")
    assert await ids_of(rig, 6) == high + default + low


async def test_lanes_go_before_queues_and_queues_in_their_turn(rig: Rig) -> None:
    jobs = {
        (queue, priority): (await rig.add(queue=queue, priority=priority))[0]
        for queue in ("a", "b")
        for priority in ("low", "default", "high")
    }
    assert await ids_of(rig, 6, queues=["b", "a"]) == [
        *(jobs["b", "high"], jobs["a", "high"]),
        *(jobs["b", "default"], jobs["a", "default"]),
        *(jobs["b", "low"], jobs["a", "low"]),
    ]


async def test_a_released_job_comes_first_and_a_retried_one_last(rig: Rig) -> None:
    first, second = await rig.held(2)
    (third,) = await rig.add()
    await rig.broker.leases.fail(rig.shard, [(*first, "{}", 0, False)], now=NOW)
    await rig.broker.leases.release(rig.shard, [second], now=NOW)
    assert await ids_of(rig, 3) == [second[0], third, first[0]]


async def test_due_jobs_join_their_lane_oldest_first(rig: Rig) -> None:
    (waiting,) = await rig.add()
    (late,) = await rig.add(delay_ms=20)
    (early,) = await rig.add(delay_ms=10)
    assert await ids_of(rig, 5, now=NOW + SECOND) == [waiting, early, late]


# --- the guard ---------------------------------------------------------------------------------------------------


async def test_a_starving_lane_gives_one_job_a_second_first(rig: Rig) -> None:
    starving = await rig.add(3, priority="low", now=NOW - STARVE)
    high = await rig.add(20, priority="high")
    assert await ids_of(rig, 3, max_starve_ms=STARVE) == [starving[0], *high[:2]]
    assert await ids_of(rig, 2, max_starve_ms=STARVE, now=NOW + SECOND - 1) == high[2:4]
    assert await ids_of(rig, 2, max_starve_ms=STARVE, now=NOW + SECOND) == [starving[1], high[4]]


async def test_a_lane_that_has_not_waited_long_enough_does_not_starve(rig: Rig) -> None:
    await rig.add(priority="low", now=NOW - STARVE + 1)
    (high,) = await rig.add(priority="high")
    assert await ids_of(rig, 1, max_starve_ms=STARVE) == [high]
    assert not await rig.client.exists(rig.keys.queue("default")), "its turn was not spent"


async def test_both_lower_lanes_have_their_own_turn(rig: Rig) -> None:
    (low,) = await rig.add(priority="low", now=NOW - HOUR)
    (default,) = await rig.add(now=NOW - HOUR)
    high = await rig.add(5, priority="high")
    assert await ids_of(rig, 4) == [default, low, *high[:2]]


async def test_the_guard_keeps_to_the_limit(rig: Rig) -> None:
    await rig.add(priority="low", now=NOW - HOUR)
    (default,) = await rig.add(now=NOW - HOUR)
    await rig.add(priority="high")
    assert await ids_of(rig, 1) == [default]


async def test_one_job_a_claim_still_leaves_most_to_the_upper_lane(rig: Rig) -> None:
    """A busy worker claims one or two at a time, so a job per claim would turn the order upside down."""
    starving = await rig.add(5, now=NOW - HOUR)
    high = await rig.add(20, priority="high")
    taken = [(await ids_of(rig, 1, now=NOW + 100 * n))[0] for n in range(20)]
    assert taken.count(starving[0]) == taken.count(starving[1]) == 1
    assert [job_id for job_id in taken if job_id in high] == high[:18]


async def test_a_lane_starves_under_another_queue_too(rig: Rig) -> None:
    """Lanes go before queues, so the low lane of one queue waits for the high lane of every other."""
    (starving,) = await rig.add(queue="a", priority="low", now=NOW - HOUR)
    high = await rig.add(5, queue="b", priority="high")
    assert await ids_of(rig, 2, queues=["b", "a"]) == [starving, high[0]]


async def test_nothing_above_means_no_guard(rig: Rig) -> None:
    await rig.add(2, now=NOW - HOUR)
    assert len(await ids_of(rig, 1)) == 1
    assert await rig.client.hget(rig.keys.queue("default"), "guard_default") is None


async def test_tombstones_at_the_head_do_not_hide_a_starving_job(rig: Rig) -> None:
    gone = await rig.add(40, priority="low", now=NOW - HOUR)
    (starving,) = await rig.add(priority="low", now=NOW - HOUR)
    high = await rig.add(3, priority="high")
    assert await rig.broker.jobs.cancel(rig.shard, gone, now=NOW) == ["cancelled"] * 40
    assert await ids_of(rig, 1) == [starving]
    assert (await rig.row())["low"] == 0
    assert await ids_of(rig, 3, now=NOW + SECOND) == high


async def test_tombstones_before_a_young_job_are_cleared_and_the_job_is_left(rig: Rig) -> None:
    gone = await rig.add(2, priority="low")
    (young,) = await rig.add(priority="low")
    (high,) = await rig.add(priority="high")
    await rig.broker.jobs.cancel(rig.shard, gone, now=NOW)
    assert await ids_of(rig, 1) == [high]
    assert await rig.waiting(priority="low") == [young]
    assert (await rig.row())["low"] == 1


async def test_how_long_a_job_has_been_ready_counts_from_its_due_time(rig: Rig) -> None:
    await rig.add(priority="low", now=NOW - HOUR, delay_ms=HOUR - SECOND)
    ((retried, token),) = await rig.held(now=NOW - HOUR)
    await rig.broker.leases.fail(rig.shard, [(retried, token, "{}", HOUR - SECOND, False)], now=NOW - HOUR)
    high = await rig.add(2, priority="high")
    assert await ids_of(rig, 2, max_starve_ms=STARVE) == high


async def test_the_guard_of_a_clock_that_went_back_does_not_last(rig: Rig) -> None:
    starving = await rig.add(2, priority="low", now=NOW - 2 * HOUR)
    await rig.add(5, priority="high", now=NOW - 2 * HOUR)
    assert (await ids_of(rig, 1))[0] == starving[0]
    assert (await ids_of(rig, 1, now=NOW - HOUR))[0] == starving[1]
