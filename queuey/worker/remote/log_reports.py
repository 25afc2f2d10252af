"""The lines that the handlers of a pull worker log, sent to the server over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from msgspec import Struct

from queuey import log
from queuey.client import Client, ClientError, Invalid, NotFound
from queuey.protocol.models import LoggedLine, LogItem
from queuey.protocol.stored import job_log
from queuey.services.reports.job_logs import AT_ONCE, INTERVAL, MOST, RESEND_SECONDS
from queuey.services.reports.latest import Attempt, LatestReports
from queuey.worker.handlers.attempt import Work
from queuey.worker.handlers.job_lines import JobLines

logger = log.get(__name__)


class _Waiting(Struct):
    attempt: int
    lines: JobLines
    until: float


class LogReports:
    """Sends the lines of attempts, at most once a second. A server of an older release keeps none, and gets no more."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._latest: LatestReports[_Waiting] = LatestReports(self._send_all, INTERVAL, MOST)
        self._refused = False

    def record(self, work: Work, lines: JobLines) -> None:
        """Send the lines of an attempt soon, from any thread."""
        if not self._refused:
            waiting = _Waiting(work.attempt, lines, self._loop.time() + RESEND_SECONDS)
            self._latest.record((work.id, work.token), waiting)

    async def finish(self, seconds: float) -> None:
        """Send the last lines within this time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._latest.flush()

    async def _send_all(self, latest: Sequence[tuple[Attempt, _Waiting]]) -> None:
        for first in range(0, len(latest), AT_ONCE):
            if not self._refused:
                await self._send(latest[first : first + AT_ONCE])

    async def _send(self, some: Sequence[tuple[Attempt, _Waiting]]) -> None:
        try:
            await self._client.keep_log_many([_item(attempt, waiting) for attempt, waiting in some])
        except NotFound:
            self._refused = True
            logger.info("server_keeps_no_logs", effect="lines of handlers are only in this worker's own log")
        except Invalid as error:
            logger.debug("job_log_not_stored", jobs=len(some), error=error.message)
        except ClientError as error:
            logger.debug("job_log_not_stored", jobs=len(some), error=error.message)
            for attempt, waiting in some:
                if self._loop.time() < waiting.until:
                    self._latest.keep(attempt, waiting)


def _item(attempt: Attempt, waiting: _Waiting) -> LogItem:
    job_id, token = attempt
    lines = [LoggedLine(line.text, line.level, line.at) for line in job_log.parse(waiting.lines.text())]
    return LogItem(job_id, token, lines, waiting.attempt)
