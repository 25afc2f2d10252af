"""The counts of a worker's jobs: which slots are in use, where, and which outcomes are not confirmed yet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from queuey.store.asides import Room
from queuey.worker.executors.rooms import ExecutorRoom


class Slots:
    """A worker's slots. A job takes one when it is claimed, and leaves it when its handler has ended.

    Its outcome is unconfirmed from then on, until the store or the server has accepted it. No slot counts as free while
    the unconfirmed outcomes are twice as many as the slots. A slot is free only if a job can begin in it: `rooms` are
    those of the executors. By default one executor runs everything.
    """

    __slots__ = ("_confirmed", "_ended", "_room_of", "_rooms", "busy", "mixed", "total", "unconfirmed")

    def __init__(self, total: int, rooms: Sequence[ExecutorRoom] = ()) -> None:
        self.total = total
        self.mixed = len(rooms) > 1
        """Whether the jobs need different executors. Only then are their types needed to count them."""
        self._rooms = rooms or (ExecutorRoom("loop"),)
        self._room_of = {type: room for room in self._rooms for type in room.types}
        self.busy = 0
        self.unconfirmed = 0
        self._ended = asyncio.Event()
        self._ended.set()
        self._confirmed = asyncio.Event()
        self._confirmed.set()

    @property
    def free(self) -> int:
        """The number of jobs that may be claimed now."""
        if self.unconfirmed >= 2 * self.total:
            return 0
        most = self.total - self.busy
        if not self.mixed:
            return self._rooms[0].free(most)
        return min(most, sum(room.free(most) for room in self._rooms))

    @property
    def least(self) -> int:
        """The number of jobs that may be claimed now, whatever executor they need."""
        free = self.free
        return min(room.free(free) for room in self._rooms)

    @property
    def full(self) -> bool:
        """Whether no job may be claimed now."""
        return self.free <= 0

    def rooms(self) -> list[Room]:
        """Return the room of each executor, as a claim takes it."""
        most = self.free
        return [Room(room.free(most), room.types) for room in self._rooms]

    def knows(self, type: str) -> bool:
        """Return whether there is a handler for this type."""
        return type in self._room_of

    def room_of(self, type: str) -> ExecutorRoom | None:
        """Return the room of the executor that a type needs; None for an unknown type."""
        return self._room_of.get(type)

    def room_for(self, type: str) -> int:
        """Return the number of jobs of this type that can begin now; 0 for an unknown type."""
        room = self._room_of.get(type)
        return 0 if room is None else room.free(self.free)

    def take(self, count: int, types: Iterable[str] = ()) -> None:
        """Count jobs that have been claimed. `types` are theirs, needed only if the slots are mixed."""
        self.busy += count
        if not self.mixed:
            self._rooms[0].busy += count
        else:
            for type in types:
                if (room := self._room_of.get(type)) is not None:
                    room.busy += 1
        if self.busy:
            self._ended.clear()

    def leave(self, type: str) -> None:
        """Count a handler that has ended."""
        self.busy -= 1
        room = self._room_of.get(type) if self.mixed else self._rooms[0]
        if room is not None:
            room.busy -= 1
        if not self.busy:
            self._ended.set()

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
