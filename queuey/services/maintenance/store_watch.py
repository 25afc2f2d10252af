"""The store watch: checks whether the store is full, and whether leases need more time after an outage."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from queuey import log
from queuey.errors import QueueyError
from queuey.protocol.renewal import renewal_of
from queuey.store.broker.broker import Broker

FULL_ABOVE: Final = 0.85
"""The share of the store's memory above which it accepts no new job, so that running jobs can still complete."""
ROOM_BELOW: Final = 0.83
"""The share below which a full store has room again. The memory of connections comes and goes, so one bound for both
would open and close the store with each look."""

logger = log.get(__name__)


class StoreWatch:
    """Asks the store once a second whether it is full, and whether expired leases may be reaped.

    Workers cannot renew leases while the store is away, and that must not count as a crash. So if the store was away
    for a third of a lease, or started less than one lease ago, no lease is reaped until `reap_after`
    (time.monotonic()), one lease later. The Reaper asks again before it reaps, since it may be the first to notice that
    the store is back. The uptime counts once per start of the store, since it jumps with the store's clock.
    """

    def __init__(self, broker: Broker, lease: float, on_full: Callable[[bool], None], interval: float = 1.0) -> None:
        self._broker = broker
        self._lease = lease
        self._on_full = on_full
        self._interval = min(interval, renewal_of(lease))
        self._answered_at = time.monotonic()
        self._failed = False
        self._full = False
        self._run_id: str | None = None
        self.reap_after = 0.0

    async def run_once(self) -> float:
        """Ask the store once."""
        try:
            vitals = await self._broker.vitals()
        except QueueyError:
            self._failed = True
            raise
        now = time.monotonic()
        away = now - self._answered_at
        if self._failed and away > renewal_of(self._lease):
            self.reap_after = max(self.reap_after, now + self._lease)
            logger.info("store_back", away_seconds=round(away, 1))
        if vitals.run_id != self._run_id and vitals.uptime < self._lease:
            self.reap_after = max(self.reap_after, now + self._lease - max(0, vitals.uptime))
        self._run_id = vitals.run_id
        self._answered_at = now
        self._failed = False
        self._set_full(vitals.memory_share > (ROOM_BELOW if self._full else FULL_ABOVE), vitals.memory_share)
        return self._interval

    def _set_full(self, full: bool, share: float) -> None:
        if full != self._full:
            logger.warning("store_full" if full else "store_has_room", memory_share=round(share, 3))
        self._full = full
        self._on_full(full)
