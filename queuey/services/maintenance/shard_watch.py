"""Watching the shards of a store with several, of which one may be silent while the others answer."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Final

from queuey import log
from queuey.errors import QueueyError
from queuey.protocol.renewal import renewal_of
from queuey.services.maintenance.store_watch import Absence
from queuey.store.broker.broker import Broker
from queuey.store.shards import on_each

LOOK_SECONDS: Final = 1.0

logger = log.get(__name__)


class ShardWatch:
    """Asks one shard once a second whether it answers, unless other calls show it, for the leases that it holds.

    No lease of the shard is reaped until `reap_after` (time.monotonic()) after it was away.
    """

    def __init__(self, broker: Broker, shard: int, lease: float) -> None:
        self._broker = broker
        self.shard = shard
        self._interval = min(LOOK_SECONDS, renewal_of(lease))
        self._absence = Absence(lease)

    @property
    def reap_after(self) -> float:
        """The time.monotonic() from which leases of this shard may be reaped."""
        return self._absence.reap_after

    def failed(self) -> None:
        """Note that the shard did not answer a call of the reaper."""
        self._absence.failed()

    async def run_once(self) -> float:
        """Ask the shard once. Raises StoreError."""
        try:
            if not self._broker.has_answered(self.shard, self._interval):
                await self._broker.ask(self.shard)
        except QueueyError:
            self._absence.failed()
            raise
        if away := self._absence.answered(time.monotonic()):
            logger.info("shard_back", shard=self.shard, away_seconds=round(away, 1))
        return self._interval


class SilentShards:
    """Asks the shards that were silent again, so that a Broker knows when one answers."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def run_once(self) -> float:
        """Ask each shard that was silent, all at a time."""
        with suppress(QueueyError):
            await on_each(sorted(self._broker.silent), self._broker.ask)
        return LOOK_SECONDS
