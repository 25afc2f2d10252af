"""The trimmer: deletes finished and dead jobs past their retention."""

from __future__ import annotations

from queuey import log
from queuey.services.maintenance.loops import BATCH, CALLS
from queuey.store.broker.broker import Broker
from queuey.store.replies import Caps

logger = log.get(__name__)


class Trimmer:
    """Deletes finished and dead jobs past their retention, and the oldest ones above the limits of `caps`.

    `only`: the shard that it looks at. None: all of them.
    """

    def __init__(
        self,
        broker: Broker,
        caps: Caps,
        interval: float,
        *,
        batch: int = BATCH,
        calls: int = CALLS,
        only: int | None = None,
    ) -> None:
        self._broker = broker
        self._shards = range(broker.shards.count) if only is None else [only]
        self._caps = caps
        self._interval = interval
        self._batch = batch
        self._calls = calls

    async def run_once(self) -> float:
        """Trim its shards. Returns 0 when there is more to trim."""
        wait = self._interval
        for shard in self._shards:
            for _ in range(self._calls):
                trimmed = await self._broker.maintenance.trim(shard, self._batch, self._caps)
                if trimmed.dead:
                    logger.info("dead_jobs_trimmed", jobs=trimmed.dead, shard=shard)
                if not trimmed.more:
                    break
            else:
                wait = 0.0
        return wait
