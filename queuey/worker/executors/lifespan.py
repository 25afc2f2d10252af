"""The lifespans of an App: that of the worker, and that of each child process.

One task enters and leaves the first, as cancel scopes and task groups require.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import Any

from queuey.errors import StartupError
from queuey.worker.executors.stopping import OnEvent
from queuey.worker.handlers.app import App
from queuey.worker.handlers.error_text import describe, traceback_of


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
        if error is None:
            raise StartupError("the App's lifespan failed: it was cancelled")
        raise StartupError(f"the App's lifespan failed: {describe(error)}", traceback_of(error)) from error

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


class ProcessLifespan:
    """Enters and leaves the lifespan that an App has for child processes, if it has one."""

    def __init__(self, app: App, on_event: OnEvent) -> None:
        self._app = app
        self._on_event = on_event
        self._entered: AbstractContextManager[Any] | None = None
        self._state: object = None

    def enter(self) -> object:
        """Return what it yields. It is entered once. Raises StartupError when it fails."""
        if self._entered is not None or self._app.process_lifespan is None:
            return self._state
        try:
            lifespan = self._app.process_lifespan(self._app)
            self._state = lifespan.__enter__()
        except BaseException as error:
            raise StartupError(f"the App's process_lifespan failed: {describe(error)}", traceback_of(error)) from error
        self._entered = lifespan
        return self._state

    def leave(self) -> None:
        """Leave it. An error is reported as an event, not raised."""
        entered, self._entered = self._entered, None
        try:
            if entered is not None:
                entered.__exit__(None, None, None)
        except BaseException as error:
            self._on_event("lifespan_failed", error=describe(error))
