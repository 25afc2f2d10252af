"""The scripts of lua/events/: events of jobs."""

from __future__ import annotations

from collections.abc import Sequence

from queuey.store.broker.calls import EVENTS_KEPT, Group, word, words
from queuey.store.keys import listening_channel


class EventCalls(Group):
    """Publishes events, and records whether a subscriber listens."""

    async def subscribe_events(self, ttl_ms: int) -> str:
        """Listen for `ttl_ms`, and reply with `begun` or `kept`. With 0 it only asks; `nobody` means no subscriber."""
        return word(await self._call(0, "subscribe_events", ttl_ms, listening_channel(self._shards.prefix)))

    async def publish_event(self, events: Sequence[str]) -> list[str]:
        """Add events to the stream of shard 0, which gives them one order. Replies with `ok` or `nobody` for each."""
        return words(await self._call(0, "publish_event", EVENTS_KEPT, events))
