"""list_audit: pages of the audit log, the newest entry first."""

from __future__ import annotations

from tests.support.store import Rig


async def test_pages_go_from_the_newest_to_the_oldest(rig: Rig) -> None:
    ids = [await rig.broker.access.add_audit(f'{{"n":{n}}}') for n in range(5)]
    first = await rig.broker.access.list_audit("", 2)
    assert first == [(ids[4], '{"n":4}'), (ids[3], '{"n":3}')]
    async with rig.unchanged():
        rest = await rig.broker.access.list_audit(ids[3], 10)
    assert [entry_id for entry_id, _ in rest] == [ids[2], ids[1], ids[0]]
    assert await rig.broker.access.list_audit(ids[0], 10) == []


async def test_an_empty_log(rig: Rig) -> None:
    assert await rig.broker.access.list_audit("", 10) == []
