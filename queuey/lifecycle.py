"""The start and the end of a process, for all its parts: signals, tasks, pauses between retries, later callbacks."""

from __future__ import annotations

import asyncio
import gc
import math
import signal
from collections.abc import Callable, Coroutine, Iterable
from contextvars import Context
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
ECHO: Final = 0.2
"""Seconds within which a signal is the same one again: `timeout` and a terminal's process group deliver it twice."""
CANCEL_AGAIN: Final = 0.1
"""Seconds after which a task that still runs is cancelled once more."""
CANCELS: Final = 100
LATE: Final = 0.1
"""Seconds by which a timer is late if something has blocked the event loop."""
AGAIN: Final = 0.5
"""Seconds that a reply gets after that, to be read or still to come."""
MAX_AGAIN: Final = 10
"""The number of times that a timer is set again because it was late."""


def freeze() -> None:
    """Exempt every object that exists from garbage collection. Call it once a process has started.

    A full collection walks all objects that it may collect, which takes 25 ms for those that the imports make, and the
    event loop stands still meanwhile. Objects that are made later are collected as before.
    """
    gc.collect()
    gc.freeze()


class StopSignals:
    """SIGTERM and SIGINT: the first asks for a drain, the second for an end at once. SIGHUP asks for a drain only."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.port_first = False
        """Whether another server may be waiting for our port: it is given up before the jobs are done, not after."""
        self._first_at = 0.0

    def install(self) -> None:
        """Take the signals over from Python's default handlers, for as long as the event loop runs."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        drain_on_hangup(self.first)

    def _on_signal(self) -> None:
        now = asyncio.get_running_loop().time()
        if not self.first.is_set():
            self._first_at = now
            self.first.set()
        elif now > self._first_at + ECHO:
            self.second.set()


def drain_on_hangup(first: asyncio.Event) -> None:
    """Set the event on SIGHUP, unless the signal is ignored, as under nohup.

    It never asks for more than a drain: a terminal that closes may send it several times, its shell once more, and
    systemd with SendSIGHUP= just after SIGTERM.
    """
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, first.set)


def ignore_signals() -> None:
    """Ignore the signals that ask for an end, in a process that has done all and only exits now.

    The event loop has left their default actions. A signal that comes twice, as from a terminal, `timeout` or a service
    manager, would kill the process then, with another exit code than 0.
    """
    for number in (*SIGNALS, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


class Retrying:
    """The pauses between the attempts of something that fails: `first` seconds, then twice as long each time, up to
    `cap`. Call `reset` once an attempt succeeds."""

    def __init__(self, first: float, cap: float) -> None:
        self._first = first
        self._cap = cap
        self._next = first

    def next(self) -> float:
        """Return the seconds to pause before the next attempt."""
        pause = self._next
        self._next = min(pause * 2, self._cap)
        return pause

    async def wait(self, at_most: float = math.inf) -> None:
        """Sleep until the next attempt, `at_most` so many seconds."""
        await asyncio.sleep(min(self.next(), at_most))

    def reset(self) -> None:
        """Begin with the first pause again."""
        self._next = self._first


def call_after_passes(passes: int, callback: Callable[..., object], *args: Any, context: Context | None = None) -> None:
    """Call `callback(*args)` in the pass of the event loop that comes so many passes after this one, at least 1."""
    if passes > 1:
        callback = partial(call_after_passes, passes - 1, callback, context=context)
    asyncio.get_running_loop().call_soon(callback, *args, context=context)


class Alarm:
    """Calls `ring` at `when` (the event loop's time), unless something blocked the event loop at that time.

    A timer that is late may come before the replies that lie in the socket are read, and before the answers to calls
    that the block kept back. So it says nothing about the other side: it is set again for AGAIN seconds, at most
    MAX_AGAIN times.
    """

    __slots__ = ("_again", "_loop", "_ring", "_timer", "_when")

    def __init__(self, when: float, ring: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ring = ring
        self._again = 0
        self._set(when)

    def cancel(self) -> None:
        """Call nothing any more."""
        self._timer.cancel()

    def _set(self, when: float) -> None:
        self._when = when
        self._timer = self._loop.call_at(when, self._due)

    def _due(self) -> None:
        now = self._loop.time()
        if now - self._when > LATE and self._again < MAX_AGAIN:
            self._again += 1
            self._set(now + AGAIN)
        else:
            self._ring()


class TimeLimit:
    """The time limit of an `async with` block, as asyncio.timeout_at sets one, with an Alarm for its timer."""

    __slots__ = ("_alarm", "_timeout", "_when")

    def __init__(self, when: float) -> None:
        self._timeout = asyncio.timeout(None)
        self._when = when

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._alarm = Alarm(self._when, self._end)
        return self

    def _end(self) -> None:
        self._timeout.reschedule(self._when)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._alarm.cancel()
        await self._timeout.__aexit__(kind, error, trace)


class Part:
    """A part of a process.

    All parts are started in order, drained in order at the end, and stopped in the reverse order. Each overrides the
    steps that it has.
    """

    @property
    def running(self) -> int:
        """Number of jobs that this part runs now."""
        return 0

    async def start(self) -> None:
        """Begin. Raises StartupError when it cannot; `stop` is called then too."""

    async def drain(self) -> None:
        """Finish what is under way, and begin nothing more."""

    async def abandon(self) -> None:
        """Give up what is under way, as far as that takes no time: a second signal has come."""

    async def stop(self) -> None:
        """Free what it holds."""


class Tasks:
    """The background tasks of a process's parts. None of them should end before the process does."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in a task of its own, under the name that a log line gives when it fails."""
        self.add(asyncio.create_task(coroutine, name=name))

    def add(self, task: asyncio.Task[None]) -> None:
        """Include a task that runs already."""
        self._tasks.add(task)

    async def ended_before(self, stop: asyncio.Event) -> list[asyncio.Task[None]]:
        """Wait until `stop` is set or a task ends. Returns the tasks that ended."""
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({stopping, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        return [task for task in self._tasks if task in done]

    async def end(self) -> None:
        """Cancel every task, and wait until it has ended."""
        await end_tasks(self._tasks)


async def done_before(coroutine: Coroutine[Any, Any, None], event: asyncio.Event) -> bool:
    """Return whether the coroutine ended before the event was set; otherwise it was cancelled. Raises its error."""
    task = asyncio.create_task(coroutine)
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
        return False
    task.result()
    return True


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended, for about ten seconds at most. Their errors are dropped.

    Once is not enough: Python 3.11's asyncio.wait_for, through which redis-py sends, drops a cancellation that comes
    just as it succeeds.
    """
    left = set(tasks)
    for _ in range(CANCELS):
        if not left:
            return
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN)
