"""Offers that go with enqueues: the store claims the new jobs for an idle claimer in the same script call.

docs/adr/0018-offer.md has the reasons.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from enum import Enum
from functools import partial
from typing import Final, NamedTuple, Protocol

from queuey.errors import StoreUnavailable
from queuey.protocol.records import NewJob, NewJobs, count_of, types_of
from queuey.protocol.renewal import renewal_of
from queuey.store.batching import OVERDUE, RESEND_CAP
from queuey.store.offers import Offer

PATIENCE: Final = RESEND_CAP + OVERDUE
"""Seconds after an enqueue without a reply in which it is sent again, if it ever is."""


Types = Callable[[], Collection[str]]
"""Reads the types of the jobs of an enqueue. A claimer calls it only if it does not take every type."""


class Settled(Enum):
    """The end of an offer."""

    TAKEN = "taken"
    """The enqueue has claimed jobs for it, which are in `claimed`."""
    DECLINED = "declined"
    """The enqueue was answered, and has claimed nothing."""
    UNKNOWN = "unknown"
    """An enqueue with it got no reply, and may have claimed. A claim with its claim id brings these jobs."""


class Offering(NamedTuple):
    """An offer, and the callback for its end, which is called once and must be short."""

    offer: Offer
    settle: Callable[[Settled], None]


class Claimer(Protocol):
    """Claims jobs in this process: a worker, or the requests of pull workers that wait."""

    def offer(self, shard: int, queue: str, types: Types) -> Offering | None:
        """Offer to take jobs of this queue with an enqueue that is about to start. None: nothing here is idle.

        The enqueue may hand over any of its jobs, up to the offer's limit. So the claimer must take all their types,
        and the limit must not exceed the room that it has for any of them. Until the offer is settled, the claimer
        makes no other claim in its place.
        """

    def expect(self, shard: int, items: Sequence[NewJob | NewJobs]) -> None:
        """Claim directly behind the enqueue of these jobs, which is about to start, if something here is idle."""


class ShardOffers:
    """The offer that is out with the enqueues of one shard. There is at most one.

    One enqueue carries it. If that gets no reply, the offer stays: later enqueues carry it too, until one of them is
    answered. So no copy of the first enqueue that comes late claims for a claimer that has asked already. If no enqueue
    follows within PATIENCE, or the lease of its jobs needs it, the claimer asks.
    """

    def __init__(self, shard: int, claimers: Sequence[Claimer]) -> None:
        self._shard = shard
        self._claimers = claimers
        self._out: Offering | None = None
        self._made_at = 0.0
        """The time at which the present offer was made, by the event loop's time."""
        self._is_doubtful = False
        """Whether an enqueue with the present offer got no reply."""
        self._alarm: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def next(self, items: Sequence[NewJob | NewJobs], *, new: bool) -> Offer | None:
        """Return the offer for an enqueue of these jobs, which is about to start. `new`: whether it may be a new one.

        Unless a new offer has room for all jobs, the claimers expect them, as they do without offers.
        """
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        carried = self._out.offer if self._out is not None and self._is_doubtful else None
        if self._out is None and new:
            self._out, self._made_at = self._new(items), self._loop.time()
            if self._out is not None:
                carried = self._out.offer
                if sum(map(count_of, items)) <= carried.limit:
                    return carried
        for claimer in self._claimers:
            claimer.expect(self._shard, items)
        return carried

    def _new(self, items: Sequence[NewJob | NewJobs]) -> Offering | None:
        """Return the offer of the first claimer that is idle, if the script can claim these jobs."""
        queue = _one_queue(items)
        if queue is not None:
            types = partial(types_of, items)
            for claimer in self._claimers:
                offering = claimer.offer(self._shard, queue, types)
                if offering is not None:
                    return offering
        return None

    def answered(self, offer: Offer | None) -> None:
        """Settle the offer, if the enqueue that the store has answered carried it."""
        if self._out is None or self._out.offer is not offer:
            return
        if self._out.offer.claimed is not None:
            self._settle(Settled.TAKEN)
        else:
            self._settle(Settled.UNKNOWN if self._is_doubtful else Settled.DECLINED)

    def failed(self, offer: Offer | None, error: Exception) -> None:
        """Keep the offer if the enqueue that carried it may have run. Settle it otherwise."""
        if self._out is None or self._out.offer is not offer:
            return
        if not isinstance(error, StoreUnavailable):
            self._settle(Settled.UNKNOWN)
        elif error.maybe_done or self._is_doubtful:
            self._is_doubtful = True
            now, renewal = self._loop.time(), renewal_of(self._out.offer.lease_ms / 1000)
            ask_at = min(now + min(PATIENCE, renewal), self._made_at + 2 * renewal)
            self._alarm = self._loop.call_at(ask_at, self._settle, Settled.UNKNOWN)
        else:
            self._settle(Settled.DECLINED)

    def _settle(self, settled: Settled) -> None:
        out, self._out, self._is_doubtful, self._alarm = self._out, None, False, None
        if out is not None:
            out.settle(settled)


def _one_queue(items: Sequence[NewJob | NewJobs]) -> str | None:
    """Return the queue of all these jobs, if the script enqueues them the plain way into one lane of it."""
    queue, priority = items[0].queue, items[0].priority
    for item in items:
        if item.queue != queue or item.priority != priority or not item.is_due:
            return None
        if isinstance(item, NewJob) and item.dedupe:
            return None
    return queue
