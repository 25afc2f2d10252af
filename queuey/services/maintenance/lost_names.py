"""The search for lists set aside whose names were lost: nothing is claimed from a list without a name."""

from __future__ import annotations

from typing import Final

from queuey import log
from queuey.store.broker.broker import Broker

PAUSE_SECONDS: Final = 0.05
"""Between two pages of keys, so that the search takes less than 1 % of the store."""
AGAIN_SECONDS: Final = 86_400.0

logger = log.get(__name__)


class LostNames:
    """Walks the store's keys once after the start of this replica, and once a day.

    A name can be lost while an older replica forgets a queue, or when a store is put back from a backup in parts."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._cursor = 0

    async def run_once(self) -> float:
        """Look at one page of keys."""
        self._cursor, found = await self._broker.scan("aside", self._cursor)
        lists: dict[int, list[tuple[str, str, str]]] = {}
        for shard, name in found:
            queue, priority, type_name = name.split(":")
            lists.setdefault(shard, []).append((queue, priority, type_name))
        for shard, names in lists.items():
            if shard < self._broker.shards.count:
                count = await self._broker.maintenance.name_asides(shard, names)
                if count:
                    logger.warning("names_found", shard=shard, count=count)
        return PAUSE_SECONDS if self._cursor else AGAIN_SECONDS
