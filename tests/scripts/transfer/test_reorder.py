"""reorder: restored jobs get the order that they had in their lane."""

from __future__ import annotations

from tests.support.store import HOUR, NOW, Rig


async def restored(rig: Rig, count: int) -> list[str]:
    """Ready jobs of one moment, restored; in the order of their lane."""
    ids = await rig.add(count, queue="mail", priority="low")
    jobs = (await rig.broker.transfer.dump(rig.shard, ids, now=NOW)).jobs
    await rig.client.flushall()
    assert await rig.broker.transfer.restore(rig.shard, jobs, now=NOW) == (["ok"] * count, [])
    return ids


async def arrange(rig: Rig, ids: list[str], first: int) -> int:
    return await rig.broker.transfer.reorder(
        rig.shard, "mail", "low", [(job_id, first + number) for number, job_id in enumerate(ids)]
    )


async def lane(rig: Rig) -> list[str]:
    await rig.broker.maintenance.promote(rig.shard, 100, now=NOW)
    return await rig.waiting("mail", "low")


async def test_they_are_promoted_in_that_order(rig: Rig) -> None:
    ids = await restored(rig, 12)
    assert await arrange(rig, ids[6:], -6) == 6
    assert await arrange(rig, ids[:6], -12) == 6
    assert await lane(rig) == ids


async def test_the_same_again_changes_nothing(rig: Rig) -> None:
    ids = await restored(rig, 4)
    await arrange(rig, ids, -4)
    async with rig.unchanged():
        assert await arrange(rig, ids, -4) == 4


async def test_those_without_a_position_come_first(rig: Rig) -> None:
    ids = await restored(rig, 4)
    assert await arrange(rig, ids[1:], -3) == 3
    assert await lane(rig) == ids


async def test_others_are_left_as_they_are(rig: Rig) -> None:
    ids = await restored(rig, 2)
    await rig.broker.maintenance.promote(rig.shard, 1, now=NOW)
    promoted = (await rig.waiting("mail", "low"))[0]
    (later,) = await rig.add(queue="mail", priority="low", delay_ms=HOUR)
    async with rig.unchanged():
        assert await arrange(rig, [promoted, later, rig.new_id()], -3) == 0
    assert await arrange(rig, [job_id for job_id in ids if job_id != promoted], -1) == 1
