"""The values of providers that are kept for the process, each from the first run that needs it until the end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from contextvars import copy_context
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any, Final

from queuey.worker.executors.stopping import OnEvent
from queuey.worker.handlers.attempt import Work
from queuey.worker.handlers.error_text import describe
from queuey.worker.providers.holding import Holder
from queuey.worker.providers.making import entered
from queuey.worker.providers.reading import Provider

SPARE_SECONDS: Final = 1.0
"""The time for which a thread still waits for a value after its job's timeout, which ends the job first."""
MAX_MAKINGS: Final = 3
"""The maximum number of makings of a value at a time. All but the last one are of runs that were stopped."""
_STOPPED: Final = "the run or the worker was stopped, so it makes no more values of providers"
_Key = tuple[Callable[..., Any], bool]


class _MakingEnded(Exception):
    """Raised for those that waited for a value when the run that made it was stopped. They make it again."""


class _Making:
    """A value that is made, or has been made, and the run that makes it."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.future: Future[Any] = Future()
        self.future.set_running_or_notify_cancel()  # so that a job which stops waiting for it cannot cancel it


class Kept:
    """Keeps the values. A provider that fails is asked again by the next run; those that waited get its error.

    Handlers of threads and of the event loop share them. One that is async is entered and left by a task of its own,
    as cancel scopes and task groups require. If the run that makes a value is stopped, an async making is ended. One in
    a thread cannot be, so the next run makes the value beside it, and the one that is made first is kept.
    """

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._values: dict[_Key, Any] = {}
        self._made: dict[_Key, _Making] = {}
        self._under_way: Counter[_Key] = Counter()
        """The number of makings that have not ended."""
        self._ends: list[ExitStack | Holder] = []
        self._holders: set[Holder] = set()
        """Those whose task has not ended."""
        self._lock = Lock()
        self._is_closed = False
        self._context = copy_context()  # not that of the run which asks first

    def value(self, provider: Provider, arguments: dict[str, Any], in_child: bool, work: Work) -> Any:
        """Return the value, in a thread or a child. If another thread makes it, wait until the job has timed out."""
        key = provider.function, in_child
        while key not in self._values:
            making, is_maker = self._claim(key, work, MAX_MAKINGS)
            if is_maker:
                return self._make(key, provider, arguments, work)
            with suppress(_MakingEnded):
                return making.future.result(_seconds_left(work))
        return self._values[key]

    async def value_in_loop(self, provider: Provider, arguments: dict[str, Any], work: Work) -> Any:
        """Return the value, in the event loop."""
        key = provider.function, False
        most = MAX_MAKINGS if provider.is_async else 1  # one that hangs in a thread would hang here too
        while key not in self._values:
            making, is_maker = self._claim(key, work, most)
            if is_maker and not provider.is_async:
                return self._make(key, provider, arguments, work)
            holder = self._hold(key, provider, arguments, work) if is_maker else None
            try:
                return await asyncio.wrap_future(making.future)
            except _MakingEnded:
                continue
            finally:
                if holder is not None:
                    holder.end_making()
        return self._values[key]

    def _claim(self, key: _Key, work: Work, most: int) -> tuple[_Making, bool]:
        """Return the making of a value, and whether the caller must do it, beside fewer than `most`."""
        with self._lock:
            making = self._made.get(key)
            if making is not None and (
                making.work.stopping is None or key in self._values or self._under_way[key] >= most
            ):
                return making, False
            if self._is_closed or work.stopping is not None:
                raise RuntimeError(_STOPPED)
            if making is None:
                making = self._made[key] = _Making(work)
            making.work = work
            self._under_way[key] += 1
            return making, True

    def _make(self, key: _Key, provider: Provider, arguments: dict[str, Any], work: Work) -> Any:
        stack = ExitStack()
        try:
            value = self._context.copy().run(entered, provider, arguments, stack)
        except BaseException as error:
            self._fail(key, work, error, is_ended=work.stopping is not None)
            raise
        if not self._succeed(key, work, stack, value):
            self._leave(stack)
            if self._is_closed:
                raise RuntimeError(_STOPPED)
        return self._values[key]

    def _hold(self, key: _Key, provider: Provider, arguments: dict[str, Any], work: Work) -> Holder:
        holder = Holder(provider, self._on_event)
        holding = holder.hold(arguments, partial(self._succeed, key, work, holder))
        holder.task = asyncio.create_task(holding, name="queuey-provider", context=self._context.copy())
        holder.task.add_done_callback(lambda _: self._let_go(key, work, holder))
        self._holders.add(holder)
        return holder

    def _let_go(self, key: _Key, work: Work, holder: Holder) -> None:
        self._holders.discard(holder)
        if not holder.is_made:
            self._fail(key, work, holder.error, holder.is_ended)

    def _succeed(self, key: _Key, work: Work, end: ExitStack | Holder, value: object) -> bool:
        """Keep the value. Return False if it must be left at once: there is another, or the worker has stopped."""
        with self._lock:
            self._under_way[key] -= 1
            if self._is_closed or key in self._values:
                return False
            self._ends.append(end)
            self._values[key] = value
            self._made.setdefault(key, _Making(work)).future.set_result(value)
            return True

    def _fail(self, key: _Key, work: Work, error: BaseException, is_ended: bool) -> None:
        """Report the error to those that wait for the value, unless another run makes it.

        `is_ended`: the run was stopped. Those that wait try themselves.
        """
        with self._lock:
            self._under_way[key] -= 1
            making = self._made.get(key)
            if making is None or making.work is not work or key in self._values:
                return
            del self._made[key]
            making.future.set_exception(_MakingEnded() if is_ended else error)

    async def close(self, seconds: float) -> None:
        """Leave the values within this time, those first that were made last. An error is reported as an event.

        Makings that have not ended are ended before, in half of the time: one that ignores that leaves the rest.
        """
        until = monotonic() + seconds
        ends = self._take_ends()
        await asyncio.gather(*(holder.leave(seconds / 2) for holder in self._holders.difference(ends)))
        for end in ends:
            if isinstance(end, Holder):
                await end.leave(max(0.0, until - monotonic()))
            else:
                self._leave(end)

    def close_plain(self) -> None:
        """Leave the values in a child process, which has none that is async."""
        for end in self._take_ends():
            if isinstance(end, ExitStack):
                self._leave(end)

    def _take_ends(self) -> list[ExitStack | Holder]:
        with self._lock:
            self._is_closed = True
            ends, self._ends = self._ends, []
        return ends[::-1]

    def _leave(self, stack: ExitStack) -> None:
        try:
            stack.close()
        except BaseException as error:
            self._on_event("provider_failed", error=describe(error))


def _seconds_left(work: Work) -> float:
    """Return the seconds until the job has timed out, and the spare ones."""
    now = monotonic()
    began = now if work.started_at is None else work.started_at
    return max(0.0, began + work.limit + SPARE_SECONDS - now)
