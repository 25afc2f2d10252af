"""The subscribers to events on this replica: one reader of the stream for all, and a bounded buffer for each."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from queuey import log
from queuey.errors import Full, QueueyError, StoreUnavailable
from queuey.lifecycle import Retrying, end_tasks
from queuey.services.events.publisher import LISTENING_MS, EventPublisher, JobEvent, decode
from queuey.store.broker.broker import Broker
from queuey.store.pubsub import FIRST, READ_COUNT, Entry, EventStream

BUFFER: Final = 1_000
"""The maximum number of events that wait for one subscriber. Above it the subscriber is disconnected."""
SLICE: Final = 1_000
"""The number of deliveries (events times subscribers) after which the event loop runs other tasks."""
RENEW_SECONDS: Final = 10.0
READY_SECONDS: Final = 2.0
RETRY_FIRST: Final = 0.1
RETRY_CAP: Final = 5.0

_ID = re.compile(r"(\d{1,19})-(\d{1,19})", re.ASCII)

NumberedEvent = tuple[str, JobEvent]
"""An event with its id; '' for an event that is not in the stream."""
RESET: Final[NumberedEvent] = ("", JobEvent("reset"))

logger = log.get(__name__)


def position(event_id: str) -> tuple[int, int]:
    """Return an id as numbers that can be compared. Raises ValueError when it is not an id."""
    found = _ID.fullmatch(event_id)
    if found is None:
        raise ValueError(event_id[:50])
    return int(found[1]), int(found[2])


class EventSubscriber:
    """One subscriber. `over`: no more events come, since it was too slow or the server stops."""

    def __init__(self, wants: Callable[[JobEvent], bool], job_id: str | None = None) -> None:
        self.over = False
        self.job_id = job_id
        self._wants = wants
        self._after: tuple[int, int] | None = None
        """The last event that it already has; None once the reader is past that."""
        self._waiting: deque[NumberedEvent] = deque()
        self._wakeup = asyncio.Event()

    def put(self, numbered: NumberedEvent) -> None:
        """Add an event that it wants and does not have yet. If too many wait, a reset replaces them and it is over."""
        event_id, event = numbered
        if self._after is not None:
            if event_id and position(event_id) <= self._after:
                return
            self._after = None
        if self.over or not (event.kind == "reset" or self._wants(event)):
            return
        if len(self._waiting) >= BUFFER:
            self._waiting.clear()
            self._waiting.append(RESET)
            self.over = True
        else:
            self._waiting.append(numbered)
        self._wakeup.set()

    def begin_with(self, earlier: Sequence[NumberedEvent], since: str) -> None:
        """Put the events after `since` first. The reader may deliver them again later; then they are skipped."""
        later = list(self._waiting)
        self._waiting.clear()
        for numbered in earlier:
            self.put(numbered)
        last = earlier[-1][0] if earlier else since
        self._after = position(last) if last else None
        for numbered in later:
            self.put(numbered)

    def wake(self) -> None:
        """Make `next` return."""
        self._wakeup.set()

    def end(self) -> None:
        """Let `next` return the events that wait, and no further ones."""
        self.over = True
        self._wakeup.set()

    async def next(self, seconds: float) -> list[NumberedEvent]:
        """Wait for events and return them. The list may be empty after `seconds`, after `wake` or after `end`."""
        if not self.over:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wakeup.wait()
        self._wakeup.clear()
        events = list(self._waiting)
        self._waiting.clear()
        return events


class EventSubscribers:
    """All subscribers of this replica, at most `limit`.

    `run_once` reads the stream while there are any, and makes every replica publish its events. `stream` needs a
    connection of its own.
    """

    def __init__(self, broker: Broker, stream: EventStream, publisher: EventPublisher, limit: int) -> None:
        self._broker = broker
        self._stream = stream
        self._publisher = publisher
        self._limit = limit
        self._subscribers: set[EventSubscriber] = set()
        self._of_all: set[EventSubscriber] = set()
        self._of_job: dict[str, set[EventSubscriber]] = {}
        self._wanted = asyncio.Event()
        self._ready = asyncio.Event()
        self._last: str | None = None
        self._closed = False
        self._retries = Retrying(RETRY_FIRST, RETRY_CAP)

    @property
    def count(self) -> int:
        return len(self._subscribers)

    # --- subscriptions --------------------------------------------------------------------------------------------

    async def subscribe(
        self, wants: Callable[[JobEvent], bool], since: str | None = None, *, job_id: str | None = None
    ) -> EventSubscriber:
        """Add a subscriber, which `leave` removes. If it misses an event, it gets a reset.

        `since`: the id after which it begins; a reset comes first if that event was deleted. `job_id`: it gets only
        events of this job. Raises Full, and StoreUnavailable when the stream cannot be read.
        """
        if len(self._subscribers) >= self._limit:
            raise Full("Too many streams of events are open at this server. Try again later.")
        subscriber = EventSubscriber(wants, job_id)
        if self._closed:
            subscriber.end()
            return subscriber
        self._subscribers.add(subscriber)
        self._group_of(subscriber).add(subscriber)
        self._wanted.set()
        try:
            await self._until_ready()
            if since is not None:
                subscriber.begin_with(await self._since(since), since)
        except BaseException:
            self.leave(subscriber)
            raise
        return subscriber

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            raise StoreUnavailable("The events cannot be read at the moment.") from None

    async def _since(self, event_id: str) -> list[NumberedEvent]:
        try:
            position(event_id)
            found = await self._broker_stream_after(event_id)
        except ValueError:
            return [RESET]
        return [RESET] if found is None else [_numbered(entry) for entry in found]

    async def _broker_stream_after(self, event_id: str) -> list[Entry] | None:
        found = await self._stream.after(event_id, BUFFER + 1)
        return None if found is None or len(found) > BUFFER else found

    def leave(self, subscriber: EventSubscriber) -> None:
        """Remove a subscriber."""
        self._subscribers.discard(subscriber)
        group = self._group_of(subscriber)
        group.discard(subscriber)
        if not group and subscriber.job_id is not None:
            del self._of_job[subscriber.job_id]

    def _group_of(self, subscriber: EventSubscriber) -> set[EventSubscriber]:
        return self._of_all if subscriber.job_id is None else self._of_job.setdefault(subscriber.job_id, set())

    def close(self) -> None:
        """End every subscription, and accept no more."""
        self._closed = True
        for subscriber in self._subscribers:
            subscriber.end()
        self._ready.set()

    # --- the stream -----------------------------------------------------------------------------------------------

    async def run_once(self) -> float:
        """Read the stream while there are subscribers. After a lost connection the next run continues there."""
        await self._wanted.wait()
        renewing = asyncio.create_task(self._renew())
        try:
            await self._begin()
            self._retries.reset()
            await self._read()
        except QueueyError as error:
            self._ready.clear()
            logger.debug("events_not_read", error=str(error))
            return self._retries.next()
        else:
            self._ready.clear()
            self._wanted.clear()
            self._last = None
            return 0.0
        finally:
            await end_tasks([renewing])

    async def _begin(self) -> None:
        begun = await self._listen() == "begun"
        if self._last is None:
            self._last = await self._stream.last()
        elif begun or await self._stream.after(self._last, 1) is None:
            self._last = await self._stream.last()
            self._deliver(RESET)
        self._ready.set()

    async def _read(self) -> None:
        asked = 0
        while self._subscribers:
            before = self._last or FIRST
            entries = await self._stream.next(before)
            if len(entries) >= READ_COUNT and await self._is_behind(before):
                self._deliver(RESET)
            for entry in entries:
                self._last = entry[0]
                asked += 1 + self._deliver(_numbered(entry))
                if asked >= SLICE:
                    asked = 0
                    await asyncio.sleep(0)

    async def _is_behind(self, event_id: str) -> bool:
        """Return whether this event was deleted, so that events after it may be deleted too."""
        return event_id == FIRST or await self._stream.after(event_id, 1) is None

    async def _listen(self) -> str:
        word = await self._broker.events.subscribe_events(LISTENING_MS)
        self._publisher.subscribed(str(LISTENING_MS))
        return word

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            with suppress(QueueyError):  # either reading the stream fails too, or the next renewal succeeds
                if await self._listen() == "begun":
                    self._deliver(RESET)

    def _deliver(self, numbered: NumberedEvent) -> int:
        """Give an event to the subscribers that may want it. Returns their number."""
        event = numbered[1]
        groups = [self._subscribers] if event.kind == "reset" else [self._of_all, self._of_job.get(event.job_id, set())]
        for group in groups:
            for subscriber in group:
                subscriber.put(numbered)
        return sum(map(len, groups))


def _numbered(entry: Entry) -> NumberedEvent:
    try:
        return entry[0], decode(entry[1])
    except msgspec.DecodeError:  # an event of a newer version
        return entry[0], JobEvent("reset")
