"""The counts of a worker's jobs: which slots are in use, and which outcomes are not confirmed yet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any


class Slots:
    """A worker's slots. A job takes one when it is claimed, and leaves it when its handler has ended.

    Its outcome is unconfirmed from then on, until the store or the server has accepted it. No slot counts as free while
    the unconfirmed outcomes are twice as many as the slots.
    """

    __slots__ = ("_confirmed", "_ended", "busy", "total", "unconfirmed")

    def __init__(self, total: int) -> None:
        self.total = total
        self.busy = 0
        self.unconfirmed = 0
        self._ended = asyncio.Event()
        self._ended.set()
        self._confirmed = asyncio.Event()
        self._confirmed.set()

    @property
    def free(self) -> int:
        """The number of jobs that may be claimed now."""
        return self.total - self.busy if self.unconfirmed < 2 * self.total else 0

    @property
    def full(self) -> bool:
        """Whether no job may be claimed now."""
        return self.free <= 0

    def take(self, count: int) -> None:
        """Count jobs that have been claimed."""
        self.busy += count
        if self.busy:
            self._ended.clear()

    def leave(self) -> None:
        """Count a handler that has ended."""
        self.busy -= 1
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
