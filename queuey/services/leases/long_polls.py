"""Requests that wait for work, until a marker or a timer wakes them. All of it runs in one event loop."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from queuey.errors import Full
from queuey.protocol.records import NewJob, NewJobs, count_of, type_of_each
from queuey.services.jobs.offers import Offering, Settled
from queuey.services.jobs.offers import Types as ReadTypes
from queuey.store.asides import KnownAsides
from queuey.store.offers import Offer
from queuey.store.wakeups import Aside

MAX_PLACES: Final = 200_000
"""The maximum sum of the queues and types of all requests that wait."""
FARTHEST_MS: Final = 61_000
"""No request waits longer, so a job that is due later needs no timer."""

Wake = Sequence[int]
"""The shards that may have work; empty when the wait is over."""


Types = frozenset[str] | None
"""The types that a request takes now. None: all."""


class Poll:
    """One request that waits for jobs of its queues and types. Without queues it only waits for its end."""

    __slots__ = ("group", "has_ended", "looks", "marker", "number", "offered", "types", "wakeup")

    def __init__(self, queues: Iterable[str], types: Types = None) -> None:
        self.group = tuple(sorted(queues))
        self.types = types
        self.number = 0
        self.wakeup: asyncio.Future[Wake] | None = None
        self.marker: Aside | None = None
        """The marker that woke it: shard, queue and type. If it does not claim, another request gets the marker."""
        self.looks = True
        """Whether its next claim looks at the lists without an order too: at first, and whenever a round has ended."""
        self.offered: Offer | None = None
        """The offer that is out for it, or that has woken it."""
        self.has_ended = False
        """Whether its wait is over, as soon as its offer is settled."""

    def offer(self, shard: int, types: Collection[str]) -> Offer | None:
        """Return the claim that it would make now for jobs of these types, as an offer; None if it would make none."""
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
    """The polls of the same queues and types, woken in their order, and timers for the jobs that are due next."""

    __slots__ = ("polls", "timers", "types")

    def __init__(self, types: Types) -> None:
        self.types = types
        self.polls: dict[Poll, None] = {}
        self.timers: dict[int, asyncio.TimerHandle] = {}

    @property
    def first(self) -> Poll:
        return next(iter(self.polls))

    def takes(self, types: Collection[str]) -> bool:
        """Return whether its polls take jobs of all these types."""
        return self.types is None or self.types.issuperset(types)


class LongPolls:
    """All requests that wait in this process: the Pollers of its SharedWakers.

    `known` are the lists set aside that the store has named to this process.
    """

    def __init__(self) -> None:
        self.known = KnownAsides()
        self.some = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._groups: dict[tuple[tuple[str, ...], Types], _Group] = {}
        self._by_queue: dict[str, dict[_Group, None]] = {}
        self._places = 0
        self._typed = 0
        """The number of groups that take only some types."""
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
        if self._places + _places(poll) > MAX_PLACES:
            raise Full("Too many requests wait for work here; name fewer queues or types, or try again in a moment.")
        wakeup = poll.wakeup = self._loop.create_future()
        poll.marker = poll.offered = None
        poll.has_ended = poll.looks = False
        if self._closed:
            poll.end()
            return wakeup
        poll.number = next(self._numbers)
        key = poll.group, poll.types
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(poll.types)
            self._typed += poll.types is not None
            for queue in poll.group:
                self._by_queue.setdefault(queue, {})[group] = None
        group.polls[poll] = None
        self._places += _places(poll)
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
        key = poll.group, poll.types
        group = self._groups.get(key)
        if group is None or poll not in group.polls:
            return
        del group.polls[poll]
        self._places -= _places(poll)
        if group.polls:
            return
        for timer in group.timers.values():
            timer.cancel()
        del self._groups[key]
        self._typed -= poll.types is not None
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

    def asides(self, shards: Sequence[int]) -> Collection[Aside]:
        """Return the known lists set aside from which a poll would claim."""
        return [place for queue in self._by_queue for place in self._asides_of(queue, shards)]

    def asides_of(self, poll: Poll, shards: Sequence[int]) -> Collection[Aside]:
        """Return the known lists set aside from which this poll would claim."""
        return [
            (shard, queue, name)
            for queue in poll.group
            for shard in shards
            for name in self.known.types(shard, queue)
            if poll.types is None or name in poll.types
        ]

    def _asides_of(self, queue: str, shards: Sequence[int]) -> Iterator[Aside]:
        for shard in shards:
            for name in self.known.types(shard, queue):
                if self._first_for(queue, (name,)) is not None:
                    yield shard, queue, name

    def wake(self, shard: int, queue: str, type: str = "") -> bool:
        """Wake the poll that has waited longest for this queue and type, by a marker. False: none waits for it."""
        poll = self._first_for(queue, (type,) if type else ())
        if poll is None:
            return False
        poll.marker = (shard, queue, type)
        self._wake(poll, (shard,))
        return True

    def wake_each(self, shards: Sequence[int]) -> None:
        """Wake the first poll of each group."""
        for group in list(self._groups.values()):
            poll = group.first
            self._wake(poll, shards)
            poll.looks = True

    def learned(self, shard: int, new: Iterable[tuple[str, str]]) -> bool:
        """Wake a poll for each list (queue, type) that is new to this process. Returns whether one takes such a type.

        They have no marker, which stays for the next one that waits for the type.
        """
        some = False
        for queue, name in new:
            poll = self._first_for(queue, (name,))
            if poll is not None:
                some = True
                self._wake(poll, (shard,))
        return some

    def offer(self, shard: int, queue: str, types: ReadTypes) -> Offering | None:
        """Make an offer for the poll that has waited longest for this queue and types. It leaves those that wait.

        There is none while the queue has a list set aside, since its jobs may come first.
        """
        if not self._by_queue or self.known.lists(shard, queue):
            return None
        wanted = types() if self._typed else ()
        poll = self._first_for(queue, wanted)
        if poll is None:
            return None
        poll.offered = poll.offer(shard, wanted)
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
            if not item.is_due:
                continue
            for name in type_of_each(item) if self._typed else [""] * count_of(item):
                if item.queue not in self._by_queue:
                    break
                poll = self._first_for(item.queue, (name,) if name else ())
                if poll is not None:
                    self._wake(poll, (shard,))

    def _first_for(self, queue: str, types: Collection[str] = ()) -> Poll | None:
        """Return the poll that has waited longest for this queue and takes these types."""
        groups = self._by_queue.get(queue, ())
        firsts = [group.first for group in groups if group.takes(types)]
        return min(firsts, key=_number) if firsts else None

    def _wake(self, poll: Poll, wake: Wake) -> None:
        self.leave(poll)
        poll.wake(wake)

    def _on_time(self, group: _Group, shard: int) -> None:
        del group.timers[shard]
        self._wake(group.first, (shard,))


def _places(poll: Poll) -> int:
    return len(poll.group) + len(poll.types or ())


def _number(poll: Poll) -> int:
    return poll.number
