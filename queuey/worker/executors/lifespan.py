"""The App's lifespan. One task enters and leaves it, as cancel scopes and task groups require."""

from __future__ import annotations

import asyncio
from typing import Any

from queuey.errors import StartupError
from queuey.worker.executors.calling import describe
from queuey.worker.executors.stopping import OnEvent
from queuey.worker.handlers.app import App


class LifespanRunner:
    """Enters and leaves the lifespan of an App, if it has one."""

    def __init__(self, app: App, on_event: OnEvent) -> None:
        self._app = app
        self._on_event = on_event
        self._leave = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def enter(self) -> object:
        """Enter the lifespan and return what it yields. Raises StartupError when it fails."""
        if self._app.lifespan is None:
            return None
        entered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold(entered), name="queuey-lifespan")
        try:
            await asyncio.wait({self._task, entered}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        if entered.done():
            return entered.result()
        entered.cancel()
        task, self._task = self._task, None  # it has ended, and the error below is its only report
        error = None if task.cancelled() else task.exception()
        reason = "it was cancelled" if error is None else describe(error)
        raise StartupError(f"the App's lifespan failed: {reason}") from error

    async def _hold(self, entered: asyncio.Future[Any]) -> None:
        assert self._app.lifespan is not None
        async with self._app.lifespan(self._app) as state:
            entered.set_result(state)
            await self._leave.wait()

    async def leave(self, seconds: float) -> None:
        """Leave the lifespan within this time. An error is reported as an event, not raised."""
        if self._task is None:
            return
        self._leave.set()
        await asyncio.wait({self._task}, timeout=seconds)
        if not self._task.done():
            self._task.cancel()
            self._on_event("lifespan_failed", error=f"it did not end in {seconds:g} s")
        elif not self._task.cancelled() and (error := self._task.exception()) is not None:
            self._on_event("lifespan_failed", error=describe(error))
