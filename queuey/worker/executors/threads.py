"""The executor of plain handlers in daemon threads, which do not keep the process from ending."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from threading import Thread
from time import monotonic

from queuey.worker.executors.calling import call, failure
from queuey.worker.executors.stopping import OnEvent, Stopper
from queuey.worker.handlers.attempt import Outcome, Work
from queuey.worker.handlers.handler import Handler

_Job = tuple[Callable[[], Outcome], "asyncio.Future[Outcome]"]


class ThreadExecutor:
    """Runs handlers in at most `slots` threads, which are started when needed and kept.

    A thread cannot be stopped. When its work is stopped, the slot stays in use until the handler returns, and the
    result is dropped.
    """

    def __init__(self, slots: int, stopper: Stopper, result_limit: int, on_event: OnEvent) -> None:
        self.state: object = None
        """The value that the App's lifespan yields."""
        self.unwanted = 0
        """The number of threads that run a handler whose result will be dropped."""
        self._busy = 0
        self._free = asyncio.Semaphore(slots)
        self._threads = 0
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._stopper = stopper
        self._result_limit = result_limit
        self._on_event = on_event

    async def run(self, handler: Handler, work: Work, timeout: float) -> Outcome:
        """Run the handler in a thread. Raises CancelledError when the task was cancelled; the thread then continues."""
        self._stopper.enter(work)
        await self._free.acquire()
        work.started_at = monotonic()
        self._stopper.start_timer(work, timeout)
        result: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        try:
            context = copy_context()  # the context of the task, which has the handler's span
            self._start(partial(context.run, call, handler, work, self.state, self._result_limit), result)
        except RuntimeError as error:  # The system allows no more threads.
            self._free.release()
            return failure(error)
        try:
            return await result
        except asyncio.CancelledError:
            if result.cancelled():  # Otherwise the result is there, and the thread is free.
                self.unwanted += 1
                work.stopping = work.stopping or "cancelled"  # so that the thread sees it, whatever cancelled the task
                self._on_event("thread_abandoned", job_id=work.id, type=work.type, reason=work.stopping)
            raise

    def _start(self, run: Callable[[], Outcome], result: asyncio.Future[Outcome]) -> None:
        if self._busy == self._threads:
            loop = asyncio.get_running_loop()
            Thread(target=self._serve, args=(loop,), daemon=True, name="queuey-handler").start()
            self._threads += 1
        self._busy += 1
        self._jobs.put((run, result))

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        while (job := self._jobs.get()) is not None:
            run, result = job
            outcome = run()
            with contextlib.suppress(RuntimeError):  # The loop is closed, so nothing waits for it.
                loop.call_soon_threadsafe(self._finished, result, outcome)

    def _finished(self, result: asyncio.Future[Outcome], outcome: Outcome) -> None:
        self._busy -= 1
        self._free.release()
        if result.done():
            self.unwanted -= 1
        else:
            result.set_result(outcome)

    def close(self) -> None:
        """Let each thread end when it is free."""
        for _ in range(self._threads):
            self._jobs.put(None)
