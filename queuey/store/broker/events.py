"""Scripts of lua/events/: events of jobs."""

from __future__ import annotations

from collections.abc import Sequence

from queuey.store.broker.calls import EVENTS_KEPT, Group, word, words
from queuey.store.keys import listening_channel


class EventCalls(Group):
    """Events of jobs."""

    async def subscribe_events(self, ttl_ms: int) -> str:
        """`begun`, `kept` or, when ttl_ms is 0 and so only asked, `nobody`."""
        return word(await self._call(0, "subscribe_events", ttl_ms, listening_channel(self._shards.prefix)))

    async def publish_event(self, events: Sequence[str]) -> list[str]:
        """Per event `ok` or `nobody`. All go to shard 0, so that they have one order."""
        return words(await self._call(0, "publish_event", EVENTS_KEPT, events))
