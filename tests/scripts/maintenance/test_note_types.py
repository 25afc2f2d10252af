"""note_types: keeps since when types have been unknown, and when a worker that takes every type last asked."""

from __future__ import annotations

from queuey.store.replies import Caps, NotedTypes
from tests.support.store import HOUR, NOW, SECOND, Rig


async def note(rig: Rig, *types: str, at: int = 0, asked: bool = False, queue: str = "default") -> NotedTypes:
    """Note the unknown types of a queue, `at` ms after NOW."""
    (noted,) = await rig.broker.maintenance.note_types(rig.shard, [(queue, asked, types)], now=NOW + at)
    return noted


async def test_each_type_has_been_unknown_since_it_was_noted_first(rig: Rig) -> None:
    await rig.add()
    assert await note(rig, "x") == NotedTypes(-1, [0])
    assert await note(rig, "a", "x", at=SECOND) == NotedTypes(-1, [0, SECOND])
    assert await note(rig, "a", "x", at=3 * SECOND) == NotedTypes(-1, [2 * SECOND, 3 * SECOND])


async def test_a_type_that_was_known_in_between_begins_again(rig: Rig) -> None:
    await rig.add()
    await note(rig, "x", "y")
    await note(rig, "y", at=SECOND)
    assert await note(rig, "x", "y", at=2 * SECOND) == NotedTypes(-1, [0, 2 * SECOND])


async def test_a_time_in_which_nobody_looked_does_not_count(rig: Rig) -> None:
    await rig.add()
    await note(rig, "x")
    assert await note(rig, "x", at=HOUR - 1) == NotedTypes(-1, [HOUR - 1])
    assert await note(rig, "x", at=2 * HOUR - 1) == NotedTypes(-1, [0])


async def test_the_last_ask_of_a_worker_that_takes_every_type_is_kept(rig: Rig) -> None:
    await rig.add()
    assert await note(rig, asked=True) == NotedTypes(0, [])
    assert await note(rig, at=HOUR) == NotedTypes(HOUR, [])
    assert await note(rig, at=HOUR, asked=True) == NotedTypes(0, [])
    assert await note(rig, "x", at=2 * HOUR) == NotedTypes(HOUR, [0])


async def test_the_store_is_written_once_a_minute_while_nothing_changes(rig: Rig) -> None:
    await rig.add()
    await note(rig, "x", asked=True)
    async with rig.unchanged():
        await note(rig, "x", asked=True, at=60 * SECOND - 1)
    await note(rig, "x", asked=True, at=60 * SECOND)
    fields = await rig.client.hmget(rig.keys.queue("default"), "asked", "unknown", "unknown_at")
    assert fields == [str(NOW + 60 * SECOND).encode(), f"x:{NOW}".encode(), str(NOW + 60 * SECOND).encode()]


async def test_nothing_is_left_once_every_type_is_known(rig: Rig) -> None:
    await rig.add()
    await note(rig, "x", "*")
    assert await note(rig, "*", "x", at=SECOND) == NotedTypes(-1, [SECOND, SECOND])
    await note(rig, at=SECOND)
    assert not await rig.client.exists(rig.keys.queue("default"))


async def test_a_queue_that_does_not_exist_gets_no_key(rig: Rig) -> None:
    async with rig.unchanged():
        assert await note(rig, "x", asked=True, queue="nowhere") == NotedTypes(-1, [0])


async def test_many_queues_are_noted_in_one_call(rig: Rig) -> None:
    await rig.add()
    await rig.add(queue="mail")
    rows = [("default", False, ["x"]), ("mail", True, [])]
    await rig.broker.maintenance.note_types(rig.shard, rows, now=NOW)
    noted = await rig.broker.maintenance.note_types(rig.shard, rows, now=NOW + SECOND)
    assert list(noted) == [NotedTypes(-1, [SECOND]), NotedTypes(SECOND, [])]


async def test_a_queue_that_is_forgotten_leaves_no_note(rig: Rig) -> None:
    ((job_id, token),) = await rig.held(retention_ms=0)
    await note(rig, "x", asked=True)
    await rig.broker.leases.complete(rig.shard, [(job_id, token, "")], now=NOW)
    for _ in range(2):
        await rig.broker.maintenance.trim(rig.shard, 10, Caps(finished_min_age_ms=0), now=NOW + SECOND)
    assert not await rig.client.exists(rig.keys.queue("default"))
