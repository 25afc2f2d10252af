"""The progress of running jobs: collected, and sent to the store at most twice a second."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from queuey import log
from queuey.errors import QueueyError
from queuey.protocol.models import ProgressReport
from queuey.services.reports.latest import Attempt, LatestReports, LeasedAttempt
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import MAX_BATCH

INTERVAL: Final = 0.5
"""The seconds between two calls to the store. Only the last report of a job in this time is sent."""
MOST: Final = 50_000
"""The maximum number of jobs whose progress waits to be sent. The progress of further jobs is dropped."""

logger = log.get(__name__)
_encode = msgspec.json.Encoder().encode


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
        self._latest: LatestReports[ProgressReport] = LatestReports(self._send_all, INTERVAL, MOST)

    def on_progress(self, work: LeasedAttempt, report: ProgressReport) -> None:
        """Record the progress that a handler of this process reports."""
        self._latest.record((work.id, work.token), report)

    def record(self, job_id: str, token: str, report: ProgressReport) -> None:
        """Record the progress of a job under the lease of `token`."""
        self._latest.record((job_id, token), report)

    async def _send_all(self, latest: Sequence[tuple[Attempt, ProgressReport]]) -> None:
        by_shard: dict[int, list[tuple[str, str, ProgressReport]]] = defaultdict(list)
        for (job_id, token), report in latest:
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
