"""The search for lists set aside whose names were lost: nothing is claimed from a list without a name."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Final

from queuey import log
from queuey.store.broker.broker import Broker
from queuey.store.shards import on_each

PAUSE_SECONDS: Final = 0.05
"""The seconds between two pages of keys, so that the search takes less than 1 % of the store."""
LOOK_SECONDS: Final = 1.0
"""The seconds between two looks whether a search is due."""
AGAIN_SECONDS: Final = 86_400.0

logger = log.get(__name__)


class LostNames:
    """Walks the store's keys after the start of this replica, once a day, and after an older replica was seen.

    A name can be lost while an older replica forgets a queue, or when a store is put back from a backup in parts.
    `spacing` is the least number of seconds between the starts of two searches."""

    def __init__(self, broker: Broker, spacing: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._broker = broker
        self._spacing = spacing
        self._clock = clock
        self._cursor = 0
        self._began = -math.inf
        self._is_wanted = False

    def search_again(self) -> None:
        """Search soon, since an older replica works on this store: it forgets a queue that has only lists set aside.

        Call it for as long as that replica is there, so that the last search begins after it has gone."""
        self._is_wanted = True

    async def run_once(self) -> float:
        """Look at one page of keys, if a search is under way or due."""
        if not self._cursor and not self._may_begin():
            return LOOK_SECONDS
        self._cursor, found = await self._broker.scan("aside", self._cursor)
        lists: dict[int, list[tuple[str, str, str]]] = {}
        for shard, name in found:
            queue, priority, type_name = name.split(":")
            lists.setdefault(shard, []).append((queue, priority, type_name))
        shards = range(self._broker.shards.count)
        await on_each([shard for shard in lists if shard in shards], lambda shard: self._name(shard, lists[shard]))
        return PAUSE_SECONDS if self._cursor else LOOK_SECONDS

    async def _name(self, shard: int, lists: Sequence[tuple[str, str, str]]) -> None:
        count = await self._broker.maintenance.name_asides(shard, lists)
        if count:
            logger.warning("names_found", shard=shard, count=count)

    def _may_begin(self) -> bool:
        now = self._clock()
        if now < self._began + (self._spacing if self._is_wanted else AGAIN_SECONDS):
            return False
        self._began, self._is_wanted = now, False
        return True
