"""Renewal of leases, in a thread with its own event loop and connection.

Thus no lease is lost when a handler blocks the server's event loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from queuey import log
from queuey.protocol.renewal import renewal_of
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import MAX_BATCH
from queuey.store.shards import on_each

JOIN_SECONDS: Final = 5.0
MAX_NAMED: Final = 10
"""Jobs that a log line names."""
ADVICE: Final = (
    "Their handlers are past timeout and grace and could not be stopped, so other workers get these jobs once their "
    "leases expire. Look for what blocks: event_loop_blocked and handler_abandoned in the log."
)

logger = log.get(__name__)


class Lease(Protocol):
    """A job that is held, as the keeper sees it."""

    job_id: str
    token: str
    shard: int

    def is_overdue(self, now: float) -> bool:
        """Return whether it is past its timeout and grace at time.monotonic(). Its lease is then not renewed."""


class Renewer(Protocol):
    """Extends leases: in the store, or for `queuey work` over the HTTP API."""

    async def extend(self, shard: int, lease_ms: int, held: Sequence[tuple[str, str]]) -> Sequence[str]:
        """Extend these leases. Return `ok`, `cancelled` or `lost` for each (id, token)."""

    async def close(self) -> None:
        """Close its connection."""


class StoreRenewer:
    """Extends leases in the store."""

    def __init__(self, broker: Broker) -> None:
        self.extend = broker.leases.extend
        self.close = broker.close


class LeaseKeeper:
    """Extends each lease that is held, three times within its length.

    `on_trouble(job_id, token, status)` is called in the loop that made the keeper, with `lost` or `cancelled`.
    """

    def __init__(self, lease: float, on_trouble: Callable[[str, str, str], None]) -> None:
        self._lease = lease
        self._on_trouble = on_trouble
        self._held: dict[str, Lease] = {}
        self._overdue: set[Lease] = set()
        """The leases that are held and have been reported as overdue."""
        self._main_loop = asyncio.get_running_loop()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, open_renewer: Callable[[], Renewer]) -> None:
        """Start the thread. `open_renewer` makes a Renewer in the event loop that calls it."""
        self._thread = threading.Thread(target=self._run, args=[open_renewer], name="queuey-leases", daemon=True)
        self._thread.start()

    def hold(self, lease: Lease) -> None:
        """Renew a lease from now on. The interpreter changes a dict in one step, so no lock is needed."""
        self._held[lease.job_id] = lease

    def let_go(self, lease: Lease) -> None:
        """Stop renewing a lease."""
        if self._held.get(lease.job_id) is lease:
            del self._held[lease.job_id]

    async def stop(self) -> None:
        """End the thread, within a few seconds."""
        self._stopping.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, JOIN_SECONDS)

    def _run(self, open_renewer: Callable[[], Renewer]) -> None:
        with asyncio.Runner() as runner:
            renewer = None
            pause = renewal_of(self._lease)
            while not self._stopping.wait(pause):
                renewer = renewer or runner.run(_call(open_renewer))
                pause = runner.run(self._renew(renewer))
            if renewer is not None:
                runner.run(renewer.close())

    async def _renew(self, renewer: Renewer) -> float:
        """Return the seconds until the next renewal. No error may end the thread: every lease depends on it."""
        try:
            await self.renew_once(renewer, time.monotonic())
        except Exception as error:
            logger.warning("renewal_failed", error=str(error), jobs=len(self._held))
            return min(1.0, self._lease / 10)
        return renewal_of(self._lease)

    async def renew_once(self, renewer: Renewer, now: float) -> None:
        """Extend the leases that are held and not overdue at `now` (time.monotonic()), on every shard at a time.

        Raises the first error after the leases of the other shards were extended."""
        due: dict[int, list[Lease]] = {}
        overdue: set[Lease] = set()
        for lease in list(self._held.values()):
            if lease.is_overdue(now):
                overdue.add(lease)
            else:
                due.setdefault(lease.shard, []).append(lease)
        self._report(overdue)
        await on_each(sorted(due), lambda shard: self._renew_shard(renewer, shard, due[shard]))

    def _report(self, overdue: set[Lease]) -> None:
        """Log the leases that are not renewed any more, each once."""
        new = sorted(lease.job_id for lease in overdue - self._overdue)
        self._overdue = overdue
        if new:
            logger.warning("leases_not_renewed", jobs=len(new), job_ids=new[:MAX_NAMED], advice=ADVICE)

    async def _renew_shard(self, renewer: Renewer, shard: int, leases: Sequence[Lease]) -> None:
        for first in range(0, len(leases), MAX_BATCH):
            batch = leases[first : first + MAX_BATCH]
            held = [(lease.job_id, lease.token) for lease in batch]
            statuses = await renewer.extend(shard, round(self._lease * 1000), held)
            for lease, status in zip(batch, statuses, strict=True):
                if status != "ok":
                    self._main_loop.call_soon_threadsafe(self._on_trouble, lease.job_id, lease.token, status)


async def _call(open_renewer: Callable[[], Renewer]) -> Renewer:
    return open_renewer()
