"""The reaper: takes jobs back whose leases expired."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from queuey import log
from queuey.errors import QueueyError
from queuey.metrics import Metrics
from queuey.services.maintenance.loops import BATCH, CALLS
from queuey.services.maintenance.shard_watch import ShardWatch
from queuey.services.maintenance.store_watch import StoreWatch
from queuey.store.broker.broker import Broker
from queuey.store.replies import Reaped

JITTER_CHOICES: Final = 64
LATE_MS: Final = 500
"""The time in ms by which a call may reach the store late, and by which the reply before may have been late. A lease of
two seconds or more does not expire in so short a silence, since it is renewed after a third of its time."""

OnDead = Callable[[int, Sequence[str]], Awaitable[None]]

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
        only: ShardWatch | None = None,
        on_dead: OnDead | None = None,
    ) -> None:
        """`interval` and `delay_max` are in seconds. A reaped job is due after a random delay up to `delay_max`.

        `only`: the shard on which it ends leases. Without it, it does so on all of them. `on_dead` is called with a
        shard and its jobs that have become dead letters.
        """
        self._metrics = metrics
        self._broker = broker
        self._watches: Sequence[StoreWatch | ShardWatch] = [watch, only] if only else [watch]
        self._shards = [only.shard] if only else range(broker.shards.count)
        self._interval = interval
        self._delay_max_ms = round(delay_max * 1000)
        self._batch = batch
        self._calls = calls
        self._on_dead = on_dead
        self._ahead_ms: dict[int, int] = {}
        """By how much each shard's clock is ahead of time.monotonic()."""

    async def run_once(self) -> float:
        """Reap the expired leases of its shards."""
        for watch in self._watches:
            await watch.run_once()
            grace = watch.reap_after - time.monotonic()
            if grace > 0:
                return min(grace, self._interval)
        for shard in self._shards:
            for _ in range(self._calls):
                reaped = await self._reap(shard)
                for job_id, outcome in reaped.outcomes:
                    self._metrics.lapsed.add((outcome,))
                    write = logger.error if outcome == "dead" else logger.warning
                    write("lease_reaped", job_id=job_id, outcome=outcome)
                if self._on_dead is not None:
                    await self._on_dead(shard, [job_id for job_id, outcome in reaped.outcomes if outcome == "dead"])
                if not reaped.more:
                    break
            self._metrics.reaped[shard] = time.time()
        return self._interval

    async def _reap(self, shard: int) -> Reaped:
        """Reap once, unless the call reaches the store too late.

        A call that is sent just before the store falls silent runs when it is back. Meanwhile no lease was renewed.
        """
        if shard not in self._ahead_ms:
            await self._call(shard, 0, None)  # which only tells the time
        return await self._call(shard, self._batch, _monotonic_ms() + self._ahead_ms[shard] + LATE_MS)

    async def _call(self, shard: int, limit: int, by_ms: int | None) -> Reaped:
        delays = [random.randint(0, self._delay_max_ms) for _ in range(JITTER_CHOICES)]
        sent_ms = _monotonic_ms()
        try:
            reaped = await self._broker.maintenance.reap(shard, limit, delays, by_ms=by_ms)
        except QueueyError:
            for watch in self._watches:
                watch.failed()
            raise
        # If the call took long, it is not known when it ran. Then this is too much by LATE_MS at most.
        self._ahead_ms[shard] = reaped.now_ms - max(sent_ms, _monotonic_ms() - LATE_MS)
        return reaped


def _monotonic_ms() -> int:
    return round(time.monotonic() * 1000)
