"""complete: its plain way, and all that has to leave it, leave the store as its general way does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from queuey.store.broker.leases import Result, Results
from tests.support.scripts.plain_ways import Twins, commands_of
from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig, Server, client_for

LATER = NOW + SECOND
Items = Sequence[Result | Results]
Scenario = Callable[[Rig], Awaitable[Items]]


def with_results(held: Sequence[tuple[str, str]], *results: str) -> list[Result]:
    return [(*lease, results[number % len(results)]) for number, lease in enumerate(held)]


async def without_results(rig: Rig) -> Items:
    return with_results(await rig.held(3), "")


async def results(rig: Rig) -> Items:
    return with_results(await rig.held(5), "1", '{"a":"é"}')


async def some_results(rig: Rig) -> Items:
    return with_results(await rig.held(5), "", "1", '"s=r n=1 h=c1"')


async def a_result_of_two_lines(rig: Rig) -> Items:
    """No caller sends one; it is stored as it comes by both ways."""
    return with_results(await rig.held(2), "1\n2")


async def two_tokens_in_turn(rig: Rig) -> Items:
    first, second = await rig.held(3), await rig.held(3)
    return with_results([lease for pair in zip(first, second, strict=True) for lease in pair], "", "7")


async def several_queues(rig: Rig) -> Items:
    held = [*await rig.held(2, queue="mail", retention_ms=5), *await rig.held(2), *await rig.held(1, queue="mail")]
    return with_results([held[number] for number in (0, 2, 1, 3, 4)], "1", "")


async def several_queues_of_one_claim(rig: Rig) -> Items:
    await rig.add(2, queue="mail", retention_ms=5)
    await rig.add(2, max_attempts=1)
    claimed = await rig.claim(4, queues=["mail", "default"])
    return with_results([(claimed.jobs[number].id, claimed.jobs[number].token) for number in (2, 0, 3, 1)], "1")


async def groups(rig: Rig) -> Items:
    first, second = await rig.held(3), await rig.held(2, priority="high")
    return [
        Results(first[0][1], [job_id for job_id, _ in first], ["", "1", ""]),
        Results(second[0][1], [job_id for job_id, _ in second], ["", ""]),
    ]


async def groups_of_one_token_and_a_single_job(rig: Rig) -> Items:
    held = await rig.held(5)
    token, ids = held[0][1], [job_id for job_id, _ in held]
    return [Results(token, ids[:2], ["1", "2"]), (ids[2], token, "3"), Results(token, ids[3:], ["", "5"])]


async def an_expired_lease(rig: Rig) -> Items:
    return with_results(await rig.held(2, now=NOW - 2 * LEASE), "1")


PLAIN: dict[str, Scenario] = {
    scenario.__name__.replace("_", " "): scenario
    for scenario in (
        *(without_results, results, some_results, a_result_of_two_lines, two_tokens_in_turn, several_queues),
        *(several_queues_of_one_claim, groups, groups_of_one_token_and_a_single_job, an_expired_lease),
    )
}


async def a_later_attempt(rig: Rig) -> Items:
    first, second = await rig.held(2)
    await rig.broker.leases.release(rig.shard, [first], now=NOW)
    (again,) = (await rig.claim()).jobs
    return with_results([(again.id, again.token), second], "1")


async def a_failed_attempt(rig: Rig) -> Items:
    first, second = await rig.held(2)
    await rig.broker.leases.fail(rig.shard, [(*first, '{"e":1}', 0, False)], now=NOW)
    (again,) = (await rig.claim()).jobs
    return with_results([second, (again.id, again.token)], "1")


async def a_crashed_job(rig: Rig) -> Items:
    await rig.crashed()
    (again,) = (await rig.claim()).jobs
    return with_results([(again.id, again.token), *await rig.held(1)], "1")


async def a_watched_job(rig: Rig) -> Items:
    held = await rig.held(3)
    await rig.broker.jobs.watch_end(rig.shard, [held[1][0]])
    return with_results(held, "1")


async def a_job_flagged_for_cancel(rig: Rig) -> Items:
    held = await rig.held(3)
    await rig.broker.jobs.cancel(rig.shard, [held[1][0]], now=NOW)
    return with_results(held, "1")


async def a_job_twice(rig: Rig) -> Items:
    first, second = await rig.held(2)
    return [(*first, "1"), (*second, "2"), (*first, "3")]


async def a_job_that_was_completed_before(rig: Rig) -> Items:
    first, second = await rig.held(2)
    await rig.broker.leases.complete(rig.shard, [(*first, "1")], now=NOW)
    return with_results([second, first], "2")


GENERAL: dict[str, Scenario] = {
    scenario.__name__.replace("_", " "): scenario
    for scenario in (
        *(a_later_attempt, a_failed_attempt, a_crashed_job, a_watched_job, a_job_flagged_for_cancel, a_job_twice),
        a_job_that_was_completed_before,
    )
}


def completed(case: Scenario) -> Callable[[Rig], Awaitable[Any]]:
    async def scenario(rig: Rig) -> Any:
        items = await case(rig)
        answers = await rig.broker.leases.complete(rig.shard, items, now=LATER)
        async with rig.unchanged():
            assert await rig.broker.leases.complete(rig.shard, items, now=LATER + 1) == answers
        return answers

    return scenario


@pytest.mark.parametrize("case", PLAIN)
async def test_what_is_completed_the_plain_way_and_sent_again(twins: Twins, case: str) -> None:
    answers, ways = await twins.alike(completed(PLAIN[case]))
    assert set(answers) == {"ok"}
    assert ways["complete"] == [True, False]


@pytest.mark.parametrize("case", GENERAL)
async def test_what_is_completed_the_general_way(twins: Twins, case: str) -> None:
    answers, ways = await twins.alike(completed(GENERAL[case]))
    assert set(answers) == {"ok"}
    assert ways["complete"][-2:] == [False, False]


async def test_a_lost_token_among_others(twins: Twins) -> None:
    """The answers are in the order of the jobs, though the script gets them by their tokens."""

    async def scenario(rig: Rig) -> Any:
        first, second = await rig.held(3), await rig.held(3)
        await rig.broker.leases.fail(rig.shard, [(*second[0], "{}", 0, True)], now=NOW)
        items: Items = [
            *with_results([second[0], first[0]], "1"),
            ("missing", first[0][1], ""),
            Results(second[0][1], [second[1][0], "gone", second[2][0]], ["", "", "3"]),
            *with_results(first[1:], "2"),
            (first[0][0], "1.other", "4"),
            (first[1][0], "2" + first[1][1][1:], "5"),
            (first[2][0], "", "6"),
        ]
        return await rig.broker.leases.complete(rig.shard, items, now=LATER)

    answers, ways = await twins.alike(scenario)
    assert answers == ["lost", "ok", "lost", "ok", "lost", "ok", "ok", "ok", "lost", "lost", "lost"]
    assert ways["complete"] == [False]


@pytest.mark.parametrize("token", ["1.claim999", "1.", "1.claim001x", "2.claim001", ""])
async def test_a_lost_token_of_one_job(twins: Twins, token: str) -> None:
    async def scenario(rig: Rig) -> Any:
        ((job_id, held),) = await rig.held()
        assert held == "1.claim001"
        async with rig.unchanged():
            return await rig.broker.leases.complete(rig.shard, [(job_id, token, "1")], now=LATER)

    assert await twins.alike(scenario) == (["lost"], {"enqueue": [False], "claim": [True], "complete": [False]})


async def test_two_clients_complete_the_same_jobs_once(rig: Rig, server: Server) -> None:
    items = with_results(await rig.held(40), "1")
    other = client_for(server.url)
    two = Rig(other, rig.broker.shards.count, rig.scripts)
    try:
        calls = [one.broker.leases.complete(rig.shard, items, now=LATER) for one in (rig, two) for _ in range(2)]
        assert await asyncio.gather(*calls) == [["ok"] * 40] * 4
    finally:
        await other.aclose()
    assert (await rig.counters())["succeeded"] == 40
    assert (await rig.row())["finished"] == 40


@pytest.mark.parametrize("kind", ["valkey"])
async def test_the_plain_way_calls_few_commands(rig: Rig) -> None:
    await rig.add(100)
    await rig.add(50, queue="mail")
    first, second = await rig.claim(100), await rig.claim(50, queues=["mail"])
    items = with_results([(job.id, job.token) for job in (*first.jobs, *second.jobs)], "1")
    counted = await commands_of(rig.client, rig.broker.leases.complete(rig.shard, items, now=NOW + HOUR))
    assert counted == {"mget": 1, "mset": 1, "zrem": 2, "zadd": 2, "hincrby": 4, "expire": 1}
