"""position: where a job that waits stands in its lane."""

from __future__ import annotations

import pytest

from queuey.store.replies import Placed
from tests.support.store import NOW, Rig


async def place(rig: Rig, job_id: str, look: int = 1000, queue: str = "default", lane: str = "default") -> Placed:
    async with rig.unchanged():
        return await rig.broker.jobs.position(rig.shard, queue, lane, job_id, look=look)


async def test_how_many_stand_before_it_in_its_lane_and_wait_in_the_others(rig: Rig) -> None:
    first, second, third = await rig.add(3)
    await rig.add(2, priority="high")
    await rig.add(priority="low")
    await rig.add(5, queue="mail")
    assert await place(rig, first) == Placed(0, 3, [2, 3, 1], "", "", 0)
    assert (await place(rig, third)).before == 2
    await rig.broker.jobs.cancel(rig.shard, [second], now=NOW)
    assert await place(rig, third) == Placed(2, 3, [2, 2, 1], "", "", 0), "a tombstone still stands before it"


async def test_one_that_is_not_there_or_deeper_than_searched(rig: Rig) -> None:
    jobs = await rig.add(3)
    assert (await place(rig, rig.new_id())).before == -1
    assert (await place(rig, jobs[2], look=2)).before == -1
    assert (await place(rig, jobs[2], look=3)).before == 2
    assert await place(rig, jobs[0], queue="nosuch") == Placed(-1, 0, [0, 0, 0], "", "", 0)


@pytest.mark.parametrize("lane", ["high", "default", "low"])
async def test_a_paused_queue_tells_why(rig: Rig, lane: str) -> None:
    (job_id,) = await rig.add(priority=lane)
    await rig.broker.queues.pause(rig.shard, "default", "the mail server is down")
    found = await place(rig, job_id, lane=lane)
    assert (found.before, found.paused) == (0, "the mail server is down")
