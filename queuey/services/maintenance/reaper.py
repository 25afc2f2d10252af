"""The reaper: takes jobs back whose leases expired."""

from __future__ import annotations

import random
import time
from typing import Final

from queuey import log
from queuey.metrics import Metrics
from queuey.services.maintenance.loops import BATCH, CALLS
from queuey.services.maintenance.store_watch import StoreWatch
from queuey.store.broker.broker import Broker

JITTER_CHOICES: Final = 64

logger = log.get(__name__)


class Reaper:
    """Ends expired leases.

    Each job is scheduled again, with two exceptions: from its second crash on it is a suspect or a dead letter, and a
    job whose cancellation was requested is cancelled.
    """

    def __init__(
        self,
        broker: Broker,
        watch: StoreWatch,
        interval: float,
        delay_max: float,
        *,
        metrics: Metrics,
        batch: int = BATCH,
        calls: int = CALLS,
    ) -> None:
        """`interval` and `delay_max` are in seconds. A reaped job is due after a random delay up to `delay_max`."""
        self._metrics = metrics
        self._broker = broker
        self._watch = watch
        self._interval = interval
        self._delay_max_ms = round(delay_max * 1000)
        self._batch = batch
        self._calls = calls

    async def run_once(self) -> float:
        """Reap the expired leases of every shard."""
        await self._watch.run_once()
        grace = self._watch.reap_after - time.monotonic()
        if grace > 0:
            return min(grace, self._interval)
        for shard in range(self._broker.shards.count):
            for _ in range(self._calls):
                delays = [random.randint(0, self._delay_max_ms) for _ in range(JITTER_CHOICES)]
                reaped = await self._broker.maintenance.reap(shard, self._batch, delays)
                for job_id, outcome in reaped.outcomes:
                    self._metrics.lapsed.add((outcome,))
                    logger.warning("lease_reaped", job_id=job_id, outcome=outcome)
                if not reaped.more:
                    break
        self._metrics.reaped_at = time.time()
        return self._interval
