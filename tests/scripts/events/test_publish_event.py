"""publish_event: what became of jobs, kept while somebody follows it."""

from __future__ import annotations

from queuey.store.broker import calls as module
from tests.support.store import Rig


async def entries(rig: Rig) -> list[bytes]:
    found = await rig.client.xrange(rig.broker.shards.keys[0].events)
    return [fields[b"d"] for _, fields in found]


async def test_nothing_is_kept_while_nobody_follows(rig: Rig) -> None:
    async with rig.unchanged():
        assert await rig.broker.events.publish_event(["a", "b"]) == ["nobody", "nobody"]


async def test_events_are_kept_in_their_order_for_a_while(rig: Rig) -> None:
    await rig.broker.events.subscribe_events(60_000)
    assert await rig.broker.events.publish_event(["a", "b"]) == ["ok", "ok"]
    assert await rig.broker.events.publish_event(["c"]) == ["ok"]
    assert await rig.broker.events.publish_event([]) == []
    assert await entries(rig) == [b"a", b"b", b"c"]
    assert 0 < await rig.client.ttl(rig.broker.shards.keys[0].events) <= 3600


async def test_the_oldest_go(rig: Rig) -> None:
    await rig.broker.events.subscribe_events(60_000)
    for first in range(0, module.EVENTS_KEPT + 2000, 500):
        await rig.broker.events.publish_event([str(number) for number in range(first, first + 500)])
    kept = await entries(rig)
    assert module.EVENTS_KEPT <= len(kept) < module.EVENTS_KEPT + 500
    assert kept[-1] == str(module.EVENTS_KEPT + 1999).encode()
