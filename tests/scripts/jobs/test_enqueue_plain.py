"""enqueue: its plain way, and all that has to leave it, leave the store as its general way does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from queuey.protocol.records import NewJob, NewJobs
from tests.support.scripts.plain_ways import Twins, commands_of
from tests.support.store import HOUR, NOW, SECOND, Rig, Server, client_for

Items = Sequence[NewJob | NewJobs]


def group(rig: Rig, count: int, queue: str = "default", head: str = "", **fields: Any) -> NewJobs:
    new_ids = [rig.new_id() for _ in range(count)]
    bodies = [f'{{"type":"t{number}"}}' for number in range(count)]
    settings: dict[str, Any] = {"priority": "default", "size": 0} | fields
    return NewJobs(queue=queue, head=head, ids=new_ids, bodies=bodies, **settings)


def twice(rig: Rig) -> Items:
    same = rig.new_id()
    return [rig.job(id=same, body='{"type":"a"}'), rig.job(), rig.job(id=same, body='{"type":"b"}')]


def twice_in_groups(rig: Rig) -> Items:
    first, second = group(rig, 3), group(rig, 3, "mail", "q=mail")
    second.ids[1] = first.ids[1]
    return [first, second]


PLAIN: dict[str, Callable[[Rig], Items]] = {
    "one": lambda rig: [rig.job()],
    "several": lambda rig: [rig.job() for _ in range(5)],
    "a header": lambda rig: [rig.job(queue="mail", priority="high", max_attempts=3, retention_ms=7, extra="u=1")],
    "two headers": lambda rig: [rig.job(), rig.job(max_attempts=3), rig.job()],
    "two queues": lambda rig: [rig.job(), rig.job(queue="mail"), rig.job(), rig.job(queue="mail", priority="low")],
    "an expiry": lambda rig: [rig.job(expires_ms=SECOND)],
    "a group": lambda rig: [group(rig, 5)],
    "groups and jobs": lambda rig: [
        rig.job(),
        group(rig, 2),
        rig.job(),
        rig.job(),
        group(rig, 3, "mail", "q=mail m=1"),
    ],
    "as many as a call may have": lambda rig: [group(rig, 500), *(rig.job() for _ in range(12))],
    "other letters than ASCII": lambda rig: [rig.job(body='{"type":"t","payload":"é\\n☃"}')],
}
GENERAL: dict[str, Callable[[Rig], Items]] = {
    "an unknown queue": lambda rig: [rig.job(), rig.job(queue="new")],
    "an unknown queue of a group": lambda rig: [group(rig, 2), group(rig, 2, "new", "q=new")],
    "a dedupe key": lambda rig: [rig.job(), rig.job(key="k"), rig.job()],
    "a delay": lambda rig: [rig.job(delay_ms=HOUR), rig.job()],
    "a time to come": lambda rig: [rig.job(), rig.job(run_at_ms=NOW + HOUR)],
    "a time that has passed": lambda rig: [rig.job(run_at_ms=NOW), group(rig, 2)],
    "an id twice": twice,
    "an id in two groups": twice_in_groups,
}


def enqueued(items: Callable[[Rig], Items], **options: Any) -> Callable[[Rig], Awaitable[list[str]]]:
    async def scenario(rig: Rig) -> list[str]:
        await rig.add()
        await rig.add(queue="mail", priority="high")
        await rig.client.delete(rig.keys.wake("default"), rig.keys.wake("mail"))
        return await rig.broker.jobs.enqueue(rig.shard, items(rig), now=NOW + 1, **options)

    return scenario


@pytest.mark.parametrize("case", PLAIN)
async def test_what_is_enqueued_the_plain_way(twins: Twins, case: str) -> None:
    answers, ways = await twins.alike(enqueued(PLAIN[case]))
    assert set(answers) == {"new"}
    assert ways["enqueue"][2:] == [True]


@pytest.mark.parametrize("case", GENERAL)
async def test_what_is_enqueued_the_general_way(twins: Twins, case: str) -> None:
    answers, ways = await twins.alike(enqueued(GENERAL[case]))
    assert set(answers) == {"new"}
    assert ways["enqueue"][2:] == [False]


async def test_a_full_store_refuses_groups(twins: Twins) -> None:
    answers, ways = await twins.alike(enqueued(lambda rig: [group(rig, 3), rig.job()], full=True))
    assert answers == ["full"] * 4
    assert ways["enqueue"][2:] == [False]


async def test_a_group_is_no_new_queue_too_many(twins: Twins) -> None:
    async def scenario(rig: Rig) -> Any:
        await rig.broker.jobs.enqueue(rig.shard, [rig.job(queue=f"q{number}") for number in range(255)], now=NOW)
        items = [group(rig, 2, "q0", "q=q0"), *(group(rig, 2, name, f"q={name}") for name in ("new", "newer"))]
        return await rig.broker.jobs.enqueue(rig.shard, items, now=NOW)

    answers, _ = await twins.alike(scenario)
    assert answers == ["new"] * 4 + ["too_many_queues"] * 2


@pytest.mark.parametrize("copies", [0, 1])
async def test_a_group_that_is_sent_again_changes_nothing(twins: Twins, copies: int) -> None:
    """But for `copied`: the write that WAIT can wait for."""

    async def scenario(rig: Rig) -> Any:
        await rig.add()
        items: Items = [group(rig, 3), rig.job()]
        enqueue = rig.broker.jobs.enqueue
        answers = [await enqueue(rig.shard, items, copies=copies, now=NOW)]
        assert not await rig.client.exists(rig.keys.copied)
        async with rig.unchanged(but=[rig.keys.copied]):
            answers += [await enqueue(rig.shard, part, copies=copies, now=NOW + SECOND) for part in (items, items[:1])]
        assert await rig.client.exists(rig.keys.copied) == copies
        return answers

    answers, ways = await twins.alike(scenario)
    assert answers == [["new"] * 4, ["new"] * 4, ["new"] * 3]
    assert ways["enqueue"][1:] == [True, False, False]


async def test_a_batch_with_one_job_that_exists_enqueues_the_others(twins: Twins) -> None:
    async def scenario(rig: Rig) -> Any:
        ((job_id, _),) = await rig.held()
        items = group(rig, 3)
        items.ids[1] = job_id
        return await rig.broker.jobs.enqueue(rig.shard, [items], now=NOW + 5), await rig.waiting() == [
            *items.ids[:1],
            *items.ids[2:],
        ]

    outcome, ways = await twins.alike(scenario)
    assert outcome == (["new"] * 3, True)
    assert ways["enqueue"][1:] == [False]


async def test_a_state_without_a_definition_is_no_job(twins: Twins) -> None:
    """As after a trim that was cut off: enqueue looks at the definitions alone."""

    async def scenario(rig: Rig) -> Any:
        await rig.add()
        items = group(rig, 2)
        await rig.client.set(rig.keys.state(items.ids[0]), "s=c")
        return await rig.broker.jobs.enqueue(rig.shard, [items], now=NOW)

    assert await twins.alike(scenario) == (["new"] * 2, {"enqueue": [False, True]})


async def test_the_same_jobs_from_two_clients_are_there_once(rig: Rig, server: Server) -> None:
    await rig.add()
    other = client_for(server.url)
    two = Rig(other, rig.broker.shards.count, rig.scripts)
    try:
        items = group(rig, 50)
        calls = [one.broker.jobs.enqueue(rig.shard, [items], now=NOW) for one in (rig, two) for _ in range(3)]
        assert await asyncio.gather(*calls) == [["new"] * 50] * 6
    finally:
        await other.aclose()
    assert (await rig.waiting())[1:] == items.ids
    assert await rig.counters() == {"enqueued": 51}


async def test_jobs_in_turn_keep_their_order_in_the_lane(twins: Twins) -> None:
    async def scenario(rig: Rig) -> Any:
        await rig.add()
        items: Items = [
            rig.job(),
            rig.job(max_attempts=1),
            group(rig, 2),
            rig.job(delay_ms=SECOND),
            rig.job(),
            rig.job(key="k"),
            rig.job(),
        ]
        answers = await rig.broker.jobs.enqueue(rig.shard, items, now=NOW)
        due = [item for item in items if item.is_due]
        expected = [job_id for item in due for job_id in (item.ids if isinstance(item, NewJobs) else [item.id])]
        assert (await rig.waiting())[1:] == expected
        return answers

    answers, _ = await twins.alike(scenario)
    assert answers == ["new"] * 8


@pytest.mark.parametrize("kind", ["valkey"])
async def test_the_plain_way_calls_few_commands(rig: Rig) -> None:
    await rig.add()
    await rig.add(queue="mail")
    items: Items = [group(rig, 400), *(rig.job() for _ in range(50)), group(rig, 50, "mail", "q=mail")]
    counted = await commands_of(rig.client, rig.broker.jobs.enqueue(rig.shard, items))
    expected = {"time": 1, "sismember": 2, "msetnx": 1, "rpush": 3, "hincrby": 2, "expire": 1, "zadd": 2}
    assert counted == expected
