"""Publishes the moves of jobs to the store while a subscriber listens; otherwise a call costs only a check of `on`.

Each replica publishes the moves that it made itself. Events are for people who watch and for caches: an event may be
missing when a replica dies, and may be there twice when a call was sent again. The job itself is always right.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Final, Literal

import msgspec
from msgspec import Struct

from queuey import log
from queuey.errors import QueueyError
from queuey.lifecycle import Part
from queuey.protocol.models import FINAL, ProgressReport, Status
from queuey.protocol.records import UNREADABLE, StoredJob, names_of, to_job
from queuey.store.batching import Batcher
from queuey.store.broker.broker import Broker

LISTENING_MS: Final = 30_000
"""The time for which a subscription lasts unless it is renewed."""
PUBLISH_SECONDS: Final = 5.0
DRAIN_SECONDS: Final = 2.0
WAITING: Final = 10_000
"""The maximum number of events that wait to be stored. Above it, a reset says that some are missing."""
KNOWN: Final = 20_000
"""The maximum number of jobs whose type and queue are kept in memory."""
GET_BYTES: Final = 40
GET_BATCH: Final = 16
"""The maximum number of jobs read in one call. They may be large, and the store does nothing else meanwhile."""

logger = log.get(__name__)


class JobEvent(Struct, array_like=True):
    """One event, as it is stored. `reset`: events before it are missing. `attempt` is the one that runs or ran last."""

    kind: Literal["status", "progress", "reset"]
    job_id: str = ""
    type: str = ""
    queue: str = ""
    status: Status | None = None
    attempt: int = 0
    progress: ProgressReport | None = None


_encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(JobEvent).decode


class EventPublisher(Part):
    """Publishes what this process did to jobs. It is made inside the running loop. `on`: a subscriber listens."""

    def __init__(self, broker: Broker) -> None:
        self.on = False
        self._broker = broker
        self._off: asyncio.TimerHandle | None = None
        self._received = 0
        """The number of subscriptions and renewals that were received."""
        self._gap = False
        """Whether some events could not be published."""
        self._known: dict[str, tuple[str, str, int]] = {}
        self._behind: dict[str, list[list[JobEvent]]] = {}
        """For each job, and each look-up of it that is under way: the events that happened after the look-up."""
        self._batcher: Batcher[str, str] = Batcher(
            broker.events.publish_event, resend_for=PUBLISH_SECONDS, max_waiting=WAITING
        )
        self._get: list[Batcher[str, StoredJob]] = [
            Batcher(
                partial(broker.jobs.get, shard), resend_for=PUBLISH_SECONDS, max_waiting=WAITING, max_batch=GET_BATCH
            )
            for shard in range(broker.shards.count)
        ]

    # --- whether a subscriber listens -----------------------------------------------------------------------------

    def subscribed(self, ttl_ms: str) -> None:
        """Take a message of the channel: the time for which a subscriber listens. Other texts are ignored."""
        if not (ttl_ms.isascii() and ttl_ms.isdigit() and 0 < len(ttl_ms) < 10):
            return
        self.on = True
        self._received += 1
        if self._off is not None:
            self._off.cancel()
        self._off = asyncio.get_running_loop().call_later(int(ttl_ms) / 1000, self._stop)

    async def ask(self) -> None:
        """Ask the store whether a subscriber listens already, since messages may have been missed."""
        with suppress(QueueyError):  # then the next message reports it
            if await self._broker.events.subscribe_events(0) == "kept":
                self.subscribed(str(LISTENING_MS))

    def _stop(self) -> None:
        self.on = False
        self._known.clear()

    # --- reports --------------------------------------------------------------------------------------------------

    def status(self, job_id: str, type: str, queue: str, status: Status, attempt: int) -> None:
        """Publish the new status of a job whose type and queue are known.

        The reply to an enqueue may come after the reply to the claim behind it, which is on another connection.
        """
        if not self.on:
            return
        event = JobEvent("status", job_id, type, queue, status, attempt)
        known = self._known.get(job_id)
        if known is None or attempt or not known[2]:  # otherwise it is known already that the first attempt has begun
            self._remember(event)
        if lookups := self._behind.get(job_id):
            lookups[-1].append(event)
        else:
            self._publish(event)

    def moved(self, job_id: str, status: Status | None) -> None:
        """Publish a new status of a job, or its current one if it is None. The store is asked for unknown fields."""
        if not self.on:
            return
        known = self._known.get(job_id)
        if known is not None and status is not None:
            self.status(job_id, known[0], known[1], status, known[2])
            return
        shard = self._broker.shards.of_job(job_id)
        try:
            self._get[shard].tell(job_id, GET_BYTES, partial(self._looked_up, job_id, status))
        except QueueyError:  # too many wait
            self._gap = True
        else:
            self._behind.setdefault(job_id, []).append([])

    def _looked_up(self, job_id: str, status: Status | None, stored: StoredJob | None, error: Exception | None) -> None:
        """Publish after a look-up. The store answers in order, so this is the first look-up of the job."""
        lookups = self._behind[job_id]
        later = lookups.pop(0)
        if not lookups:
            del self._behind[job_id]
        if not self.on:
            return
        if error is not None or stored is None or not stored.definition:
            self._gap = True
        elif event := _event_of(job_id, status, stored):
            if not later:
                self._remember(event)
            self._publish(event)
        for event in later:
            self._publish(event)

    def _remember(self, event: JobEvent) -> None:
        """Keep the type and queue of a job until it has finished."""
        if event.status in FINAL:
            self._known.pop(event.job_id, None)
            return
        if len(self._known) >= KNOWN:
            del self._known[next(iter(self._known))]
        self._known[event.job_id] = (event.type, event.queue, event.attempt)

    def progress(self, job_id: str, head: str, report: ProgressReport) -> None:
        """Publish the progress of a job. `head`: the beginning of its definition."""
        if self.on:
            type, queue = names_of(head)
            self._publish(JobEvent("progress", job_id, type, queue, progress=report))

    # --- publishing -----------------------------------------------------------------------------------------------

    def _publish(self, event: JobEvent) -> None:
        if self._gap:
            self._gap = False
            self._send(JobEvent("reset"))
        self._send(event)

    def _send(self, event: JobEvent) -> None:
        text = _encode(event).decode()
        try:
            self._batcher.tell(text, len(text), partial(self._published, self._received))
        except QueueyError:
            self._gap = True

    def _published(self, received: int, status: str | None, error: Exception | None) -> None:
        """Take the store's answer. `received`: the count when the event was sent; later subscribers may miss it."""
        if error is not None:
            logger.debug("event_not_told", error=str(error))
            self._gap = True
        elif status == "nobody" and received == self._received:
            self._stop()
        elif status == "nobody":
            self._gap = True

    async def drain(self) -> None:
        """Wait until every event is stored, for DRAIN_SECONDS at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                for batcher in self._get:
                    await batcher.drain()
                await self._batcher.drain()


def _event_of(job_id: str, status: Status | None, stored: StoredJob) -> JobEvent | None:
    """Return the event of a job with this status, or with its current one if it is None. None: it is unreadable."""
    try:
        job = to_job(job_id, stored)
    except UNREADABLE:
        return None
    status = status or job.status
    attempt = job.attempt if status == job.status else job.attempts + (status in ("running", "succeeded"))
    return JobEvent("status", job_id, job.type, job.queue, status, attempt)
