"""list_by_status: ids in one place, first to last."""

from __future__ import annotations

from typing import cast

import pytest

from queuey.errors import ScriptFailed
from queuey.store.replies import Listed, Place
from tests.support.store import HOUR, LEASE, NOW, Rig


async def dead_and_done(rig: Rig) -> dict[str, list[str]]:
    """Two queues with two dead and two finished jobs each, one a millisecond after another, in turn."""
    ids: dict[str, list[str]] = {"dead": [], "finished": []}
    for number in range(4):
        queue, now = "ab"[number % 2], NOW + number
        first, second = await rig.held(2, queue=queue, now=now)
        await rig.broker.leases.fail(rig.shard, [(*first, "{}", 0, True)], now=now)
        await rig.broker.leases.complete(rig.shard, [(*second, "")], now=now)
        ids["dead"].append(first[0])
        ids["finished"].append(second[0])
    return ids


async def test_a_lane_with_its_tombstones(rig: Rig) -> None:
    added = await rig.add(4, priority="low")
    await rig.add()
    await rig.broker.jobs.cancel(rig.shard, [added[1]], now=NOW)
    async with rig.unchanged():
        listed = await rig.broker.jobs.list_by_status(rig.shard, "ready", "default", "low")
    assert listed == [Listed(job_id, 0, "default") for job_id in added]
    assert [
        job.id for job in await rig.broker.jobs.list_by_status(rig.shard, "ready", "default", "low", 1, 2)
    ] == added[1:3]
    assert await rig.broker.jobs.list_by_status(rig.shard, "ready", "default", "low", 4, 2) == []


async def test_what_is_scheduled_by_due_time(rig: Rig) -> None:
    (later,) = await rig.add(delay_ms=HOUR)
    (last,) = await rig.add(delay_ms=HOUR + 1)
    (sooner,) = await rig.add(delay_ms=5)
    await rig.add(delay_ms=1, priority="high")
    async with rig.unchanged():
        listed = await rig.broker.jobs.list_by_status(rig.shard, "scheduled", "default", "default")
    assert listed == [
        Listed(job_id, NOW + due, "default") for job_id, due in ((sooner, 5), (later, HOUR), (last, HOUR + 1))
    ]
    assert await rig.broker.jobs.list_by_status(rig.shard, "scheduled", "default", "default", 1, 1) == listed[1:2]
    assert await rig.broker.jobs.list_by_status(rig.shard, "scheduled", "default", "default", 1, 5) == listed[1:]


async def test_what_runs_by_lease(rig: Rig) -> None:
    ((second, _),) = await rig.held(now=NOW + 1)
    ((first, _),) = await rig.held(queue="mail")
    expected = [Listed(first, NOW + LEASE, "mail"), Listed(second, NOW + 1 + LEASE, "default")]
    assert await rig.broker.jobs.list_by_status(rig.shard, "running") == expected
    assert await rig.broker.jobs.list_by_status(rig.shard, "running", "mail") == expected[:1]


@pytest.mark.parametrize(("place", "offset"), [("dead", 0), ("finished", HOUR)])
async def test_all_queues_are_merged_by_score(rig: Rig, place: Place, offset: int) -> None:
    ids = (await dead_and_done(rig))[place]
    expected = [Listed(job_id, NOW + number + offset, "ab"[number % 2]) for number, job_id in enumerate(ids)]
    async with rig.unchanged():
        assert await rig.broker.jobs.list_by_status(rig.shard, place) == expected
    assert await rig.broker.jobs.list_by_status(rig.shard, place, "b") == expected[1::2]
    for start in range(5):
        for count in range(1, 5):
            listed = await rig.broker.jobs.list_by_status(rig.shard, place, "", "", start, count)
            assert listed == expected[start : start + count]
    assert await rig.broker.jobs.list_by_status(rig.shard, place, "b", "", 0, 1) == expected[1:2]
    assert await rig.broker.jobs.list_by_status(rig.shard, place, "b", "", 1, 5) == expected[3:]


async def test_equal_scores_are_in_the_order_of_their_ids(rig: Rig) -> None:
    added = [(await rig.held(queue=queue))[0][0] for queue in "cabfedihgjkl"]
    assert [job.id for job in await rig.broker.jobs.list_by_status(rig.shard, "running")] == sorted(added)


async def test_an_unknown_place_is_refused(rig: Rig) -> None:
    with pytest.raises(ScriptFailed, match="unknown place"):
        await rig.broker.jobs.list_by_status(rig.shard, cast(Place, "nowhere"), "default")


async def test_an_unknown_queue_is_empty(rig: Rig) -> None:
    assert await rig.broker.jobs.list_by_status(rig.shard, "dead", "nowhere") == []
    assert await rig.broker.jobs.list_by_status(rig.shard, "dead") == []


async def test_a_list_set_aside_instead_of_its_lane(rig: Rig) -> None:
    in_lane, *aside = await rig.add(4, priority="low")
    await rig.set_aside(aside, "mail", lane="low")
    call = rig.broker.jobs.list_by_status
    assert [job.id for job in await call(rig.shard, "ready", "default", "low")] == [in_lane]
    assert [job.id for job in await call(rig.shard, "ready", "default", "low", aside="mail")] == aside
    assert [job.id for job in await call(rig.shard, "ready", "default", "low", -2, 2, aside="mail")] == aside[1:]
    assert await call(rig.shard, "ready", "default", "high", aside="mail") == []
    assert await call(rig.shard, "ready", "default", "low", aside="*") == []
