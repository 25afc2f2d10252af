"""The progress of running jobs: collected, and sent to the store at most twice a second."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

import msgspec

from queuey import log
from queuey.errors import QueueyError
from queuey.protocol.models import ProgressReport
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import MAX_BATCH

INTERVAL: Final = 0.5
"""The seconds between two calls to the store. Only the last report of a job in this time is sent."""
MOST: Final = 50_000
"""The maximum number of jobs whose progress waits to be sent. The progress of further jobs is dropped."""

logger = log.get(__name__)
_encode = msgspec.json.Encoder().encode


class LeasedAttempt(Protocol):
    """A job under a lease."""

    id: str
    token: str


class ProgressRecorder:
    """Sends progress to the store. Make it inside the running loop; `record` may be called from any thread.

    `on_reported(job_id, head, report)` is called for each report that the store has accepted, with the head of the
    job's definition. A report that the store does not accept is dropped, since the next one is newer.
    """

    def __init__(
        self, broker: Broker, on_reported: Callable[[str, str, ProgressReport], None] = lambda *_: None
    ) -> None:
        self._on_reported = on_reported
        self._broker = broker
        self._latest: dict[str, tuple[str, ProgressReport]] = {}
        self._armed = False
        """Whether a flush is due or running. A flush looks for new reports when it ends."""
        self._sent_at = float("-inf")
        self._flushing: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    def on_progress(self, work: LeasedAttempt, report: ProgressReport) -> None:
        """Record the progress that a handler of this process reports."""
        self.record(work.id, work.token, report)

    def record(self, job_id: str, token: str, report: ProgressReport) -> None:
        """Record the progress of a job under the lease of `token`.

        Each step is atomic under the interpreter's lock, and in this order no report is missed.
        """
        if len(self._latest) >= MOST and job_id not in self._latest:
            return
        self._latest[job_id] = (token, report)
        if not self._armed:
            self._armed = True
            with suppress(RuntimeError):  # the loop is closed: a thread was left behind
                self._loop.call_soon_threadsafe(self._arm)

    def _arm(self) -> None:
        self._loop.call_at(max(self._loop.time(), self._sent_at + INTERVAL), self._start)

    def _start(self) -> None:
        self._flushing = self._loop.create_task(self._flush())

    async def _flush(self) -> None:
        self._sent_at = self._loop.time()
        try:
            await self._send_all()
        finally:
            self._armed = False
            if self._latest:
                self._armed = True
                self._arm()

    async def _send_all(self) -> None:
        by_shard: dict[int, list[tuple[str, str, ProgressReport]]] = defaultdict(list)
        for _ in range(len(self._latest)):
            job_id, (token, report) = self._latest.popitem()
            by_shard[self._broker.shards.of_job(job_id)].append((job_id, token, report))
        for shard, reports in by_shard.items():
            for first in range(0, len(reports), MAX_BATCH):
                await self._send(shard, reports[first : first + MAX_BATCH])

    async def _send(self, shard: int, reports: list[tuple[str, str, ProgressReport]]) -> None:
        texts = [(job_id, token, _encode(report).decode()) for job_id, token, report in reports]
        try:
            heads = await self._broker.jobs.progress(shard, texts)
        except QueueyError as error:
            logger.debug("progress_not_stored", jobs=len(reports), error=str(error))
            return
        for (job_id, _, report), head in zip(reports, heads, strict=True):
            if head:
                self._on_reported(job_id, head, report)
