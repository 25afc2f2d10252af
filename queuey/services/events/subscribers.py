"""Those who follow the events on this replica: one reader of the stream for all, and a bounded buffer each."""

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
"""Events that wait for one follower, at most: who has more is too slow, and is let go."""
SLICE: Final = 1_000
"""Events times followers after which others have their turn."""
RENEW_SECONDS: Final = 10.0
READY_SECONDS: Final = 2.0
RETRY_FIRST: Final = 0.1
RETRY_CAP: Final = 5.0

_ID = re.compile(r"(\d{1,19})-(\d{1,19})", re.ASCII)

Told = tuple[str, JobEvent]
"""An event and its id; '' for one that is not in the stream."""
RESET: Final[Told] = ("", JobEvent("reset"))

logger = log.get(__name__)


def position(event_id: str) -> tuple[int, int]:
    """For comparing ids. Raises ValueError when it is none."""
    found = _ID.fullmatch(event_id)
    if found is None:
        raise ValueError(event_id[:50])
    return int(found[1]), int(found[2])


class Follower:
    """One of them. `over`: no more comes; it was too slow, or the server stops."""

    def __init__(self, wants: Callable[[JobEvent], bool], job_id: str | None = None) -> None:
        self.over = False
        self.job_id = job_id
        self._wants = wants
        self._after: tuple[int, int] | None = None
        """It has had the events up to here; None once the reader is further."""
        self._waiting: deque[Told] = deque()
        self._news = asyncio.Event()

    def put(self, told: Told) -> None:
        """Unless it is not wanted, or has been had. Who has too many gets a reset in their place, and no more."""
        if self._after is not None:
            if told[0] and position(told[0]) <= self._after:
                return
            self._after = None
        if self.over or not (told[1].kind == "reset" or self._wants(told[1])):
            return
        if len(self._waiting) >= BUFFER:
            self._waiting.clear()
            self._waiting.append(RESET)
            self.over = True
        else:
            self._waiting.append(told)
        self._news.set()

    def begin_with(self, earlier: Sequence[Told], since: str) -> None:
        """These, which came after `since`, come first; of them the reader, which may be behind, brings none again."""
        later = list(self._waiting)
        self._waiting.clear()
        for told in earlier:
            self.put(told)
        last = earlier[-1][0] if earlier else since
        self._after = position(last) if last else None
        for told in later:
            self.put(told)

    def poke(self) -> None:
        """Have `next` return."""
        self._news.set()

    def end(self) -> None:
        self.over = True
        self._news.set()

    async def next(self, seconds: float) -> list[Told]:
        """What has come; after so many seconds, a poke or the end perhaps nothing."""
        if not self.over:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._news.wait()
        self._news.clear()
        told = list(self._waiting)
        self._waiting.clear()
        return told


class EventSubscribers:
    """All followers of this replica, at most `limit`.

    `run_once` reads the stream while there are any, and makes every replica publish its events. `stream` needs a
    connection of its own.
    """

    def __init__(self, broker: Broker, stream: EventStream, feed: EventPublisher, limit: int) -> None:
        self._broker = broker
        self._stream = stream
        self._feed = feed
        self._limit = limit
        self._followers: set[Follower] = set()
        self._of_all: set[Follower] = set()
        self._of_job: dict[str, set[Follower]] = {}
        self._wanted = asyncio.Event()
        self._ready = asyncio.Event()
        self._last: str | None = None
        self._closed = False
        self._retries = Retrying(RETRY_FIRST, RETRY_CAP)

    @property
    def count(self) -> int:
        return len(self._followers)

    # --- those who follow -----------------------------------------------------------------------------------------

    async def follow(
        self, wants: Callable[[JobEvent], bool], since: str | None = None, *, job_id: str | None = None
    ) -> Follower:
        """One more, who is to be given to `leave` in the end. From then on no event is missed without a reset.

        `since`: the id after which it begins; a reset comes first when that is not there any more. `job_id`: of other
        jobs it is not asked. Raises Full, and StoreUnavailable when the stream cannot be read.
        """
        if len(self._followers) >= self._limit:
            raise Full("Too many follow the events of this server. Try again later.")
        follower = Follower(wants, job_id)
        if self._closed:
            follower.end()
            return follower
        self._followers.add(follower)
        self._group_of(follower).add(follower)
        self._wanted.set()
        try:
            await self._until_ready()
            if since is not None:
                follower.begin_with(await self._since(since), since)
        except BaseException:
            self.leave(follower)
            raise
        return follower

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            raise StoreUnavailable("The events cannot be read at the moment.") from None

    async def _since(self, event_id: str) -> list[Told]:
        try:
            position(event_id)
            found = await self._broker_stream_after(event_id)
        except ValueError:
            return [RESET]
        return [RESET] if found is None else [_told(entry) for entry in found]

    async def _broker_stream_after(self, event_id: str) -> list[Entry] | None:
        found = await self._stream.after(event_id, BUFFER + 1)
        return None if found is None or len(found) > BUFFER else found

    def leave(self, follower: Follower) -> None:
        self._followers.discard(follower)
        group = self._group_of(follower)
        group.discard(follower)
        if not group and follower.job_id is not None:
            del self._of_job[follower.job_id]

    def _group_of(self, follower: Follower) -> set[Follower]:
        return self._of_all if follower.job_id is None else self._of_job.setdefault(follower.job_id, set())

    def close(self) -> None:
        """Let everybody go, and take nobody any more."""
        self._closed = True
        for follower in self._followers:
            follower.end()
        self._ready.set()

    # --- the stream -----------------------------------------------------------------------------------------------

    async def run_once(self) -> float:
        """Read the stream while anybody follows. After a lost connection the next run goes on where this one was."""
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
            self._hand_out(RESET)
        self._ready.set()

    async def _read(self) -> None:
        asked = 0
        while self._followers:
            before = self._last or FIRST
            entries = await self._stream.next(before)
            if len(entries) >= READ_COUNT and await self._is_behind(before):
                self._hand_out(RESET)
            for entry in entries:
                self._last = entry[0]
                asked += 1 + self._hand_out(_told(entry))
                if asked >= SLICE:
                    asked = 0
                    await asyncio.sleep(0)

    async def _is_behind(self, event_id: str) -> bool:
        """Whether some that came after this one are perhaps thrown away: it is not there itself any more."""
        return event_id == FIRST or await self._stream.after(event_id, 1) is None

    async def _listen(self) -> str:
        word = await self._broker.events.subscribe_events(LISTENING_MS)
        self._feed.heard(str(LISTENING_MS))
        return word

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            with suppress(QueueyError):  # the stream cannot be read either, or the next one does
                if await self._listen() == "begun":
                    self._hand_out(RESET)

    def _hand_out(self, told: Told) -> int:
        """To those whom it may concern; answers how many they are."""
        event = told[1]
        groups = [self._followers] if event.kind == "reset" else [self._of_all, self._of_job.get(event.job_id, set())]
        for group in groups:
            for follower in group:
                follower.put(told)
        return sum(map(len, groups))


def _told(entry: Entry) -> Told:
    try:
        return entry[0], decode(entry[1])
    except msgspec.DecodeError:  # a newer version's
        return entry[0], JobEvent("reset")
