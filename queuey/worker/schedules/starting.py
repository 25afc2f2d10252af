"""The part of a process that puts the schedules of its App, in the background and with a limited number of tries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from queuey import log
from queuey.errors import QueueyError, StartupError
from queuey.lifecycle import Part, Retrying, end_tasks
from queuey.worker.handlers.app import App
from queuey.worker.schedules.outcome import Policy, Synced, report, unfit

FIRST_PAUSE: Final = 1.0
LAST_PAUSE: Final = 60.0
MAX_TRIES: Final = 64
"""The maximum number of tries: they take about an hour. Later, another version of the App may be the one in use."""

logger = log.get(__name__)


class DeclaredSchedules(Part):
    """Puts the schedules of an App by `sync`. While that fails, it is tried again, at most MAX_TRIES times."""

    def __init__(self, app: App, sync: Callable[[], Awaitable[Synced]], policy: Policy) -> None:
        if fault := unfit(app, policy):
            raise StartupError(fault)
        self._app = app
        self._sync = sync
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin the first try."""
        self._task = asyncio.create_task(self._run(), name="declared-schedules")

    async def stop(self) -> None:
        """Try no more."""
        if self._task is not None:
            await end_tasks([self._task])

    async def _run(self) -> None:
        retries, error = Retrying(FIRST_PAUSE, LAST_PAUSE), ""
        for _ in range(MAX_TRIES):
            try:
                report(self._app, await self._sync())
                return
            except QueueyError as failure:
                if failure.message != error:  # said once, however often it is the reason
                    error = failure.message
                    logger.warning("schedules_delayed", app=self._app.name, error=error)
            except Exception:
                logger.exception("schedules_not_put", app=self._app.name)
                return
            await retries.wait()
        logger.error("schedules_not_put", app=self._app.name, error=error, advice="Restart this process to try again.")
