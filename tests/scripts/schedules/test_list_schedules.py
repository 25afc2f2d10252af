"""list_schedules: pages by name."""

from __future__ import annotations

from queuey.store.broker.calls import CLAIM_BYTES
from tests.support.scripts.schedules import Timetable
from tests.support.store import Rig


async def pages(plan: Timetable, count: int) -> list[list[str]]:
    """The names of each page."""
    found: list[list[str]] = []
    after = ""
    for _ in range(10):
        page, ended = await plan.broker.schedules.list_schedules(plan.shard, after, count)
        found.append([schedule.name for schedule in page])
        if ended:
            return found
        after = page[-1].name
    raise AssertionError("it does not end")


async def test_pages_follow_each_other_by_name(rig: Rig, plan: Timetable) -> None:
    for name in ("b", "a", "c.d", "B", "c"):
        await plan.put(name)
    async with rig.unchanged():
        assert await pages(plan, 2) == [["B", "a"], ["b", "c"], ["c.d"]]
        assert await pages(plan, 5) == [["B", "a", "b", "c", "c.d"], []]
        assert await pages(plan, 6) == [["B", "a", "b", "c", "c.d"]]


async def test_a_shard_without_schedules_has_one_empty_page(plan: Timetable) -> None:
    assert await pages(plan, 2) == [[]]


async def test_a_page_ends_after_the_record_that_exceeds_the_bytes(plan: Timetable) -> None:
    for number in range(4):
        await plan.put(f"n{number}", spec='"' + "x" * (CLAIM_BYTES // 2) + '"')
    assert await pages(plan, 10) == [["n0", "n1"], ["n2", "n3"]]


async def test_paused_and_ended_ones_are_there_too(plan: Timetable) -> None:
    await plan.put(next=-1)
    await plan.pause()
    assert await pages(plan, 10) == [[plan.name]]


async def test_names_without_a_record_do_not_end_the_list(rig: Rig, plan: Timetable) -> None:
    """A store that has lost records, such as one that evicts keys. A reader would ask for the same page for ever."""
    await rig.client.zadd(rig.keys.schedule_names, {f"a{number}": 0 for number in range(5)})
    await plan.put("b")
    assert await pages(plan, 2) == [["b"], []]
    await rig.client.delete(rig.keys.schedule("b"))
    assert await pages(plan, 2) == [[]]
