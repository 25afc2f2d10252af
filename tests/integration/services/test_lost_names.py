"""The search for lists set aside whose names were lost."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from queuey.services.maintenance.lost_names import AGAIN_SECONDS, LOOK_SECONDS, LostNames
from tests.support.scripts.asides import names, set_aside
from tests.support.store import Rig


@pytest.fixture
def shards() -> int:
    return 2


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def search(rig: Rig, lost_names: LostNames | None = None) -> list[tuple[str, int, int]]:
    """Walk all keys once, if a search is due. Returns what was logged."""
    lost_names = lost_names or LostNames(rig.broker)
    with capture_logs() as logs:
        for _ in range(100):
            if await lost_names.run_once() == LOOK_SECONDS:
                return [(entry["event"], entry["shard"], entry["count"]) for entry in logs]
    raise AssertionError("the search does not end")


async def test_lists_without_a_name_are_found_on_every_shard(rig: Rig) -> None:
    for rig.shard in (0, 1):
        rig.keys = rig.broker.shards.keys[rig.shard]
        await set_aside(rig, "xy")
        await rig.client.delete(rig.keys.queue("default"))
    found = await search(rig)
    assert sorted({(event, shard) for event, shard, _ in found}) == [("names_found", 0), ("names_found", 1)]
    assert sum(count for *_, count in found) == 4
    for rig.shard in (0, 1):
        rig.keys = rig.broker.shards.keys[rig.shard]
        assert sorted(str(await names(rig)).split()) == ["d:x", "d:y"]


async def test_nothing_is_done_where_each_list_has_its_name(rig: Rig) -> None:
    await set_aside(rig, "xy")
    async with rig.unchanged():
        assert await search(rig) == []


async def test_a_search_is_due_at_the_start_once_a_day_and_soon_when_it_is_asked_for(rig: Rig) -> None:
    clock = Clock()
    lost_names = LostNames(rig.broker, 60, clock)
    await set_aside(rig, "x")

    async def finds() -> bool:
        """Whether there is a search now: it finds the name that is lost."""
        await rig.client.hdel(rig.keys.queue("default"), "aside")
        return await search(rig, lost_names) != []

    assert await finds()
    assert not await finds()
    clock.now = AGAIN_SECONDS
    assert await finds()
    lost_names.search_again()
    assert not await finds(), "the last search began within the spacing"
    clock.now += 60
    assert await finds()
    clock.now += 60
    assert not await finds(), "it was asked for once"
    lost_names.search_again()
    assert await finds()
