"""The counts of a worker's jobs: which slots are in use, where, and which outcomes are not confirmed yet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Final, Self

from queuey.store.asides import Room
from queuey.worker.claims.queue_room import QueueRoom, queue_room
from queuey.worker.execution import Execution
from queuey.worker.executors.rooms import ExecutorRoom, TypeRoom
from queuey.worker.settings import WorkerSettings

MAX_UNCONFIRMED: Final = 2
"""The number of unconfirmed outcomes for each slot and shard with which no job is claimed."""


class Slots:
    """A worker's slots. A job takes one when it is claimed, and leaves it when its handler has ended.

    Its outcome is unconfirmed from then on, until the store or the server has accepted it. No slot counts as free while
    there are MAX_UNCONFIRMED for each slot and shard. A slot is free only if a job can begin in it: `rooms` are those
    of the executors, and `queues` that of queues with limits. By default one executor runs everything.
    """

    __slots__ = (
        "_confirmed",
        "_ended",
        "_most",
        "_room_of",
        "_rooms",
        "busy",
        "mixed",
        "queues",
        "total",
        "unconfirmed",
    )

    def __init__(
        self,
        total: int,
        rooms: Sequence[ExecutorRoom] = (),
        shards: int = 1,
        queues: QueueRoom | None = None,
    ) -> None:
        self.total = total
        self._most = MAX_UNCONFIRMED * total * shards
        self.queues = queues
        """The room of the queues; None if no queue has a limit."""
        self.mixed = len(rooms) > 1 or any(room.limited for room in rooms)
        """Whether not every job can begin where another can. Only then are their types needed to count them."""
        self._rooms = rooms or (ExecutorRoom("loop"),)
        self._room_of = {type: room for room in self._rooms for type in room.types}
        self.busy = 0
        self.unconfirmed = 0
        self._ended = asyncio.Event()
        self._ended.set()
        self._confirmed = asyncio.Event()
        self._confirmed.set()

    @classmethod
    def of(cls, settings: WorkerSettings, execution: Execution, shards: int) -> Self:
        """Return the slots of a worker with these settings, which runs the handlers of `execution`."""
        queues = queue_room(settings.queues, settings.queue_limits, execution.unreturned_in)
        return cls(settings.concurrency, execution.rooms, shards, queues)

    @property
    def free(self) -> int:
        """The number of jobs that may be claimed now."""
        if self.unconfirmed >= self._most:
            return 0
        most = self.total - self.busy
        if self.queues is not None:
            most = self.queues.least(most)
        if not self.mixed:
            return self._rooms[0].free(most)
        return min(most, sum(room.free(most) for room in self._rooms))

    @property
    def least(self) -> int:
        """The number of jobs that may be claimed now, whatever executor they need."""
        free = self.free
        return min(share.jobs for room in self._rooms for share in room.shares(free))

    @property
    def full(self) -> bool:
        """Whether no job may be claimed now."""
        return self.free <= 0

    def roomy(self) -> tuple[list[str], int] | None:
        """Return the queues that do not limit a claim, and the jobs that it may bring from these only; None if that is
        not more than from all."""
        if self.queues is None or not (free := self.free):
            return None
        most = min(self.total - self.busy, sum(room.free(self.total - self.busy) for room in self._rooms))
        queues = self.queues.roomy(most) if most > free else ()
        return (queues, most) if queues else None

    def rooms(self, most: int) -> list[Room]:
        """Return the shares of the types in each executor, as a claim of up to `most` jobs takes them."""
        return [Room(*share) for room in self._rooms for share in room.shares(most)]

    def knows(self, type: str) -> bool:
        """Return whether there is a handler for this type."""
        return type in self._room_of

    def room_of(self, type: str) -> ExecutorRoom | TypeRoom | None:
        """Return the room of a type that has its own, or of the executor that it needs; None for an unknown type."""
        room = self._room_of.get(type)
        return None if room is None else room.limited.get(type, room)

    def room_for(self, type: str) -> int:
        """Return the number of jobs of this type that can begin now; 0 for an unknown type."""
        room = self._room_of.get(type)
        return 0 if room is None else room.free_for(type, self.free)

    def room_in(self, queue: str) -> int:
        """Return the number of jobs of this queue that can begin now."""
        return self.free if self.queues is None else self.queues.free(queue, self.free)

    def take(self, count: int, types: Iterable[str] = ()) -> None:
        """Count jobs that have been claimed. `types` are theirs, needed only if the slots are mixed."""
        self.busy += count
        if not self.mixed:
            self._rooms[0].busy += count
        else:
            for type in types:
                self._count(type, 1)
        if self.busy:
            self._ended.clear()

    def leave(self, type: str) -> None:
        """Count a handler that has ended."""
        self.busy -= 1
        if self.mixed:
            self._count(type, -1)
        else:
            self._rooms[0].busy -= 1
        if not self.busy:
            self._ended.set()

    def _count(self, type: str, change: int) -> None:
        room = self._room_of.get(type)
        if room is not None:
            room.busy += change
            if room.limited and (limited := room.limited.get(type)) is not None:
                limited.busy += change

    def report(self) -> None:
        """Count an outcome that is being reported."""
        self.unconfirmed += 1
        if self.unconfirmed == 1:
            self._confirmed.clear()

    def confirm(self) -> None:
        """Count an outcome that was accepted or given up."""
        self.unconfirmed -= 1
        if not self.unconfirmed:
            self._confirmed.set()

    async def until_ended(self, seconds: float) -> None:
        """Wait until no handler runs, or the time is over."""
        await within(seconds, self._ended.wait())

    async def until_confirmed(self, seconds: float) -> None:
        """Wait until every outcome is confirmed, or the time is over."""
        await within(seconds, self._confirmed.wait())

    async def until_idle(self, seconds: float) -> None:
        """Wait until no handler runs and every outcome is confirmed, or the time is over."""
        await within(seconds, self._until_idle())

    async def _until_idle(self) -> None:
        while self.busy or self.unconfirmed:
            await self._ended.wait()
            await self._confirmed.wait()


async def within(seconds: float, waiting: Coroutine[Any, Any, Any]) -> None:
    """Wait for `waiting` to end, at most for this time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await waiting


def set_to(event: asyncio.Event, wanted: bool) -> None:
    """Set or clear an event."""
    if wanted:
        event.set()
    else:
        event.clear()
