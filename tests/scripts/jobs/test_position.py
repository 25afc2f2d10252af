"""position: where a job that waits stands in its lane, or in the list set aside that has it."""

from __future__ import annotations

import pytest

from queuey.store.replies import Placed
from tests.support.scripts.plain_ways import commands_of
from tests.support.store import NOW, SIXTY_FOUR, STARS, Rig


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


# --- lists set aside ---------------------------------------------------------------------------------------------


async def test_a_job_set_aside_stands_behind_those_of_its_list(rig: Rig) -> None:
    await rig.add(2, body='{"type":"other"}')
    jobs = await rig.add(3, body='{"type":"mail"}')
    await rig.set_aside(jobs, "mail")
    for lane, count in (("high", 2), ("low", 1)):
        for type in ("mail", "other"):
            await rig.set_aside(await rig.add(count, priority=lane), type, lane=lane)
        await rig.add(priority=lane)
    assert await place(rig, jobs[2]) == Placed(2, 3, [3, 5, 2], "", "", 0, "mail")
    assert await place(rig, jobs[2], look=2) == Placed(-1, 3, [3, 5, 2], "", "", 0, "mail"), "it is deep in its list"
    await rig.broker.jobs.cancel(rig.shard, jobs[:2], now=NOW)
    assert await place(rig, jobs[2]) == Placed(2, 3, [3, 3, 2], "", "", 0, "mail")


async def test_a_job_of_the_lane_does_not_wait_for_what_was_set_aside(rig: Rig) -> None:
    aside = await rig.add(5, body='{"type":"mail"}')
    first, second = await rig.add(2, body='{"type":"mail"}')
    await rig.set_aside(aside, "mail")
    await rig.name_asides(("default", "other"), ("default", "*"))
    assert await place(rig, second) == Placed(1, 2, [0, 2, 0], "", "", 0, "")
    assert (await place(rig, first, look=1)).before == 0


async def test_a_job_whose_type_has_no_name_is_found_in_the_list_of_these(rig: Rig) -> None:
    jobs = await rig.add(3)
    await rig.set_aside(jobs[1:], "*")
    await rig.set_aside(await rig.add(2, body='{"type":"mail"}'), "mail")
    assert await place(rig, jobs[2]) == Placed(1, 2, [0, 3, 0], "", "", 0, "*")


async def test_a_suspect_is_found_in_the_list_of_suspects(rig: Rig) -> None:
    jobs = await rig.add(3)
    await rig.set_aside(jobs[1:], "!")
    assert await place(rig, jobs[2]) == Placed(1, 2, [0, 3, 0], "", "", 0, "!")


async def test_a_job_that_is_in_no_list_has_the_length_of_its_lane(rig: Rig) -> None:
    await rig.set_aside(await rig.add(2), "t")
    await rig.add(3)
    assert await place(rig, rig.new_id()) == Placed(-1, 3, [0, 3, 0], "", "", 0, "")


async def test_few_lists_are_searched_and_none_without_names(rig: Rig) -> None:
    (job_id,) = await rig.add()
    call = rig.broker.jobs.position
    await call(rig.shard, "default", "default", job_id, look=10)
    plain = {"hmget": 1, "lpos": 1, "llen": 4}
    assert await commands_of(rig.client, call(rig.shard, "default", "default", job_id, look=10)) == plain
    await rig.name_asides(*SIXTY_FOUR, ("default", "t"), *STARS)
    counted = await commands_of(rig.client, call(rig.shard, "default", "default", job_id, look=10))
    assert counted == {"hmget": 1, "getrange": 1, "lpos": 3, "llen": 3 + 3}
