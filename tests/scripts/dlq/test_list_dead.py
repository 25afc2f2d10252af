"""list_dead: dead jobs of some queues by when they died, with what they died of."""

from __future__ import annotations

from typing import Any

import pytest

from queuey.protocol.stored.job_errors import ERROR_BYTES
from queuey.store.replies import Dead
from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig

ERROR = '{"attempt":1,"kind":"error","message":"no"}'


async def die(rig: Rig, *, at: int = NOW, queue: str = "default", error: str = ERROR, **fields: Any) -> str:
    """A job that died at a time."""
    (held,) = await rig.held(queue=queue, now=at, **fields)
    assert await rig.broker.leases.fail(rig.shard, [(*held, error, 0, True)], now=at) == ["dead"]
    return held[0]


async def dead(rig: Rig, *queues: str, **options: Any) -> Dead:
    async with rig.unchanged():
        return await rig.broker.dlq.list_dead(rig.shard, queues or ["default"], **{"now": NOW + HOUR, **options})


async def test_nothing_has_died(rig: Rig) -> None:
    await rig.held()
    assert await dead(rig) == Dead([], True)
    assert await dead(rig, "nowhere") == Dead([], True)
    assert await rig.broker.dlq.list_dead(rig.shard, []) == Dead([], True)


async def test_what_is_told_of_a_job(rig: Rig) -> None:
    body = '{"type":"mail.send","payload":{"type":"other"}}'
    job_id = await die(rig, queue="mail", body=body, key="k" * 200)
    (job,) = (await dead(rig, "mail")).jobs
    stored = await rig.stored(job_id)
    assert (job.id, job.died_at_ms, job.queue, job.type, job.error) == (job_id, NOW, "mail", "mail.send", ERROR)
    assert job.bytes == len(stored.definition) + len(stored.state)


@pytest.mark.parametrize("size", [1024, 1100, ERROR_BYTES])
async def test_the_last_error_counts_however_long_it_is(rig: Rig, size: int) -> None:
    (held,) = await rig.held()
    await rig.broker.leases.fail(rig.shard, [(*held, ERROR, 0, False)], now=NOW)
    await rig.broker.maintenance.promote(rig.shard, 10, now=NOW)
    (again,) = (await rig.claim()).jobs
    long = '{"attempt":2,"kind":"error","message":"' + "x" * (size - 41) + '"}'
    assert len(long) == size
    await rig.broker.leases.fail(rig.shard, [(again.id, again.token, long, 0, True)], now=NOW)
    assert [job.error for job in (await dead(rig)).jobs] == [long]


async def test_one_that_crashed_too_often(rig: Rig) -> None:
    job_id = await rig.crashed(crashes=2)
    await rig.claim()
    await rig.broker.maintenance.reap(rig.shard, 10, [0], now=NOW + LEASE)
    (job,) = (await dead(rig)).jobs
    assert job.id == job_id
    assert '"kind":"lease_lapsed"' in job.error


async def test_the_longest_dead_come_first_over_all_queues(rig: Rig) -> None:
    third = await die(rig, at=NOW + 2, queue="a")
    first = await die(rig, at=NOW, queue="b")
    second = await die(rig, at=NOW + 1, queue="a")
    await die(rig, at=NOW, queue="c")
    assert [job.id for job in (await dead(rig, "a", "b")).jobs] == [first, second, third]


async def test_pages_meet_whatever_their_length_also_where_many_died_at_once(rig: Rig) -> None:
    for queue in "ab":
        held = await rig.held(10, queue=queue)
        await rig.broker.leases.fail(rig.shard, [(*one, ERROR, 0, True) for one in held], now=NOW)
        await die(rig, at=NOW + 5, queue=queue)
    every = [(job.died_at_ms, job.id) for job in (await dead(rig, "a", "b")).jobs]
    assert every == sorted(every)
    assert len(every) == 22
    for count in (1, 3, 7, 21, 22, 23):
        found: list[tuple[int, str]] = []
        ended = False
        while not ended:
            page = await dead(rig, "a", "b", count=count, after=found[-1] if found else (0, ""))
            assert len(page.jobs) <= count
            assert page.jobs or page.ended
            found += [(job.died_at_ms, job.id) for job in page.jobs]
            ended = page.ended
        assert found == every


async def test_a_place_whose_job_is_gone_is_a_place_all_the_same(rig: Rig) -> None:
    first, second = await die(rig), await die(rig, at=NOW + 1)
    await rig.broker.jobs.delete(rig.shard, [first], now=NOW)
    assert [job.id for job in (await dead(rig, after=(NOW, first))).jobs] == [second]
    assert (await dead(rig, after=(NOW + 1, second))) == Dead([], True)


async def test_by_age(rig: Rig) -> None:
    old, middle, young = [await die(rig, at=NOW + age * SECOND) for age in (0, 10, 20)]
    now = NOW + 20 * SECOND

    async def ids(**ages: int) -> list[str]:
        page = await dead(rig, now=now, count=2, **ages)
        return [job.id for job in page.jobs]

    assert await ids(older_ms=10 * SECOND) == [old, middle]
    assert await ids(older_ms=10 * SECOND + 1) == [old]
    assert await ids(younger_ms=10 * SECOND) == [middle, young]
    assert await ids(younger_ms=SECOND) == [young]
    assert await ids(older_ms=5 * SECOND, younger_ms=15 * SECOND) == [middle]
    assert await ids(older_ms=15 * SECOND, younger_ms=5 * SECOND) == []
    assert (await dead(rig, now=now, count=2, older_ms=15 * SECOND)).ended, "those behind are too young"


async def test_of_many_queues_fewer_are_read_at_a_time(rig: Rig) -> None:
    held = await rig.held(50)
    await rig.broker.leases.fail(rig.shard, [(*one, ERROR, 0, True) for one in held], now=NOW)
    page = await dead(rig, "default", *(f"q{number}" for number in range(999)))
    assert (len(page.jobs), page.ended) == (20, False)
