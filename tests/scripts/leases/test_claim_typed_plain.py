"""claim_typed: its plain way, and all that has to leave it, leave the store as its general way does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from queuey.store.asides import Room
from queuey.store.replies import Claimed
from tests.support.scripts.asides import add_types, aside, set_aside
from tests.support.scripts.plain_ways import Twins, commands_of
from tests.support.store import HOUR, NOW, SECOND, Rig

LATER = NOW + SECOND
Scenario = Callable[[Rig], Awaitable[Any]]

BOTH = {"default": [("default", "a"), ("default", "b")]}


async def every_type_has_room(rig: Rig) -> Claimed:
    await add_types(rig, "abcab")
    return await rig.claim_typed(4, room=[Room(9, ["a"])], now=LATER)


async def a_type_with_a_list_has_no_room(rig: Rig) -> Claimed:
    await set_aside(rig, "a")
    await add_types(rig, "abab")
    return await rig.claim_typed(9, room=[Room(0, ["a"])], now=LATER)


async def the_room_is_used_up_on_the_way(rig: Rig) -> Claimed:
    """The first of the lane can begin; the next are set aside, and so is each behind them."""
    await set_aside(rig, "a")
    await rig.claim_typed(take=BOTH)
    await add_types(rig, "aabaab")
    return await rig.claim_typed(9, room=[Room(1, ["a"])], take=BOTH, now=LATER)


async def a_list_that_is_empty_lets_the_lane_go(rig: Rig) -> Claimed:
    """Its one job is the oldest. The jobs of its type in the lane are claimed behind it, in the same call."""
    await set_aside(rig, "a", now=NOW)
    await add_types(rig, "ababab", now=LATER)
    return await rig.claim_typed(5, room=[Room(9, ["a", "b"])], take=BOTH, others=False, now=LATER)


async def a_list_that_is_not_taken_from(rig: Rig) -> Claimed:
    await set_aside(rig, "ab")
    await add_types(rig, "abc")
    return await rig.claim_typed(9, take={"default": [("default", "b")]}, now=LATER)


async def lists_in_turn(rig: Rig) -> Claimed:
    """More than a chunk of each list, and the lane between them."""
    for at in range(4):
        await set_aside(rig, "a" * 10 + "b" * 10)
        await add_types(rig, "c" * 7, now=NOW + at)
    return await rig.claim_typed(70, room=[Room(40, ["a"]), Room(25, ["b"])], take=BOTH, now=LATER)


async def jobs_are_left_in_a_list(rig: Rig) -> Claimed:
    await set_aside(rig, "aabb")
    await rig.marked()
    return await rig.claim_typed(3, room=[Room(2, ["a"]), Room(2, ["b"])], others=False, take=BOTH, now=LATER)


async def jobs_are_left_in_the_lane(rig: Rig) -> Claimed:
    await set_aside(rig, "a")
    await add_types(rig, "bbb")
    await rig.marked()
    return await rig.claim_typed(2, room=[Room(2, ["a", "b"])], take=BOTH, now=LATER)


async def more_than_a_call_sets_aside(rig: Rig) -> Claimed:
    await set_aside(rig, "a")
    await add_types(rig, "b" + "a" * 120 + "b")
    return await rig.claim_typed(9, room=[Room(0, ["a"])], now=LATER)


async def markers_that_the_caller_took(rig: Rig) -> Claimed:
    await set_aside(rig, "aab")
    for name in "ab":
        await rig.client.delete(rig.keys.wake_type("default", name))
    return await rig.claim_typed(9, room=[Room(1, ["a", "b"])], take=BOTH, woken=["a", "b", "x"], now=LATER)


async def several_queues(rig: Rig) -> Claimed:
    for queue in ("mail", "default"):
        await set_aside(rig, "aba", queue=queue)
        await add_types(rig, "abc", queue=queue)
    take = {queue: [("default", "a"), ("default", "b")] for queue in ("mail", "default")}
    room = [Room(5, ["a"]), Room(1, ["b"])]
    return await rig.claim_typed(9, room=room, take=take, queues=["mail", "none", "default"], now=LATER)


async def a_paused_queue_with_lists(rig: Rig) -> Claimed:
    await set_aside(rig, "a", queue="mail")
    await rig.client.hset(rig.keys.queue("mail"), "paused", "full")
    await add_types(rig, "ab")
    return await rig.claim_typed(9, room=[Room(9, ["a"])], queues=["mail", "default"], now=LATER)


async def a_list_of_another_lane(rig: Rig) -> Claimed:
    """It has no jobs any more, so that all jobs are in one lane."""
    await set_aside(rig, "a", priority="high")
    await rig.claim_typed(take={"default": [("high", "a")]})
    await add_types(rig, "ab")
    take = {"default": [("high", "a"), ("default", "a")]}
    return await rig.claim_typed(9, room=[Room(9, ["a", "b"])], take=take, now=LATER)


async def other_headers(rig: Rig) -> Claimed:
    for fields in ({"extra": "u=1"}, {"max_attempts": 2}, {"key": "k"}):
        await rig.add(**fields)
    for name in ("é☃", ""):
        await rig.add(body=f'{{"type":"{name}"}}')
    await add_types(rig, "ab", extra="A=b:c.d-e_f")
    return await rig.claim_typed(50, room=[Room(9, ["a"])], now=LATER)


async def a_scheduled_job(rig: Rig) -> Claimed:
    await add_types(rig, "ab")
    await add_types(rig, "a", delay_ms=HOUR)
    return await rig.claim_typed(9, room=[Room(9, ["a"])], now=LATER)


def stops_at(limit: int) -> Scenario:
    async def scenario(rig: Rig) -> Any:
        await set_aside(rig, "aaaa")
        await add_types(rig, "cbcb" * 10)
        bounds = (300_000, 1, 1_000, limit, False, 0)
        terms: tuple[Any, ...] = ([[9, ["a", "b", "c"]]], False, {"default": [["default", "a"]]}, [])
        call = rig.broker.leases._call
        await call(rig.shard, "claim_typed", LATER, "c9", "w1", HOUR, 30, ["default"], *bounds, *terms)
        return await rig.claim_typed(1, take=BOTH, now=LATER)

    return scenario


PLAIN: dict[str, Scenario] = {
    scenario.__name__.replace("_", " "): scenario
    for scenario in (
        *(every_type_has_room, a_type_with_a_list_has_no_room, the_room_is_used_up_on_the_way),
        *(a_list_that_is_empty_lets_the_lane_go, a_list_that_is_not_taken_from, lists_in_turn),
        *(jobs_are_left_in_a_list, jobs_are_left_in_the_lane, more_than_a_call_sets_aside),
        *(markers_that_the_caller_took, several_queues, a_paused_queue_with_lists, a_list_of_another_lane),
        *(other_headers, a_scheduled_job),
    )
} | {f"at most {limit} bytes": stops_at(limit) for limit in (1, 40, 200, 100_000)}


async def a_type_without_a_list_has_no_room(rig: Rig) -> Claimed:
    await rig.open_gate()
    await add_types(rig, "aba")
    return await rig.claim_typed(9, room=[Room(0, ["a"])], now=LATER)


async def jobs_wait_while_nothing_may_be_set_aside(rig: Rig) -> Claimed:
    await add_types(rig, "aba")
    return await rig.claim_typed(9, room=[Room(0, ["a"])], now=LATER)


async def a_list_in_a_higher_lane(rig: Rig) -> Claimed:
    await set_aside(rig, "a", priority="high")
    await add_types(rig, "ab")
    return await rig.claim_typed(2, take={"default": [("high", "a")]}, now=LATER)


async def a_tombstone(rig: Rig) -> Claimed:
    first, *_ = await set_aside(rig, "aab")
    await rig.broker.jobs.cancel(rig.shard, [first], now=NOW)
    return await rig.claim_typed(9, take=BOTH, now=LATER)


async def a_job_that_may_expire(rig: Rig) -> Claimed:
    await set_aside(rig, "a")
    await add_types(rig, "ab", expires_ms=HOUR)
    return await rig.claim_typed(9, room=[Room(0, ["a"])], now=LATER)


async def a_job_that_is_due(rig: Rig) -> Claimed:
    await set_aside(rig, "a")
    await add_types(rig, "a", delay_ms=SECOND)
    return await rig.claim_typed(9, take=BOTH, now=LATER)


async def a_job_that_was_released(rig: Rig) -> Claimed:
    held = await rig.held()
    await rig.broker.leases.release(rig.shard, held, now=NOW)
    return await rig.claim_typed(9, room=[Room(9, ["a"])], now=LATER)


async def a_suspect(rig: Rig) -> Claimed:
    await rig.open_gate()
    await rig.crashed(crashes=2)
    await add_types(rig, "ab")
    return await rig.claim_typed(9, room=[Room(9, ["a"])], take={"default": [("default", "!")]}, now=LATER)


async def a_list_of_any_type(rig: Rig) -> Claimed:
    await set_aside(rig, "a")
    await add_types(rig, "b")
    return await rig.claim_typed(9, take={"default": [("default", "a"), ("default", "*")]}, now=LATER)


async def an_entry_without_a_job(rig: Rig) -> Claimed:
    first, *_ = await set_aside(rig, "aa")
    await rig.client.delete(rig.keys.job(first))
    return await rig.claim_typed(9, take=BOTH, now=LATER)


async def an_entry_twice(rig: Rig) -> Claimed:
    first, *_ = await add_types(rig, "ab")
    await rig.client.rpush(rig.keys.ready("default", "default"), first)
    return await rig.claim_typed(9, room=[Room(9, ["a"])], now=LATER)


GENERAL: dict[str, Scenario] = {
    scenario.__name__.replace("_", " "): scenario
    for scenario in (
        *(a_type_without_a_list_has_no_room, jobs_wait_while_nothing_may_be_set_aside, a_list_in_a_higher_lane),
        *(a_tombstone, a_job_that_may_expire, a_job_that_is_due, a_job_that_was_released, a_suspect),
        *(a_list_of_any_type, an_entry_without_a_job, an_entry_twice),
    )
}


@pytest.mark.parametrize("case", PLAIN)
async def test_what_is_claimed_the_plain_way(twins: Twins, case: str) -> None:
    _, ways = await twins.alike(PLAIN[case])
    assert ways["claim_typed"][-1]


@pytest.mark.parametrize("case", GENERAL)
async def test_what_is_claimed_the_general_way(twins: Twins, case: str) -> None:
    claimed, ways = await twins.alike(GENERAL[case])
    assert claimed.jobs
    assert not ways["claim_typed"][-1]


async def test_what_is_only_set_aside(twins: Twins) -> None:
    async def scenario(rig: Rig) -> Any:
        first = await set_aside(rig, "a")
        more = await add_types(rig, "aaa")
        claimed = await rig.claim_typed(9, room=[Room(0, ["a"])], others=True, now=LATER)
        assert await aside(rig, "a") == first + more
        return claimed

    claimed, _ = await twins.alike(scenario)
    assert not claimed.jobs


async def test_a_claim_that_is_sent_again_is_a_repeat(twins: Twins) -> None:
    async def scenario(rig: Rig) -> Any:
        await set_aside(rig, "aab")
        first = await rig.claim_typed(2, claim_id="c9", take=BOTH, now=LATER)
        async with rig.unchanged():
            again = await rig.claim_typed(2, claim_id="c9", take=BOTH, now=LATER + 5)
        assert again.jobs == first.jobs
        return first, again

    (first, again), ways = await twins.alike(scenario)
    assert (first.repeated, again.repeated) == (False, True)
    assert ways["claim_typed"][-2:] == [True, False]


@pytest.mark.parametrize("kind", ["valkey"])
async def test_the_plain_way_calls_few_commands(rig: Rig) -> None:
    """Two jobs from lists, two from the lane, one of which stands behind a job that is set aside."""
    await set_aside(rig, "aab")
    await add_types(rig, "cac")
    room = [Room(2, ["a"]), Room(0, ["b"])]
    await rig.claim_typed(0, take=BOTH, now=NOW)
    counted = await commands_of(rig.client, rig.claim_typed(4, room=room, take=BOTH, now=LATER))
    reads = {"hmget": 1, "llen": 3, "lindex": 2, "exists": 1, "lrange": 3, "mget": 4}
    writes = {"msetnx": 1, "zadd": 2, "lpop": 2, "rpush": 1, "hincrby": 4, "expire": 1, "set": 1}
    assert counted == reads | writes
