"""Requests that wait until a job has finished, without polling.

The script `watch_end` sets a mark in the job's state. The script that ends the job reads the state anyway. If it finds
the mark, it publishes the id. A job that no request waits for costs nothing more.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Final

from queuey import log
from queuey.errors import Full, QueueyError
from queuey.store.batching import Batcher
from queuey.store.broker.broker import Broker
from queuey.store.keys import finished_channel
from queuey.store.pubsub import Subscriber

WATCH_SECONDS: Final = 5.0
"""The seconds for which an unanswered call to watch is sent again, before the next attempt."""
WATCH_AGAIN: Final = 1.0
ID_BYTES: Final = 40

logger = log.get(__name__)


class Waiters:
    """The waiting requests of this replica, at most `limit`. Make it inside the running loop.

    `run_once` subscribes when the first waiter comes. Each time the subscription starts, every awaited job is marked
    again and its status is read, so that a job that ended in between is noticed.
    """

    def __init__(self, broker: Broker, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._count = 0
        self._closed = False
        self._standing = False
        self._wanted = asyncio.Event()
        self._shard_of = broker.shards.of_job
        self._watch: list[Batcher[str, str]] = [
            Batcher(partial(broker.jobs.watch_end, shard), resend_for=WATCH_SECONDS, max_waiting=limit)
            for shard in range(broker.shards.count)
        ]
        channel = finished_channel(broker.shards.prefix)
        self._subscriber = Subscriber(broker.shards.client, {channel: self._wake}, self._look_again, self._lost)

    @property
    def count(self) -> int:
        """The number of waiting requests."""
        return self._count

    async def run_once(self) -> float:
        """Listen until the connection is lost, from the first waiter on. Returns the seconds until the next attempt."""
        await self._wanted.wait()
        return await self._subscriber.run_once()

    async def wait(self, job_id: str, seconds: float) -> None:
        """Return when the job has finished or does not exist, after this many seconds, or at once after `close`.

        Raises Full when too many requests wait.
        """
        if self._closed:
            return
        self.check_room()
        woken = self._enter(job_id)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await woken
        finally:
            self._leave(job_id, woken)

    def check_room(self) -> None:
        """Check that one more request may wait. Raises Full."""
        if self._count >= self._limit:
            raise Full("Too many requests wait at this server. Ask without a wait, or try again later.")

    def _enter(self, job_id: str) -> asyncio.Future[None]:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        self._waiting.setdefault(job_id, set()).add(woken)
        self._wanted.set()
        if self._standing:
            self._mark(job_id)
        return woken

    def _leave(self, job_id: str, woken: asyncio.Future[None]) -> None:
        self._count -= 1
        others = self._waiting[job_id]
        others.discard(woken)
        if not others:
            del self._waiting[job_id]

    def close(self) -> None:
        """Wake all waiters, and accept no more."""
        self._closed = True
        for job_id in self._waiting:
            self._wake(job_id)

    # --- the store ------------------------------------------------------------------------------------------------

    async def _look_again(self) -> None:
        self._standing = True
        for job_id in self._waiting:
            self._mark(job_id)

    def _lost(self) -> None:
        self._standing = False

    def _mark(self, job_id: str) -> None:
        """Mark a job, unless it has finished. The subscription must have started, to report a job that ends later."""
        if not self._standing or job_id not in self._waiting:
            return  # either the subscription marks it when it starts, or no request waits any more
        try:
            self._watch[self._shard_of(job_id)].tell(job_id, ID_BYTES, partial(self._marked, job_id))
        except QueueyError as error:
            self._marked(job_id, None, error)

    def _marked(self, job_id: str, status: str | None, error: Exception | None) -> None:
        if error is not None:
            logger.debug("watch_failed", error=str(error))
            asyncio.get_running_loop().call_later(WATCH_AGAIN, self._mark, job_id)
        elif status != "waiting":
            self._wake(job_id)

    def _wake(self, job_id: str) -> None:
        for woken in self._waiting.get(job_id, ()):
            if not woken.done():
                woken.set_result(None)
