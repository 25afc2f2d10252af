"""Runs a coroutine without a task, as long as it waits for nothing but replies of the store.

A task that waits for a reply runs one pass of the event loop after the reply was read, behind all else that is ready.
So an ordinary call runs in two callbacks: it is sent in the first, and the reading of its reply runs the rest. What
waits for anything else, and what follows an error, runs in a task: loading the scripts, for example, needs one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Pending(asyncio.Future[Any]):
    """A future whose waiter may go on in the pass in which it is settled. A task may wait for it as for any other."""

    then: Callable[[], None] | None = None
    """Called by `settle`, at once."""

    def settle(self, reply: Any, error: Exception | None) -> None:
        """Set the result, or an error instead, unless the caller has stopped waiting."""
        if self.done():
            return
        if error is None:
            self.set_result(reply)
        else:
            self.set_exception(error)
        if self.then is not None:
            self.then()


class Taskless:
    """A coroutine that began in a callback of the event loop. It must return None."""

    __slots__ = ("_coroutine", "_loop", "_pending", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run the coroutine up to where it first waits."""
        self._loop = loop
        self._coroutine = coroutine
        self._pending: Pending | None = None
        self._task: asyncio.Task[None] | None = None
        self._step()

    def _step(self) -> None:
        if self._pending is not None and self._pending.exception() is not None:
            self._go_on_in_task()
            return
        try:
            awaited = self._coroutine.send(None)
        except StopIteration:
            return
        if type(awaited) is Pending:
            self._pending = awaited
            awaited.then = self._step
        elif awaited is None:
            self._go_on_in_task()
        else:
            awaited.add_done_callback(self._go_on_in_task)

    def _go_on_in_task(self, _: object = None) -> None:
        self._task = self._loop.create_task(self._coroutine)
