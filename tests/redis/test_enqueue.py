"""enqueue: nothing -> queued or scheduled."""

from __future__ import annotations

from tests.support.store import NOW, Rig


async def test_a_new_job_stands_at_the_tail_of_its_lane(rig: Rig) -> None:
    first, second = await rig.add(2)
    assert await rig.waiting() == [first, second]
    assert (await rig.stored(first)).definition == f'r={NOW}\n{{"type":"t"}}'
