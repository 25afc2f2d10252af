"""The promoter: queues scheduled jobs once they are due."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from queuey.services.maintenance.loops import BATCH, CALLS
from queuey.store.broker.broker import Broker
from queuey.store.replies import Promoted

PROMOTE_SECONDS: Final = 5.0

OnTicks = Callable[[int, Promoted], None]


class Promoter:
    """Queues the scheduled jobs that are due. A claim does the same, but perhaps no worker claims from their queue.

    `only`: the shard that it looks at. None: all of them. `on_ticks` is called with a shard and each reply, which
    says when the next tick of a schedule is due: so a replica needs no call of its own to learn that.
    """

    def __init__(
        self,
        broker: Broker,
        interval: float = PROMOTE_SECONDS,
        *,
        batch: int = BATCH,
        only: int | None = None,
        on_ticks: OnTicks = lambda shard, promoted: None,
    ) -> None:
        self._broker = broker
        self._shards = range(broker.shards.count) if only is None else [only]
        self._interval = interval
        self._batch = batch
        self._on_ticks = on_ticks

    async def run_once(self) -> float:
        """Promote the due jobs of its shards."""
        for shard in self._shards:
            for _ in range(CALLS):
                promoted = await self._broker.maintenance.promote(shard, self._batch)
                self._on_ticks(shard, promoted)
                if promoted.due_in_ms != 0:
                    break
        return self._interval
