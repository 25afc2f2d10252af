"""What becomes of jobs, told to the store while somebody follows it; else it costs no more than a look at `on`.

Each replica tells what it did itself. Events are for people who watch and for caches: one may be missing when a replica
dies, and stand there twice when a call was sent again. What must not be missed is in the job.
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
from queuey.protocol.models import ProgressReport, Status
from queuey.protocol.records import StoredJob, names_of, to_job
from queuey.store.batching import Batcher
from queuey.store.broker.broker import Broker

FINAL: Final[tuple[Status, ...]] = ("succeeded", "dead_letter", "cancelled")
LISTENING_MS: Final = 30_000
"""For how long somebody who says that they follow the events is believed."""
PUBLISH_SECONDS: Final = 5.0
DRAIN_SECONDS: Final = 2.0
WAITING: Final = 10_000
"""Events that may wait to be told; of further ones it is told that some are missing."""
KNOWN: Final = 20_000
"""Jobs whose type and queue are kept in mind."""
GET_BYTES: Final = 40
GET_BATCH: Final = 16
"""Jobs that are read whole in one call, at most: the store does nothing else meanwhile, and each may be large."""

logger = log.get(__name__)


class JobEvent(Struct, array_like=True):
    """One event, as it is stored. `reset`: some are missing before it. `attempt`: the one that runs or ran last."""

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
    """Tells what this process did to jobs. To be made inside the running loop. `on`: somebody follows."""

    def __init__(self, broker: Broker) -> None:
        self.on = False
        self._broker = broker
        self._off: asyncio.TimerHandle | None = None
        self._heard = 0
        """How often somebody said that they follow."""
        self._gap = False
        """Some could not be told."""
        self._known: dict[str, tuple[str, str, int]] = {}
        self._emit: Batcher[str, str] = Batcher(
            broker.events.publish_event, resend_for=PUBLISH_SECONDS, max_waiting=WAITING
        )
        self._get: list[Batcher[str, StoredJob]] = [
            Batcher(
                partial(broker.jobs.get, shard), resend_for=PUBLISH_SECONDS, max_waiting=WAITING, max_batch=GET_BATCH
            )
            for shard in range(broker.shards.count)
        ]

    # --- whether anybody follows ----------------------------------------------------------------------------------

    def heard(self, ttl_ms: str) -> None:
        """A message on the channel: somebody follows for so long. Anything but a number says nothing."""
        if not (ttl_ms.isascii() and ttl_ms.isdigit() and 0 < len(ttl_ms) < 10):
            return
        self.on = True
        self._heard += 1
        if self._off is not None:
            self._off.cancel()
        self._off = asyncio.get_running_loop().call_later(int(ttl_ms) / 1000, self._stop)

    async def ask(self) -> None:
        """Whether somebody follows already: messages may have been missed."""
        with suppress(QueueyError):  # then the next message tells
            if await self._broker.events.subscribe_events(0) == "kept":
                self.heard(str(LISTENING_MS))

    def _stop(self) -> None:
        self.on = False
        self._known.clear()

    # --- what happened --------------------------------------------------------------------------------------------

    def status(self, job_id: str, type: str, queue: str, status: Status, attempt: int) -> None:
        """Of a job that is known here."""
        if not self.on:
            return
        if status in FINAL:
            self._known.pop(job_id, None)
        else:
            if len(self._known) >= KNOWN:
                del self._known[next(iter(self._known))]
            self._known[job_id] = (type, queue, attempt)
        self._tell(JobEvent("status", job_id, type, queue, status, attempt))

    def moved(self, job_id: str, status: Status | None) -> None:
        """Of a job of which no more is known than its new status, or not even that; the store is asked for the rest."""
        if not self.on:
            return
        known = self._known.get(job_id)
        if known is not None and status is not None:
            self.status(job_id, known[0], known[1], status, known[2])
            return
        with suppress(QueueyError):  # too many wait: `_looked` tells of that
            shard = self._broker.shards.of_job(job_id)
            self._get[shard].tell(job_id, GET_BYTES, partial(self._looked, job_id, status))
            return
        self._gap = True

    def _looked(self, job_id: str, status: Status | None, stored: StoredJob | None, error: Exception | None) -> None:
        if error is not None or stored is None:
            self._gap = True
        elif stored.definition:
            job = to_job(job_id, stored)
            status = status or job.status
            attempt = job.attempts + (1 if status in ("running", "succeeded") else 0)
            self.status(job_id, job.type, job.queue, status, attempt)

    def progress(self, job_id: str, head: str, report: ProgressReport) -> None:
        """`head`: the beginning of the job's definition."""
        if self.on:
            type, queue = names_of(head)
            self._tell(JobEvent("progress", job_id, type, queue, progress=report))

    # --- telling --------------------------------------------------------------------------------------------------

    def _tell(self, happening: JobEvent) -> None:
        if self._gap:
            self._gap = False
            self._send(JobEvent("reset"))
        self._send(happening)

    def _send(self, happening: JobEvent) -> None:
        text = _encode(happening).decode()
        try:
            self._emit.tell(text, len(text), partial(self._emitted, self._heard))
        except QueueyError:
            self._gap = True

    def _emitted(self, heard: int, status: str | None, error: Exception | None) -> None:
        """`heard`: as it was when the event was sent. Who said since then that they follow has perhaps missed it."""
        if error is not None:
            logger.debug("event_not_told", error=str(error))
            self._gap = True
        elif status == "nobody" and heard == self._heard:
            self._stop()
        elif status == "nobody":
            self._gap = True

    async def drain(self) -> None:
        """Wait until every event is stored, for DRAIN_SECONDS at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                for batcher in self._get:
                    await batcher.drain()
                await self._emit.drain()
