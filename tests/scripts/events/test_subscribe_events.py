"""subscribe_events: somebody follows the events, and every replica is told."""

from __future__ import annotations

from queuey.store.keys import listening_channel
from tests.support.store import Rig


async def test_the_first_begins_and_others_keep_it(rig: Rig) -> None:
    pubsub = rig.client.pubsub()
    await pubsub.subscribe(listening_channel())
    assert (await pubsub.get_message(timeout=10))["type"] == "subscribe"
    assert await rig.broker.events.subscribe_events(60_000) == "begun"
    assert await rig.broker.events.subscribe_events(90_000) == "kept"
    assert [(await pubsub.get_message(timeout=10))["data"] for _ in range(2)] == [b"60000", b"90000"]
    assert 60_000 < await rig.client.pttl(rig.broker.shards.keys[0].listening) <= 90_000
    await pubsub.aclose()


async def test_to_ask_changes_nothing(rig: Rig) -> None:
    async with rig.unchanged():
        assert await rig.broker.events.subscribe_events(0) == "nobody"
    await rig.broker.events.subscribe_events(60_000)
    async with rig.unchanged():
        assert await rig.broker.events.subscribe_events(0) == "kept"


async def test_after_a_time_without_anybody_older_events_are_gone(rig: Rig) -> None:
    """What happened meanwhile was not told, so whoever comes back must not take them for all there are."""
    keys = rig.broker.shards.keys[0]
    await rig.broker.events.subscribe_events(60_000)
    await rig.broker.events.publish_event(["a"])
    assert await rig.broker.events.subscribe_events(60_000) == "kept"
    assert await rig.client.exists(keys.events)
    await rig.client.delete(keys.listening)  # as its TTL does
    assert await rig.broker.events.subscribe_events(60_000) == "begun"
    assert not await rig.client.exists(keys.events)
