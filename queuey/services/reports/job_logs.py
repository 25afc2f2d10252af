"""The lines that handlers log: collected, and sent to the store at most once a second."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Protocol

from msgspec import Struct

from queuey import log
from queuey.errors import QueueyError
from queuey.protocol.models import LogItem
from queuey.protocol.stored import job_log
from queuey.services.reports.latest import Attempt, LatestReports, LeasedAttempt
from queuey.store.broker.broker import Broker

INTERVAL: Final = 1.0
"""The seconds between two calls to the store. A call has all lines of an attempt that are kept."""
MOST: Final = 5_000
"""The maximum number of attempts whose lines wait to be sent. The lines of further ones are dropped."""
AT_ONCE: Final = 50
"""The number of attempts in one call. The store works on the longest logs of so many for some milliseconds."""
RESEND_SECONDS: Final = 30.0
"""The seconds for which lines are sent again that the store has not taken."""

logger = log.get(__name__)


class Lines(Protocol):
    """All lines of an attempt that are kept."""

    def text(self) -> str:
        """Return them as the store keeps them (queuey.protocol.stored.job_log)."""


class _Waiting(Struct):
    lines: Lines
    until: float


class LogRecorder:
    """Sends the lines of attempts to the store. Make it inside the running loop; `record` is for any thread."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._loop = asyncio.get_running_loop()
        self._latest: LatestReports[_Waiting] = LatestReports(self._send_all, INTERVAL, MOST)

    def record(self, work: LeasedAttempt, lines: Lines) -> None:
        """Send the lines of an attempt soon, as they are then. It may have ended by then."""
        self._latest.record((work.id, work.token), _Waiting(lines, self._loop.time() + RESEND_SECONDS))

    async def finish(self, seconds: float) -> None:
        """Send the last lines within this time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._latest.flush()

    async def _send_all(self, latest: Sequence[tuple[Attempt, _Waiting]]) -> None:
        by_shard: dict[int, list[tuple[Attempt, _Waiting]]] = defaultdict(list)
        for each in latest:
            by_shard[self._broker.shards.of_job(each[0][0])].append(each)
        for shard, found in by_shard.items():
            for first in range(0, len(found), AT_ONCE):
                await self._send(shard, found[first : first + AT_ONCE])

    async def _send(self, shard: int, found: Sequence[tuple[Attempt, _Waiting]]) -> None:
        items = [(job_id, token, waiting.lines.text()) for (job_id, token), waiting in found]
        try:
            await self._broker.jobs.keep_log(shard, items)
        except QueueyError as error:
            logger.debug("job_log_not_stored", jobs=len(items), error=str(error))
            for attempt, waiting in found:
                if self._loop.time() < waiting.until:
                    self._latest.keep(attempt, waiting)


def logged(item: LogItem) -> str:
    """Return the lines that a pull worker has sent, as the store keeps them."""
    kept: deque[str] = deque()
    size = 0
    for line in item.lines:
        at_ms = time.time_ns() // 1_000_000 if line.at is None else max(0, round(line.at.timestamp() * 1000))
        kept.append(job_log.encode_line(item.token, item.attempt, at_ms, line.level, line.text))
        size = job_log.cut(kept, size + job_log.bytes_of(kept[-1]))
    return job_log.joined(kept)
