"""The queues and workers once a second, while anyone follows. Without followers nothing is asked of the store.

One task makes a frame for all followers of this replica. It is filtered and encoded once for each set of rights among
them. A follower has only the latest frame: one that reads slowly skips those between.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import UNSET

from queuey import log
from queuey.errors import Full, QueueyError, StoreUnavailable
from queuey.protocol.credentials import Grant, Principal
from queuey.protocol.models import Pulse, PulseTotals, Queue, WorkerInfo
from queuey.services.queues import show_queues
from queuey.services.workers import list_workers, visible_part
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline

EVERY: Final = 1.0
EVERY_OF_MANY: Final = 2.0
MANY_QUEUES: Final = 64
"""Above this number of queues a frame comes each `EVERY_OF_MANY` seconds."""
STORE_SECONDS: Final = 10.0
"""The time for which the use of the store's memory counts as known."""

_encode: Final = msgspec.json.Encoder().encode
logger = log.get(__name__)


class Follower:
    """One follower. `over`: no more frames come, since the server stops."""

    def __init__(self, caller: Principal) -> None:
        self.caller = caller
        self.over = False
        self._latest: bytes | None = None
        self._wakeup = asyncio.Event()

    def put(self, event: bytes) -> None:
        """Replace the event that waits, if one does."""
        self._latest = event
        self._wakeup.set()

    def end(self) -> None:
        """Let `next` return what waits, and nothing further."""
        self.over = True
        self._wakeup.set()

    async def next(self, seconds: float) -> bytes | None:
        """Wait for an event and return it. None after `seconds`, or at the end."""
        if not self.over:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wakeup.wait()
        self._wakeup.clear()
        latest, self._latest = self._latest, None
        return latest


class Pulses:
    """All followers of this replica, at most `limit`. `run_once` makes frames while there are any."""

    def __init__(self, broker: Broker, limit: int, request_deadline: float, unknown_type_ttl: float) -> None:
        self._broker = broker
        self._limit = limit
        self._request_deadline = request_deadline
        self._unknown_type_ttl = unknown_type_ttl
        self._followers: set[Follower] = set()
        self._wanted = asyncio.Event()
        self._closed = False
        self._store_used = 0.0
        self._store_asked = -STORE_SECONDS

    # --- followers ------------------------------------------------------------------------------------------------

    def follow(self, caller: Principal) -> Follower:
        """Add a follower, which `leave` removes. Raises Full."""
        if len(self._followers) >= self._limit:
            raise Full("Too many streams of pulses are open at this server. Try again later.")
        follower = Follower(caller)
        if self._closed:
            follower.end()
            return follower
        self._followers.add(follower)
        self._wanted.set()
        return follower

    def leave(self, follower: Follower) -> None:
        """Remove a follower."""
        self._followers.discard(follower)

    def close(self) -> None:
        """End every stream, and accept no more."""
        self._closed = True
        for follower in self._followers:
            follower.end()

    # --- frames ---------------------------------------------------------------------------------------------------

    async def once(self, caller: Principal) -> Pulse:
        """Return a frame of what the caller may read. Raises StoreUnavailable."""
        return part_of(await self._frame(), caller)

    async def run_once(self) -> float:
        """Make frames while there are followers."""
        await self._wanted.wait()
        loop = asyncio.get_running_loop()
        while self._followers:
            began = loop.time()
            await asyncio.sleep(began + await self._beat() - loop.time())
        self._wanted.clear()
        return 0.0

    async def _beat(self) -> float:
        """Give all followers a frame, or say why there is none. Return the seconds until the next one."""
        try:
            frame = await self._frame()
        except QueueyError as error:
            logger.debug("pulse_not_made", error=error.message)
            gone = b"event: gone\ndata: " + _encode({"detail": error.message}) + b"\n\n"
            for follower in self._followers:
                follower.put(gone)
            return EVERY
        events: dict[tuple[Grant, ...], bytes] = {}
        for follower in self._followers:
            rights = follower.caller.grants
            if rights not in events:
                events[rights] = b"event: pulse\ndata: " + _encode(part_of(frame, follower.caller)) + b"\n\n"
            follower.put(events[rights])
        return frame.every

    async def _frame(self) -> Pulse:
        """Return a frame of everything."""
        deadline = Deadline(self._request_deadline)
        queues, workers = await asyncio.gather(
            show_queues(self._broker, lambda queue: True, deadline, self._unknown_type_ttl),
            self._workers(deadline),
        )
        every = EVERY if len(queues.queues) <= MANY_QUEUES else EVERY_OF_MANY
        used = await self._used()
        return _pulse(queues.queues, workers, used, every, queues.incomplete)

    async def _workers(self, deadline: Deadline) -> list[WorkerInfo]:
        """Return the workers; none while the shard that knows them does not answer."""
        try:
            return await list_workers(self._broker, deadline)
        except StoreUnavailable:
            return []

    async def _used(self) -> float:
        """Return the share of the store's memory that is in use, as it was within the last seconds."""
        now = asyncio.get_running_loop().time()
        if now - self._store_asked >= STORE_SECONDS:
            self._store_asked = now
            with suppress(QueueyError):  # the last one stays
                self._store_used = (await self._broker.vitals()).memory_share
        return self._store_used


def part_of(frame: Pulse, caller: Principal) -> Pulse:
    """Return what the caller may read of a frame."""
    if caller.allows("read"):
        return frame

    def visible(queue: str) -> bool:
        return caller.allows("read", queue)

    workers = (visible_part(worker, visible) for worker in frame.workers)
    return _pulse(
        [queue for queue in frame.queues if visible(queue.name)],
        [worker for worker in workers if worker is not None],
        frame.store_used,
        frame.every,
        frame.incomplete,
        frame.at,
    )


def _pulse(
    queues: list[Queue],
    workers: list[WorkerInfo],
    store_used: float,
    every: float,
    incomplete: list[int] | msgspec.UnsetType,
    at: datetime | None = None,
) -> Pulse:
    live = [worker for worker in workers if not worker.gone]
    totals = PulseTotals(
        waiting=sum(queue.high + queue.default + queue.low for queue in queues),
        running=sum(queue.running for queue in queues),
        scheduled=sum(queue.scheduled for queue in queues),
        dead=sum(queue.dead_letter for queue in queues),
        slots=sum(worker.slots for worker in live),
        busy=sum(worker.busy for worker in live),
    )
    return Pulse(at or datetime.now(UTC), queues, workers, totals, store_used, every, incomplete or UNSET)
