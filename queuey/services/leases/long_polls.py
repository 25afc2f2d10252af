"""Requests that wait for work, until a marker or a timer wakes them. All of it runs in one event loop."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Final

from queuey.errors import Full
from queuey.protocol.records import NewJob, NewJobs
from queuey.services.jobs.offers import Offering, Settled, Types
from queuey.store.broker.offers import Offer

MAX_PLACES: Final = 200_000
"""The maximum sum of the queues of all requests that wait."""
FARTHEST_MS: Final = 61_000
"""No request waits longer, so a job that is due later needs no timer."""

Wake = Sequence[int]
"""The shards that may have work; empty when the wait is over."""


class Poll:
    """One request that waits for jobs of its queues. Without queues it only waits for its end."""

    __slots__ = ("group", "has_ended", "marker", "number", "offered", "wakeup")

    def __init__(self, queues: Iterable[str]) -> None:
        self.group = tuple(sorted(queues))
        self.number = 0
        self.wakeup: asyncio.Future[Wake] | None = None
        self.marker: tuple[int, str] | None = None
        """The marker that woke it. If it does not claim, another request gets the marker."""
        self.offered: Offer | None = None
        """The offer that is out for it, or that has woken it."""
        self.has_ended = False
        """Whether its wait is over, as soon as its offer is settled."""

    def offer(self, shard: int) -> Offer | None:
        """Return the claim that it would make now on a shard, as an offer; None if it would make none."""
        return None

    def settle(self, shard: int, settled: Settled) -> None:
        """Wake it, since its offer has come to its end: with jobs for it, or without."""
        if settled is Settled.DECLINED:
            self.offered = None
        self.wake(() if settled is Settled.DECLINED and self.has_ended else (shard,))

    def end(self, *_: object) -> None:
        """End the wait. While an offer is out, it ends with that, since it may bring jobs."""
        if self.offered is not None:
            self.has_ended = True
        else:
            self.wake(())

    def wake(self, wake: Wake) -> None:
        """Wake it to claim from these shards."""
        if self.wakeup is not None and not self.wakeup.done():
            self.wakeup.set_result(wake)


class _Group:
    """The polls of the same queues, woken in their order, and timers for the jobs that are due next."""

    __slots__ = ("polls", "timers")

    def __init__(self) -> None:
        self.polls: dict[Poll, None] = {}
        self.timers: dict[int, asyncio.TimerHandle] = {}

    @property
    def first(self) -> Poll:
        return next(iter(self.polls))


class LongPolls:
    """All requests that wait in this process: the Pollers of its SharedWakers."""

    def __init__(self) -> None:
        self.some = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._groups: dict[tuple[str, ...], _Group] = {}
        self._by_queue: dict[str, dict[_Group, None]] = {}
        self._places = 0
        self._closed = False

    @property
    def queues(self) -> Collection[str]:
        """The queues that requests wait for."""
        return self._by_queue.keys()

    @property
    def count(self) -> int:
        """The number of requests that wait."""
        return sum(len(group.polls) for group in self._groups.values())

    # --- for requests ---------------------------------------------------------------------------------------------

    def join(self, poll: Poll) -> asyncio.Future[Wake]:
        """Add a poll, and return the future of its wake-up. Raises Full when too many requests wait."""
        if self._places + len(poll.group) > MAX_PLACES:
            raise Full("Too many requests wait for work here; wait for fewer queues, or try again in a moment.")
        wakeup = poll.wakeup = self._loop.create_future()
        poll.marker = poll.offered = None
        poll.has_ended = False
        if self._closed:
            poll.end()
            return wakeup
        poll.number = next(self._numbers)
        group = self._groups.get(poll.group)
        if group is None:
            group = self._groups[poll.group] = _Group()
            for queue in poll.group:
                self._by_queue.setdefault(queue, {})[group] = None
        group.polls[poll] = None
        self._places += len(poll.group)
        self.some.set()
        return wakeup

    def due(self, queues: Iterable[str], shard: int, in_ms: int) -> None:
        """Set a timer for the next job of these queues on a shard. It wakes the first poll of each group."""
        if not 0 <= in_ms <= FARTHEST_MS:
            return
        at = self._loop.time() + in_ms / 1000
        for group in {group for queue in queues for group in self._by_queue.get(queue, ())}:
            old = group.timers.get(shard)
            if old is None or old.when() > at:
                if old is not None:
                    old.cancel()
                group.timers[shard] = self._loop.call_at(at, self._on_time, group, shard)

    def leave(self, poll: Poll) -> None:
        """Remove a poll, if it still waits."""
        group = self._groups.get(poll.group)
        if group is None or poll not in group.polls:
            return
        del group.polls[poll]
        self._places -= len(poll.group)
        if group.polls:
            return
        for timer in group.timers.values():
            timer.cancel()
        del self._groups[poll.group]
        for queue in poll.group:
            groups = self._by_queue[queue]
            del groups[group]
            if not groups:
                del self._by_queue[queue]
        if not self._groups:
            self.some.clear()

    def close(self) -> None:
        """End all waiting, including that of polls that come later."""
        self._closed = True
        for group in list(self._groups.values()):
            for poll in list(group.polls):
                self.leave(poll)
                poll.end()

    @property
    def closed(self) -> bool:
        """Whether all waiting is over."""
        return self._closed

    # --- for wakers -----------------------------------------------------------------------------------------------

    def wake(self, shard: int, queue: str) -> bool:
        """Wake the poll that has waited longest for this queue, by a marker. Returns False if none waits for it."""
        poll = self._first_for(queue)
        if poll is None:
            return False
        poll.marker = (shard, queue)
        self._wake(poll, (shard,))
        return True

    def wake_each(self, shards: Sequence[int]) -> None:
        """Wake the first poll of each group."""
        for group in list(self._groups.values()):
            self._wake(group.first, shards)

    def offer(self, shard: int, queue: str, types: Types) -> Offering | None:
        """Make an offer for the poll that has waited longest for this queue. It leaves those that wait."""
        poll = self._first_for(queue)
        if poll is None:
            return None
        poll.offered = poll.offer(shard)
        if poll.offered is None:
            return None
        self.leave(poll)
        return Offering(poll.offered, partial(poll.settle, shard))

    def expect(self, shard: int, jobs: Iterable[NewJob | NewJobs]) -> None:
        """Wake polls for jobs that this process is about to enqueue.

        They claim directly behind the enqueue and do not wait for the marker.
        """
        if not self._by_queue:
            return
        for item in jobs:
            for _ in range(len(item.ids) if isinstance(item, NewJobs) else 1):
                poll = self._first_for(item.queue) if item.is_due else None
                if poll is None:
                    break
                self._wake(poll, (shard,))

    def _first_for(self, queue: str) -> Poll | None:
        """Return the poll that has waited longest for this queue."""
        groups = self._by_queue.get(queue)
        return min((group.first for group in groups), key=lambda first: first.number) if groups else None

    def _wake(self, poll: Poll, wake: Wake) -> None:
        self.leave(poll)
        poll.wake(wake)

    def _on_time(self, group: _Group, shard: int) -> None:
        del group.timers[shard]
        self._wake(group.first, (shard,))
