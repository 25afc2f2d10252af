"""The promoter: queues scheduled jobs once they are due."""

from __future__ import annotations

from typing import Final

from queuey.services.maintenance.loops import BATCH, CALLS
from queuey.store.broker.broker import Broker

PROMOTE_SECONDS: Final = 5.0


class Promoter:
    """Queues the scheduled jobs that are due. A claim does the same, but perhaps no worker claims from their queue.

    `only`: the shard that it looks at. None: all of them.
    """

    def __init__(
        self, broker: Broker, interval: float = PROMOTE_SECONDS, *, batch: int = BATCH, only: int | None = None
    ) -> None:
        self._broker = broker
        self._shards = range(broker.shards.count) if only is None else [only]
        self._interval = interval
        self._batch = batch

    async def run_once(self) -> float:
        """Promote the due jobs of its shards."""
        for shard in self._shards:
            for _ in range(CALLS):
                promoted = await self._broker.maintenance.promote(shard, self._batch)
                if promoted.due_in_ms != 0:
                    break
        return self._interval
