"""Reports about running attempts: collected, and sent together; of each attempt only the last one counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

Report = TypeVar("Report")
Attempt = tuple[str, str]
"""A job's id and the token of its lease."""


class LeasedAttempt(Protocol):
    """A job under a lease."""

    id: str
    token: str


class LatestReports(Generic[Report]):
    """Collects the last report of each attempt, and calls `send` at most once in `interval` seconds.

    The first report is sent at once. `most`: the maximum number of attempts that wait; the reports of others are
    dropped. Make it inside the running loop; `record` may be called from any thread.
    """

    def __init__(
        self, send: Callable[[Sequence[tuple[Attempt, Report]]], Awaitable[None]], interval: float, most: int
    ) -> None:
        self._send = send
        self._interval = interval
        self._most = most
        self._latest: dict[Attempt, Report] = {}
        self._armed = False
        """Whether a flush is due or running. A flush looks for new reports when it ends."""
        self._sent_at = float("-inf")
        self._flushing: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    def record(self, attempt: Attempt, report: Report) -> None:
        """Send a report soon.

        Each step is atomic under the interpreter's lock, and in this order no report is missed.
        """
        if len(self._latest) >= self._most and attempt not in self._latest:
            return
        self._latest[attempt] = report
        if not self._armed:
            self._armed = True
            with suppress(RuntimeError):  # the loop is closed: a thread was left behind
                self._loop.call_soon_threadsafe(self._arm)

    def keep(self, attempt: Attempt, report: Report) -> None:
        """Send a report again, unless there is a later one."""
        if attempt not in self._latest:
            self.record(attempt, report)

    async def flush(self) -> None:
        """Send what waits now, once more than is under way."""
        if self._flushing is not None:
            await asyncio.wait([self._flushing])
        if self._latest:
            await self._send(self._taken())

    def _arm(self) -> None:
        self._loop.call_at(max(self._loop.time(), self._sent_at + self._interval), self._start)

    def _start(self) -> None:
        self._flushing = self._loop.create_task(self._flush())

    async def _flush(self) -> None:
        self._sent_at = self._loop.time()
        try:
            await self._send(self._taken())
        finally:
            self._armed = False
            if self._latest:
                self._armed = True
                self._arm()

    def _taken(self) -> list[tuple[Attempt, Report]]:
        return [self._latest.popitem() for _ in range(len(self._latest))]
