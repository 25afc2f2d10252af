"""The order in which a worker claims from shards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from queuey.store.wakeups import REST_SECONDS


class Turns:
    """The shards that may hold claimable jobs. `on_change` is called when one joins them."""

    rests = False
    """Whether the last claim said that the worker gets nothing for now. It waits for no marker then."""

    def __init__(self, shards: int, on_change: Callable[[], None]) -> None:
        self._hot: dict[int, None] = dict.fromkeys(range(shards))
        """The shards, in the order of their turn."""
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()

    def __bool__(self) -> bool:
        """Whether there is a shard to claim from."""
        return bool(self._hot)

    def next(self) -> int:
        """Take the shard whose turn it is."""
        shard = next(iter(self._hot))
        del self._hot[shard]
        return shard

    def wake(self, shard: int) -> None:
        """Add a shard behind the others, unless it is there already."""
        self._hot.setdefault(shard)
        self._on_change()

    def answered(self, shard: int, *, more: bool, due_in_ms: int, rests: bool = False) -> None:
        """Add a shard again after a claim: now if it holds more jobs, else when a job is due, or after a rest."""
        self.rests = rests
        if rests:
            due_in_ms = round(REST_SECONDS * 1000)
        if more:
            self._hot.setdefault(shard)
        old = self._timers.pop(shard, None)
        if old is not None:
            old.cancel()
        if due_in_ms >= 0:
            self._timers[shard] = self._loop.call_later(due_in_ms / 1000, self.wake, shard)

    def stop(self) -> None:
        """Cancel the timers for jobs that are due later."""
        for timer in self._timers.values():
            timer.cancel()
