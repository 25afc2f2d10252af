"""The order of a lane in an export: its own jobs and those that were set aside from it, in one line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from queuey.store.broker.broker import Broker

MAX_LANE: Final = 100_000_000
"""The maximum number of entries of one list that are read."""


async def last_to_first(
    broker: Broker, shard: int, queue: str, priority: str, asides: Sequence[str], page: int
) -> AsyncIterator[str]:
    """Yield the ids of a lane and of the lists set aside from it for these types, from the last to the first.

    Each list keeps its order. Of the last entries of two lists, the one whose id is newer comes later in the lane, as a
    claim that may take both begins with the older head. Reads each list from its end, `page` entries at a time, since a
    job that is claimed meanwhile leaves the head and moves no other.
    """
    lists = [_List(broker, shard, queue, priority, aside, page) for aside in ("", *asides)]
    left = [one for one in lists if await one.has_more()]
    while left:
        newest = left[0] if len(left) == 1 else max(left, key=_List.made_at)
        yield newest.ids.pop()
        if not await newest.has_more():
            left.remove(newest)


class _List:
    """A list of waiting jobs that is read from its end. `ids`: those that were read and not yielded yet, in order."""

    def __init__(self, broker: Broker, shard: int, queue: str, priority: str, aside: str, page: int) -> None:
        self._broker = broker
        self._where = (shard, queue, priority, aside)
        self._page = page
        self._read = 0
        self._ended = False
        self.ids: list[str] = []

    def made_at(self) -> str:
        """Return the time in the id of its last entry, as text that sorts like the time."""
        return self.ids[-1][2:12]

    async def has_more(self) -> bool:
        """Return whether it has a further entry; read the next page if the last is used up."""
        if not self.ids and not self._ended:
            shard, queue, priority, aside = self._where
            self._read += self._page
            found = await self._broker.jobs.list_by_status(
                shard, "ready", queue, priority, -self._read, self._page, aside
            )
            self.ids = [entry.id for entry in found]
            self._ended = len(self.ids) < self._page or self._read >= MAX_LANE
        return bool(self.ids)
