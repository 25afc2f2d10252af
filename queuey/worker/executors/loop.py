"""The executor of async handlers, which run in the task that called.

The executor drives the coroutine step by step instead of awaiting it. This has three advantages:

- A handler that ends without ever waiting needs no timer.
- Its context variables do not leak into the next job of the same task.
- A handler that ignores its cancellation can be closed when the grace is over, since nothing else drives it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import copy_context
from typing import Any, Final

from queuey import forks
from queuey.worker.executors.calling import PAYLOAD_ERRORS, bad_payload, failure, success
from queuey.worker.executors.stopping import Stopper
from queuey.worker.handlers.attempt import Outcome, Work
from queuey.worker.handlers.handler import Handler


class LoopExecutor:
    """Runs async handlers in the event loop."""

    def __init__(self, stopper: Stopper, result_limit: int) -> None:
        self.state: object = None
        """The value that the App's lifespan yields."""
        self._stopper = stopper
        self._result_limit = result_limit

    def begin(self, handler: Handler, work: Work, timeout: float) -> Outcome | Coroutine[Any, Any, Outcome]:
        """Run the handler in the calling task until it first waits.

        Return its outcome when it has ended; else a coroutine for the rest, which the same task must await. The
        coroutine raises CancelledError when the task was cancelled, not when the handler raised it.
        """
        try:
            payload = handler.decode(work.payload)
        except PAYLOAD_ERRORS as error:
            return bad_payload(error, handler, work)
        except BaseException as error:
            return failure(error, handler, work)
        work.started_at = time.monotonic()
        step = copy_context().run
        here = forks.count()
        try:
            coroutine: Coroutine[Any, Any, Any] = handler.call(payload, work, self.state)
            waits_for = step(coroutine.send, None)
        except StopIteration as end:
            return success(end.value, self._result_limit)
        except BaseException as error:
            return failure(error, handler, work)
        finally:
            if forks.count() != here:
                forks.end_copy(work.type)
        return self._go_on(_drive(coroutine, step, waits_for, work, timeout, self._stopper), handler, work)

    async def _go_on(self, driven: Awaitable[Any], handler: Handler, work: Work) -> Outcome:
        try:
            result = await driven
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and self._stopper.interrupted(work):
                raise
            return failure(error, handler, work)
        return success(result, self._result_limit)


@types.coroutine
def _drive(
    coroutine: Coroutine[Any, Any, Any],
    step: Callable[..., Any],
    waits_for: Any,
    work: Work,
    timeout: float,
    stopper: Stopper,
) -> Generator[Any, None, Any]:
    """Do what `await coroutine` does once it waits, in the context of `step`, until the work is abandoned."""
    stopper.enter(work)
    stopper.start_timer(work, timeout)
    here = forks.count()
    try:
        while True:
            if forks.count() != here:  # before the copy gets to the loop, which it shares with the worker
                forks.end_copy(work.type)
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
    finally:
        if forks.count() != here:
            forks.end_copy(work.type)


def _close(coroutine: Coroutine[Any, Any, Any], step: Callable[..., Any]) -> None:
    """Close the coroutine where it waits, and ignore what it raises."""
    with contextlib.suppress(BaseException):
        step(coroutine.close)


CALLS_HANDLERS: Final = (LoopExecutor.begin.__code__, _drive.__code__)
"""The code that calls handlers. Its local variable `work` is the attempt, which the loop watch looks at."""
