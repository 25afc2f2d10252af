"""The store watch: checks whether the store is full, and whether leases need more time after an outage."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
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


class Absence:
    """The absence of something that holds leases. Workers cannot renew them meanwhile, which must not count
    as a crash.

    So when it was away for a third of a lease, its leases are spared until `reap_after` (time.monotonic()).
    """

    def __init__(self, lease: float) -> None:
        self.reap_after = 0.0
        self._lease = lease
        self._answered_at = time.monotonic()
        self._failed = False

    def failed(self) -> None:
        """Note that it did not answer."""
        self._failed = True

    def answered(self, now: float) -> float:
        """Note that it answers. Returns the seconds for which it was away, or 0 if its leases need not be spared."""
        away = now - self._answered_at
        was_away = self._failed and away > renewal_of(self._lease)
        if was_away:
            self.reap_after = max(self.reap_after, now + self._lease)
        self._answered_at, self._failed = now, False
        return away if was_away else 0.0


class StoreWatch:
    """Asks the store once a second whether it is full, and whether expired leases may be reaped.

    No lease is reaped until `reap_after` (time.monotonic()) if the store was away, see Absence, or started less than
    one lease ago. The Reaper asks again before it reaps, since it may be the first to notice that the store is back.
    The uptime counts once per start of the store, since it jumps with the store's clock.

    `on_restart` is awaited when the store was started again, and once more with each look while it raises QueueyError.
    """

    def __init__(
        self,
        broker: Broker,
        lease: float,
        on_full: Callable[[bool], None],
        interval: float = 1.0,
        on_restart: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._broker = broker
        self._lease = lease
        self._on_full = on_full
        self._interval = min(interval, renewal_of(lease))
        self._absence = Absence(lease)
        self._full = False
        self._run_id: str | None = None
        self._on_restart = on_restart
        self._checked: str | None = None
        """The run of the store that `on_restart` was called for, or the first one."""
        self.settles_at = 0.0
        """One lease after the start of the store, by time.monotonic()."""

    @property
    def reap_after(self) -> float:
        """The time.monotonic() from which leases may be reaped."""
        return max(self.settles_at, self._absence.reap_after)

    def failed(self) -> None:
        """Note that the store did not answer a call of the reaper."""
        self._absence.failed()

    async def run_once(self) -> float:
        """Ask the store once."""
        try:
            vitals = await self._broker.vitals()
        except QueueyError:
            self._absence.failed()
            raise
        now = time.monotonic()
        if away := self._absence.answered(now):
            logger.info("store_back", away_seconds=round(away, 1))
        if vitals.run_id != self._run_id and vitals.uptime < self._lease:
            self.settles_at = max(self.settles_at, now + self._lease - max(0, vitals.uptime))
        self._run_id = vitals.run_id
        self._set_full(vitals.memory_share > (ROOM_BELOW if self._full else FULL_ABOVE), vitals.memory_share)
        if self._on_restart is not None and vitals.run_id != self._checked:
            if self._checked is not None:
                await self._on_restart()
            self._checked = vitals.run_id
        return self._interval

    def _set_full(self, full: bool, share: float) -> None:
        if full != self._full:
            logger.warning("store_full" if full else "store_has_room", memory_share=round(share, 3))
        self._full = full
        self._on_full(full)
