"""What every replica does beside its jobs. There is no leader and no lock: each script is safe to run anywhere.

Each class does its work in `run_once()`, which returns the seconds until the next run is due; `run_forever` repeats it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from queuey import log
from queuey.errors import QueueyError
from queuey.metrics import Metrics
from queuey.store.broker.broker import Broker
from queuey.store.replies import Caps

BATCH: Final = 500
"""Jobs per call."""
CALLS: Final = 200
"""Calls per shard in one run, at most; what is left waits for the next."""
RETRY_CAP: Final = 5.0
JITTER_CHOICES: Final = 64
FULL_ABOVE: Final = 0.85
"""Above this share of its memory the store takes no new job, so that what runs can still complete."""
PROMOTE_SECONDS: Final = 5.0

logger = log.get(__name__)


class Chore(Protocol):
    async def run_once(self) -> float: ...


async def run_forever(chore: Chore) -> None:
    """Repeat a chore until cancelled. When the store cannot answer it is tried again, sooner at first."""
    pause = 0.2
    while True:
        try:
            wait = await chore.run_once()
            pause = 0.2
        except QueueyError as error:
            logger.warning("chore_failed", chore=type(chore).__name__, error=error.message)
            wait = pause
            pause = min(pause * 2, RETRY_CAP)
        await asyncio.sleep(wait * random.uniform(0.9, 1.1))


class StoreWatch:
    """Looks at the store once a second: is it full, and may lapsed leases be held against their holders?

    While the store was away for a third of a lease, or has been up for less than one, nobody could renew. So no lease
    is reaped until `quiet_until` (time.monotonic()), one lease later: an outage is no crash. The Reaper looks once more
    before it reaps, or it could be the first to find the store back. The uptime counts once per start of the store,
    since it jumps with the store's clock.
    """

    def __init__(self, broker: Broker, lease: float, on_full: Callable[[bool], None], interval: float = 1.0) -> None:
        self._broker = broker
        self._lease = lease
        self._on_full = on_full
        self._interval = min(interval, lease / 3)
        self._answered_at = time.monotonic()
        self._failed = False
        self._full = False
        self._run_id: str | None = None
        self.reap_after = 0.0

    async def run_once(self) -> float:
        """Ask the store how it is. Returns the seconds until the next look."""
        try:
            vitals = await self._broker.vitals()
        except QueueyError:
            self._failed = True
            raise
        now = time.monotonic()
        away = now - self._answered_at
        if self._failed and away > self._lease / 3:
            self.reap_after = max(self.reap_after, now + self._lease)
            logger.info("store_back", away_seconds=round(away, 1))
        if vitals.run_id != self._run_id and vitals.uptime < self._lease:
            self.reap_after = max(self.reap_after, now + self._lease - max(0, vitals.uptime))
        self._run_id = vitals.run_id
        self._answered_at = now
        self._failed = False
        self._set_full(vitals.memory_share > FULL_ABOVE, vitals.memory_share)
        return self._interval

    def _set_full(self, full: bool, share: float) -> None:
        if full != self._full:
            logger.warning("store_full" if full else "store_has_room", memory_share=round(share, 3))
        self._full = full
        self._on_full(full)


class Reaper:
    """Gives lapsed leases back: each job to `scheduled`, to the dead-letter queue at its third crash, or to
    cancelled when flagged."""

    def __init__(self, broker: Broker, watch: StoreWatch, interval: float, delay_max: float) -> None:
        self._metrics = broker.metrics
        self._broker = broker
        self._watch = watch
        self._interval = interval
        self._delay_max_ms = round(delay_max * 1000)

    async def run_once(self) -> float:
        """Reap what has lapsed on every shard. Returns the seconds until the next run is due."""
        await self._watch.run_once()
        quiet = self._watch.reap_after - time.monotonic()
        if quiet > 0:
            return min(quiet, self._interval)
        for shard in range(self._broker.shards.count):
            for _ in range(CALLS):
                delays = [random.randint(0, self._delay_max_ms) for _ in range(JITTER_CHOICES)]
                reaped = await self._broker.maintenance.reap(shard, BATCH, delays)
                for job_id, outcome in reaped.outcomes:
                    self._metrics.lapsed.add((outcome,))
                    logger.warning("lease_reaped", job_id=job_id, outcome=outcome)
                if not reaped.more:
                    break
        self._metrics.reaped_at = time.time()
        return self._interval


class Promoter:
    """Moves due jobs to their lanes where no claim does it, as in a queue that no worker serves."""

    def __init__(self, broker: Broker, interval: float = PROMOTE_SECONDS) -> None:
        self._broker = broker
        self._interval = interval

    async def run_once(self) -> float:
        """Promote what is due on every shard. Returns the seconds until the next run is due."""
        for shard in range(self._broker.shards.count):
            for _ in range(CALLS):
                promoted = await self._broker.maintenance.promote(shard, BATCH)
                if promoted.due_in_ms != 0:
                    break
        return self._interval


class Trimmer:
    """Removes finished and dead jobs that need not be kept any longer."""

    def __init__(self, broker: Broker, caps: Caps, interval: float) -> None:
        self._broker = broker
        self._caps = caps
        self._interval = interval

    async def run_once(self) -> float:
        """Trim every shard. Returns the seconds until the next run is due, 0 when some are left."""
        wait = self._interval
        for shard in range(self._broker.shards.count):
            for _ in range(CALLS):
                trimmed = await self._broker.maintenance.trim(shard, BATCH, self._caps)
                if trimmed.dead:
                    logger.info("dead_jobs_trimmed", jobs=trimmed.dead, shard=shard)
                if not trimmed.more:
                    break
            else:
                wait = 0.0
        return wait


class LagWatch:
    """Times how late the event loop is, twice a second: what a handler that blocks it costs everything else."""

    def __init__(self, metrics: Metrics, interval: float = 0.5) -> None:
        self._metrics = metrics
        self._interval = interval

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._interval
            await asyncio.sleep(self._interval)
            self._metrics.loop_lag.observe(max(0.0, loop.time() - due))


class Heartbeat:
    """This replica's sign of life. `describe` answers with what is told of it, as a JSON-encodable object.

    `quiet_here` names the workers here that are quiet; `on_quiet` is told which workers, of all, are to be.
    """

    def __init__(
        self,
        broker: Broker,
        worker_id: str,
        describe: Callable[[], object],
        interval: float,
        quiet_here: Callable[[], Sequence[str]] = tuple,
        on_quiet: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> None:
        self._broker = broker
        self._worker_id = worker_id
        self._describe = describe
        self._interval = interval
        self._quiet_here = quiet_here
        self._on_quiet = on_quiet

    async def run_once(self) -> float:
        """Give it on the first shard. Returns the seconds until the next is due."""
        description = msgspec.json.encode(self._describe()).decode()
        answer = await self._broker.replicas.heartbeat(0, self._worker_id, description, quiet_here=self._quiet_here())
        self._on_quiet(answer.quiet)
        return self._interval

    async def leave(self) -> None:
        """Say good-bye."""
        await self._broker.replicas.heartbeat(0, self._worker_id, "")
