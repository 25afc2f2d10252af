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
        self.shards = shards
        self._left_out: dict[int, int] = {}
        """How often each shard was left out and not included again."""
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
        """Add a shard behind the others, unless it is there already or is left out."""
        if shard not in self._left_out:
            self._hot.setdefault(shard)
            self._on_change()

    def wake_all(self) -> None:
        """Add every shard, as `wake` does."""
        for shard in range(self.shards):
            self.wake(shard)

    def leave_out(self, shard: int) -> None:
        """Leave a shard out, whatever wakes it, until `include` was called as often."""
        self._left_out[shard] = self._left_out.get(shard, 0) + 1
        self._hot.pop(shard, None)

    def include(self, shard: int) -> None:
        """Add a shard again that was left out, since it may hold jobs by now."""
        self._left_out[shard] -= 1
        if not self._left_out[shard]:
            del self._left_out[shard]
            self.wake(shard)

    def leaves_out(self, shard: int) -> bool:
        """Return whether a shard is left out now."""
        return shard in self._left_out

    def answered(self, shard: int, *, more: bool, due_in_ms: int, rests: bool = False) -> None:
        """Add a shard again after a claim: now if it holds more jobs, else when a job is due, or after a rest."""
        self.rests = rests
        if rests:
            due_in_ms = round(REST_SECONDS * 1000)
        if more and shard not in self._left_out:
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
