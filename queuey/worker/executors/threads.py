"""The executor of plain handlers in daemon threads, which do not keep the process from ending."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from threading import Thread
from time import monotonic, time

import msgspec

from queuey.worker.executors.calling import call
from queuey.worker.executors.stopping import OnEvent, Stopper
from queuey.worker.handlers.attempt import Failed, Outcome, Work
from queuey.worker.handlers.error_text import describe
from queuey.worker.handlers.handler import Handler

_Job = tuple[Callable[[], Outcome], "asyncio.Future[Outcome]"]


class StuckThread(msgspec.Struct, array_like=True, frozen=True):
    """A thread whose handler does not return, although its job was stopped longer than the grace ago."""

    type: str
    since_ms: int
    """The time at which the handler started, in ms since 1970."""


class ThreadExecutor:
    """Runs handlers in at most `slots` threads, which are started when needed and kept.

    A thread cannot be stopped. When its work is stopped, the slot stays in use until the handler returns, and the
    result is dropped.
    """

    def __init__(self, slots: int, stopper: Stopper, result_limit: int, on_event: OnEvent) -> None:
        self.state: object = None
        """The value that the App's lifespan yields."""
        self.stuck: dict[asyncio.Future[Outcome], StuckThread] = {}
        """The threads that do not return, oldest first by the time at which the grace ended."""
        self.on_returned: Callable[[], None] = lambda: None
        """Called when a thread is free again whose result was dropped."""
        self._unwanted: dict[asyncio.Future[Outcome], tuple[Work, asyncio.TimerHandle]] = {}
        """The handlers whose result will be dropped, each with its job and the timer for the end of its grace."""
        self._unwanted_types: Counter[str] = Counter()
        self._unwanted_queues: Counter[str] = Counter()
        """Their number by type and by queue. Unlike `_unwanted`, other threads may look something up in it."""
        self._active: set[asyncio.Future[Outcome]] = set()
        """The handlers that have not returned."""
        self._slots = slots
        self._free = asyncio.Semaphore(slots)
        self._threads = 0
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._stopper = stopper
        self._result_limit = result_limit
        self._on_event = on_event

    @property
    def unwanted(self) -> int:
        """The number of threads that run a handler whose result will be dropped."""
        return len(self._unwanted)

    def unwanted_of(self, type: str) -> int:
        """Return the number of these threads whose handler is that of the type."""
        return self._unwanted_types[type]

    def unwanted_in(self, queue: str) -> int:
        """Return the number of these threads whose job is of the queue."""
        return self._unwanted_queues[queue]

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
            return Failed("error", describe(error))
        try:
            return await result
        except asyncio.CancelledError:
            if result.cancelled():  # Otherwise the result is there, and the thread is free.
                work.stopping = work.stopping or "cancelled"  # so that the thread sees it, whatever cancelled the task
                self._on_event("thread_abandoned", job_id=work.id, type=work.type, reason=work.stopping)
                self._drop(result, work)
            raise

    def _drop(self, result: asyncio.Future[Outcome], work: Work) -> None:
        """Drop the result of a handler. If it still runs, it has the grace to return before it counts as stuck."""
        if result not in self._active:
            return
        timer = asyncio.get_running_loop().call_later(self._stopper.grace, self._is_stuck, result, work)
        self._unwanted[result] = work, timer
        self._count_unwanted(work, 1)

    def _count_unwanted(self, work: Work, change: int) -> None:
        self._unwanted_types[work.type] += change
        self._unwanted_queues[work.queue] += change

    def _is_stuck(self, result: asyncio.Future[Outcome], work: Work) -> None:
        started_at = monotonic() if work.started_at is None else work.started_at
        self.stuck[result] = StuckThread(work.type, round((time() - monotonic() + started_at) * 1000))
        if len(self.stuck) == self._slots:
            types = sorted({thread.type for thread in self.stuck.values()})
            self._on_event("all_threads_stuck", threads=self._slots, types=types)

    def _start(self, run: Callable[[], Outcome], result: asyncio.Future[Outcome]) -> None:
        if len(self._active) == self._threads:
            loop = asyncio.get_running_loop()
            Thread(target=self._serve, args=(loop,), daemon=True, name="queuey-handler").start()
            self._threads += 1
        self._active.add(result)
        self._jobs.put((run, result))

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        while (job := self._jobs.get()) is not None:
            run, result = job
            outcome = run()
            with contextlib.suppress(RuntimeError):  # The loop is closed, so nothing waits for it.
                loop.call_soon_threadsafe(self._finished, result, outcome)

    def _finished(self, result: asyncio.Future[Outcome], outcome: Outcome) -> None:
        self._active.discard(result)
        self._free.release()
        if not result.done():
            result.set_result(outcome)
        if (dropped := self._unwanted.pop(result, None)) is not None:
            work, timer = dropped
            timer.cancel()
            self._count_unwanted(work, -1)
            if len(self.stuck) == self._slots:
                self._on_event("thread_returned", threads=self._slots, stuck=self._slots - 1)
            self.stuck.pop(result, None)
            self.on_returned()

    def close(self) -> None:
        """Let each thread end when it is free."""
        for _ in range(self._threads):
            self._jobs.put(None)
