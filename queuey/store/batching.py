"""Group commit: concurrent calls of one kind become one script call per shard.

While one flush is under way, the next one gathers items, so nothing waits for a timer. If many wait, it begins at once:
the store then finds it when it has synced the one before. An ordinary flush needs no task:
its items are answered where the reply of the store is read (store/taskless.py). If the store does not answer a flush,
it is sent again with the same items until their deadlines have passed; every script allows that. An item is answered at
most OVERDUE after its deadline, whatever the store does, so a client never waits longer.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, Generic, TypeVar, cast

from queuey.errors import Full, OutcomeUnknown, ScriptFailed, StartupError, StoreUnavailable
from queuey.lifecycle import Alarm, Retrying, call_after_passes
from queuey.store.broker.calls import MAX_BATCH, MAX_BYTES
from queuey.store.taskless import Pending, Taskless

Item = TypeVar("Item")
Reply = TypeVar("Reply")

RESEND_FIRST: Final = 0.02
RESEND_CAP: Final = 1.0
"""Seconds between two sends of one flush, doubled each time."""
MAX_FLUSHES: Final = 2
OVERDUE: Final = 0.4
"""Seconds from the deadline of an item until it is given up, even if a reply may still come."""


Answer = Callable[[Reply | None, Exception | None], None]
"""Called once with an item's reply, or with an error instead."""


class _Entry(Generic[Item, Reply]):
    __slots__ = ("answer", "answered", "count", "deadline", "item", "maybe_done", "size")

    def __init__(self, item: Item, size: int, count: int, deadline: float, answer: Answer[Reply]) -> None:
        self.item = item
        self.size = size
        self.count = count
        self.deadline = deadline
        self.answer = answer
        self.answered = False
        self.maybe_done = False

    def settle(self, reply: Reply | None, error: Exception | None) -> None:
        if self.answered:
            return
        self.answered = True
        try:
            self.answer(reply, error)
        except Exception as fault:  # report it, as for any callback: the other items must get their answers
            context = {"message": "The callback for a reply of the store failed", "exception": fault}
            asyncio.get_running_loop().call_exception_handler(context)


class Batcher(Generic[Item, Reply]):
    """Gathers items for one shard and one script.

    `send` takes a batch and returns one reply per item. `resend_for` is the time in seconds for which an item is sent
    again. While `max_waiting` jobs wait, another item is refused at once with StoreUnavailable. An item may stand for
    several jobs, at most `max_batch`: `count` says how many.

    `ahead`: the number of waiting jobs from which a flush begins while another one is under way. None: it never does.
    `answer_after`: the number of passes of the event loop from the reply of the store until the items are answered.
    So the calls that follow the reply are written first, and the store works while the items are answered.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Item]], Awaitable[Sequence[Reply]]],
        *,
        resend_for: float,
        max_waiting: int = 20_000,
        max_batch: int = MAX_BATCH,
        max_bytes: int = MAX_BYTES,
        ahead: int | None = None,
        answer_after: int = 0,
    ) -> None:
        self._send = send
        self._resend_for = resend_for
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._max_bytes = max_bytes
        self._ahead = ahead
        self._answer_after = answer_after
        self._waiting: deque[_Entry[Item, Reply]] = deque()
        self._jobs_waiting = 0
        self._in_flight: dict[int, list[_Entry[Item, Reply]]] = {}
        """The items of each flush under way, by its number."""
        self._flushers: dict[int, Taskless] = {}
        """What runs each of them, so that it is not collected."""
        self._late_batches = 0
        """Batches that have a reply, and whose items are answered in a later pass."""
        self._numbers = itertools.count()
        self._is_beginning = False
        self._alarm: Alarm | None = None
        self._corked = False
        self._uncorked: Pending | None = None
        """What the flusher waits for while it is corked."""
        self._idle = asyncio.Event()
        """Set while no flush is under way or about to begin, and no item waits for its answer."""
        self._idle.set()
        self._loop = asyncio.get_running_loop()

    @property
    def room(self) -> int:
        """The number of further jobs that may wait."""
        return self._max_waiting - self._jobs_waiting

    def submit(self, item: Item, size: int = 100, count: int = 1) -> asyncio.Future[Reply]:
        """Submit an item of about `size` bytes, and return the future of its reply.

        Raises StoreUnavailable when too many items wait. The future fails with StoreUnavailable (not done),
        OutcomeUnknown (perhaps done), or the script's own error. Cancelling the future does not stop the call.
        """
        future: asyncio.Future[Reply] = self._loop.create_future()
        self.tell(item, size, partial(_answer_future, future), count)
        return future

    def tell(self, item: Item, size: int, answer: Answer[Reply], count: int = 1) -> None:
        """Submit an item whose reply is passed to `answer` at once, so `answer` must be short."""
        if self._jobs_waiting >= self._max_waiting:
            raise StoreUnavailable("Too many calls wait for the store; try again in a moment.")
        self._jobs_waiting += count
        self._waiting.append(_Entry(item, size, count, self._loop.time() + self._resend_for, answer))
        if not self._is_beginning:
            self._begin_if_due()
        if self._alarm is None:
            self._alarm = Alarm(self._loop.time() + self._resend_for + OVERDUE, self._give_up_overdue)

    @contextmanager
    def corked(self) -> Iterator[None]:
        """Begin no flush within this context.

        A flush that is due by its end is sent before the context is left, so it goes before the calls that follow, in
        one write with them. A flush that became due in the same pass may wait for the next end.
        """
        self._corked = True
        try:
            yield
        finally:
            self._corked = False
            if self._uncorked is not None:
                uncorked, self._uncorked = self._uncorked, None
                uncorked.settle(None, None)

    async def drain(self) -> None:
        """Wait until every item has its answer."""
        while not self._idle.is_set():
            await self._idle.wait()

    def _begin_if_due(self) -> None:
        """Begin a flush in the next pass of the event loop, so that what comes in this pass goes with it."""
        many_wait = self._ahead is not None and self._jobs_waiting >= self._ahead
        if len(self._in_flight) < (MAX_FLUSHES if many_wait else 1):
            self._is_beginning = True
            self._idle.clear()
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._is_beginning = False
        number = next(self._numbers)
        self._in_flight[number] = []
        flusher = Taskless(self._loop, self._flush_next(number))
        if number in self._in_flight:
            self._flushers[number] = flusher

    async def _flush_next(self, number: int) -> None:
        try:
            if self._corked:
                self._uncorked = Pending(loop=self._loop)
                await self._uncorked
            if self._waiting:  # else all were given up as overdue
                batch = self._in_flight[number] = self._next_batch()
                await self._flush(batch)
        finally:
            del self._in_flight[number]
            self._flushers.pop(number, None)
            if not self._is_beginning:
                if self._waiting and not self._loop.is_closed():  # as it is if the process ends during a flush
                    self._begin_if_due()
                else:
                    self._note_idle()

    def _note_idle(self) -> None:
        if not (self._is_beginning or self._in_flight or self._late_batches):
            self._idle.set()

    def _give_up_overdue(self) -> None:
        """Give up overdue items. One timer is enough: it fires for the oldest item, since all wait equally long."""
        now = self._loop.time()
        in_flight = [entry for batch in self._in_flight.values() for entry in batch]
        for entry in in_flight:
            if entry.deadline + OVERDUE <= now:
                entry.settle(None, OutcomeUnknown("The store did not answer in time. It may have been done."))
        while self._waiting and self._waiting[0].deadline + OVERDUE <= now:
            self._next_waiting().settle(None, StoreUnavailable("The store did not answer in time."))
        pending = (entry for entry in (*in_flight, *self._waiting) if not entry.answered)
        oldest = next(pending, None)
        self._alarm = Alarm(oldest.deadline + OVERDUE, self._give_up_overdue) if oldest else None

    def _next_waiting(self) -> _Entry[Item, Reply]:
        entry = self._waiting.popleft()
        self._jobs_waiting -= entry.count
        return entry

    def _next_batch(self) -> list[_Entry[Item, Reply]]:
        batch = [self._next_waiting()]
        size, count = batch[0].size, batch[0].count
        while self._waiting:
            size += self._waiting[0].size
            count += self._waiting[0].count
            if size > self._max_bytes or count > self._max_batch:
                break
            batch.append(self._next_waiting())
        return batch

    async def _flush(self, batch: list[_Entry[Item, Reply]]) -> None:
        """Send the batch until it is answered. An item whose deadline has passed is given up on its own."""
        retries: Retrying | None = None
        while batch:
            try:
                replies = await self._send([entry.item for entry in batch])
                self._answer(batch, replies)
                return
            except StoreUnavailable as error:
                batch = self._still_wanted(batch, error)
                retries = retries or Retrying(RESEND_FIRST, RESEND_CAP)
                await retries.wait(at_most=self._time_left(batch))
            except (Full, StartupError) as error:
                for entry in batch:
                    entry.settle(None, error)
                return
            except Exception as error:  # ScriptFailed, or an item that cannot be encoded
                if len(batch) == 1:
                    batch[0].settle(None, error)
                    return
                for entry in batch:  # one by one, so that only the bad item fails
                    await self._flush([entry])
                return

    def _answer(self, batch: Sequence[_Entry[Item, Reply]], replies: Sequence[Reply]) -> None:
        if len(replies) != len(batch):
            raise ScriptFailed(f"The store gave {len(replies)} answers to {len(batch)} items.")
        if self._answer_after:
            self._late_batches += 1
            call_after_passes(self._answer_after, self._answer_late, batch, replies)
        else:
            _settle(batch, replies)

    def _answer_late(self, batch: Sequence[_Entry[Item, Reply]], replies: Sequence[Reply]) -> None:
        self._late_batches -= 1
        _settle(batch, replies)
        self._note_idle()

    def _time_left(self, batch: list[_Entry[Item, Reply]]) -> float:
        """Return the seconds until the first deadline, at which the batch is sent a last time."""
        return max(0.0, batch[0].deadline - self._loop.time()) if batch else 0.0

    def _still_wanted(self, batch: list[_Entry[Item, Reply]], error: StoreUnavailable) -> list[_Entry[Item, Reply]]:
        now = self._loop.time()
        kept = []
        for entry in batch:
            entry.maybe_done = entry.maybe_done or error.maybe_done
            if entry.answered:
                continue  # given up as overdue
            if now < entry.deadline:
                kept.append(entry)
            elif entry.maybe_done:
                entry.settle(None, OutcomeUnknown(f"{error.message} It may have been done."))
            else:
                entry.settle(None, error)
        return kept


def _settle(batch: Sequence[_Entry[Item, Reply]], replies: Sequence[Reply]) -> None:
    for entry, reply in zip(batch, replies, strict=True):
        entry.settle(reply, None)


def _answer_future(future: asyncio.Future[Reply], reply: Reply | None, error: Exception | None) -> None:
    if future.done():
        return  # its caller has stopped waiting
    if error is None:
        future.set_result(cast(Reply, reply))
    else:
        future.set_exception(error)
        future.exception()  # avoids "exception was never retrieved" if the caller stops waiting now
