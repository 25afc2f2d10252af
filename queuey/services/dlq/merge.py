"""Merging the lists of all shards into one, while each is read page by page."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Entry = TypeVar("Entry")
Position = tuple[int, str]
"""The position of an entry in its list: the time at which the job died, in ms, and its id."""
ReadPage = Callable[[int, Position], Awaitable[tuple[Sequence[Entry], bool]]]
"""Returns the page of a shard's list that begins behind a position, and whether the list ends with it."""


class ShardMerge(Generic[Entry]):
    """The entries of all shards in the order of their positions."""

    def __init__(self, position_of: Callable[[Entry], Position], read_page: ReadPage[Entry]) -> None:
        self._position_of = position_of
        self._read_page = read_page
        self._pages: dict[int, deque[Entry]] = {}
        self._ended: dict[int, bool] = {}
        self._heads: list[tuple[Position, int]] = []

    @property
    def more(self) -> bool:
        """Whether there are more entries."""
        return bool(self._heads)

    async def start(self, shards: int, after: Position = (0, "")) -> None:
        """Read the first page of each shard."""
        for shard in range(shards):
            await self._read(shard, after)

    async def next(self) -> Entry:
        """Return the next entry. Call it only while there are `more`."""
        position, shard = heapq.heappop(self._heads)
        page = self._pages[shard]
        entry = page.popleft()
        if page:
            self._push(shard)
        elif not self._ended[shard]:
            await self._read(shard, position)
        return entry

    async def _read(self, shard: int, after: Position) -> None:
        page, self._ended[shard] = await self._read_page(shard, after)
        self._pages[shard] = deque(page)
        if page:
            self._push(shard)

    def _push(self, shard: int) -> None:
        heapq.heappush(self._heads, (self._position_of(self._pages[shard][0]), shard))
