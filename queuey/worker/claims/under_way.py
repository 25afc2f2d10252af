"""The claims and offers of a worker that have no answer yet. One that is late no longer holds up the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from queuey.lifecycle import Alarm
from queuey.worker.turns import Turns

LATE_SECONDS: Final = 0.5
"""Seconds for which claims on the other shards wait for an answer, and for which its slots are reserved. An ordinary
sync of the store takes less."""


class UnderWay:
    """The claim or offer that the next one waits for, and the late ones, at most one on each shard.

    A shard whose claim is late is left out of `turns` until that is answered. With one shard no claim is ever late.
    `on_late` of `begin` is called when it becomes late.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._current: int | None = None
        self._late: set[int] = set()
        self._alarm: Alarm | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def is_awaited(self) -> bool:
        """Whether the next claim has to wait."""
        return self._current is not None

    def __bool__(self) -> bool:
        """Whether there is any, late or not."""
        return self._current is not None or bool(self._late)

    def is_late(self, shard: int) -> bool:
        """Return whether the claim on a shard is late."""
        return shard in self._late

    def begin(self, shard: int, on_late: Callable[[], None]) -> None:
        """Note a claim or an offer on a shard that has none."""
        self._current = shard
        if self._turns.shards > 1:
            self._alarm = Alarm(self._loop.time() + LATE_SECONDS, partial(self._now_late, shard, on_late))

    def end(self, shard: int) -> None:
        """Note that the claim or offer on a shard has ended."""
        if shard in self._late:
            self._late.discard(shard)
            self._turns.include(shard)
        elif self._current == shard:
            self._current = None
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None

    def _now_late(self, shard: int, on_late: Callable[[], None]) -> None:
        self._current = self._alarm = None
        self._late.add(shard)
        self._turns.leave_out(shard)
        on_late()
