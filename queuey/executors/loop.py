"""Async handlers, run in the task that called.

The coroutine is driven by hand, step by step, instead of awaited. That gives three things: a handler that ends
without ever waiting needs no timer; its context variables do not leak into the next job of the same task; and one
that swallows its cancellation can be closed when the grace is over, since nobody else drives it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from typing import Any

from queuey.executors.calling import PAYLOAD_ERRORS, bad_payload, failure, success
from queuey.executors.stopping import Stopper
from queuey.registry import Handler
from queuey.work import Outcome, Work


class LoopExecutor:
    def __init__(self, stopper: Stopper, result_limit: int) -> None:
        self.state: object = None
        """What the App's lifespan yields."""
        self._stopper = stopper
        self._result_limit = result_limit

    async def run(self, handler: Handler, work: Work, timeout: float) -> Outcome:
        """Raises CancelledError when the task was cancelled, not when the handler raised it by itself."""
        try:
            payload = handler.decode(work.payload)
        except PAYLOAD_ERRORS as error:
            return bad_payload(error)
        except BaseException as error:
            return failure(error)
        work.started_at = time.monotonic()
        try:
            result = await _drive(handler.call(payload, work, self.state), work, timeout, self._stopper)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and self._stopper.interrupted(work):
                raise
            return failure(error)
        return success(result, self._result_limit)


@types.coroutine
def _drive(
    coroutine: Coroutine[Any, Any, Any], work: Work, timeout: float, stopper: Stopper
) -> Generator[Any, None, Any]:
    """What `await coroutine` does, in a context of its own, and only until the work is abandoned."""
    step = copy_context().run
    try:
        waits_for = step(coroutine.send, None)
        stopper.enter(work)
        stopper.start_timer(work, timeout)
        while True:
            thrown: BaseException | None = None
            try:
                yield waits_for
            except BaseException as error:
                thrown = error
            if thrown is None:
                waits_for = step(coroutine.send, None)
            elif work.abandoned or isinstance(thrown, GeneratorExit):
                _close(coroutine, step)
                raise thrown
            else:
                waits_for = step(coroutine.throw, thrown)
    except StopIteration as end:
        return end.value


def _close(coroutine: Coroutine[Any, Any, Any], step: Callable[..., Any]) -> None:
    """End it where it stands; what it raises on the way out concerns nobody any more."""
    with contextlib.suppress(BaseException):
        step(coroutine.close)
