"""The task that enters an async provider for the process, and leaves it when the worker stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from queuey.worker.executors.stopping import OnEvent
from queuey.worker.handlers.error_text import describe
from queuey.worker.providers.making import entered_async
from queuey.worker.providers.reading import Provider


class Holder:
    """Holds the value of one provider in its task."""

    task: asyncio.Task[None]

    def __init__(self, provider: Provider, on_event: OnEvent) -> None:
        self._provider = provider
        self._on_event = on_event
        self._leaving = asyncio.Event()
        self.is_made = False
        self.is_ended = False
        """Whether the making was ended before."""
        self.error: BaseException = asyncio.CancelledError()
        """Why it was not made."""

    async def hold(self, arguments: dict[str, Any], succeed: Callable[[Any], bool]) -> None:
        """Make the value and wait for `leave`, unless `succeed` returns False: then the value is not wanted."""
        try:
            async with AsyncExitStack() as stack:
                value = await entered_async(self._provider, arguments, stack)
                self.is_made = True
                if succeed(value):
                    await self._leaving.wait()
        except BaseException as error:
            self.error = error
            if self.is_made and not isinstance(error, asyncio.CancelledError):
                self._on_event("provider_failed", error=describe(error))

    def end_making(self) -> None:
        """Cancel the task if it has not made the value yet."""
        if not self.is_made:
            self.is_ended = True
            self.task.cancel()

    async def leave(self, seconds: float) -> None:
        """Let it end within this time."""
        self._leaving.set()
        self.end_making()
        await asyncio.wait({self.task}, timeout=seconds)
        if not self.task.done():
            self.task.cancel()
            error = f"it did not end in {seconds:g} s ({self._provider.label})"
            self._on_event("provider_failed", error=error)
