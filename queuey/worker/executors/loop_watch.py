"""The loop watch: measures how late the event loop is, and names the handler that blocks it.

A blocked loop cannot report anything. So a thread looks at its beat, and if that is overdue, at the frames of the
loop's thread. No job does anything for that.
"""

from __future__ import annotations

import asyncio
import math
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Final, Literal, NamedTuple

from queuey import log
from queuey.metrics import Metrics
from queuey.worker.executors.loop import CALLS_HANDLERS
from queuey.worker.executors.running import run_to_end
from queuey.worker.executors.stopping import OnEvent
from queuey.worker.handlers.attempt import Work
from queuey.worker.handlers.error_text import is_own

BEAT_SECONDS: Final = 0.25
LOOK_SECONDS: Final = 0.25
"""Seconds between two looks of the thread, unless the limit is shorter than four of them."""
JOIN_SECONDS: Final = 1.0
ADVICE: Final = (
    "Await what takes long. Make a handler that blocks or computes a plain def, which runs in a thread, or give it "
    "run_in='process'."
)

Loop = Literal["server", "handlers"]
"""`handlers`: the event loop of an App that has its own one (own_loop.py)."""
_RUNS_LOOP: Final = run_to_end.__code__

logger = log.get(__name__)


class Blocker(NamedTuple):
    """The code that blocks the event loop: its job, if it is a handler, and a line, the user's own if there is one."""

    type: str | None
    job_id: str | None
    at: str


class LoopWatch:
    """Measures how late the event loop is, and reports what blocks it for `limit` seconds. With 0 it reports nothing.

    `run_once` is the beat. `on_event` is called in the thread with event_loop_blocked, once each time, and in the event
    loop with event_loop_free when that has ended.
    """

    def __init__(
        self,
        limit: float,
        metrics: Metrics,
        loop: Loop = "server",
        *,
        on_event: OnEvent | None = None,
        beat: float = BEAT_SECONDS,
    ) -> None:
        self._limit = limit
        self._loop = loop
        self._metrics = metrics
        self._on_event = logger.warning if on_event is None else on_event
        self._beat = beat
        self._lock = threading.Lock()
        self._due = math.inf
        """The time.monotonic() at which the beat is due."""
        self._blocker: Blocker | None = None
        """What has been reported since the last beat."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when `is_blocked` has changed: in the thread, or in the event loop at the end of a block."""
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_blocked(self) -> bool:
        """Whether a block was reported that has not ended."""
        return self._blocker is not None

    def start(self) -> None:
        """Watch the event loop of the calling thread."""
        if self._limit > 0:
            watched = threading.get_ident()
            self._thread = threading.Thread(target=self._watch, args=[watched], daemon=True, name="queuey-loop-watch")
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(JOIN_SECONDS)

    async def run_once(self) -> float:
        """Set a timer, and measure how late it is."""
        due = time.monotonic() + self._beat
        self._due = due
        try:
            await asyncio.sleep(self._beat)
        finally:
            with self._lock:
                blocker, self._blocker, self._due = self._blocker, None, math.inf
        late = max(0.0, time.monotonic() - due)
        if self._loop == "server":
            self._metrics.loop_lag.observe(late)
        if blocker is not None:
            self.on_change()
            self._metrics.loop_blocked.add((self._loop,), late)
            self._on_event(
                "event_loop_free", loop=self._loop, type=blocker.type, job_id=blocker.job_id, seconds=round(late, 1)
            )
        return 0.0

    def _watch(self, watched: int) -> None:
        pause = min(LOOK_SECONDS, self._limit / 4)
        looked_at, computed = time.monotonic(), time.process_time()
        while not self._stopping.wait(pause):
            now, used = time.monotonic(), time.process_time()
            self.look(now, watched, stood=_stood(now - looked_at - pause, used - computed))
            looked_at, computed = now, used

    def look(self, now: float, watched: int, *, stood: float = 0.0) -> None:
        """Report what blocks the event loop of the thread `watched`, if its beat is overdue at `now`.

        `stood`: the seconds since the last look in which the whole process stood still, so that the loop could not run.
        """
        due = self._due
        if stood > self._limit / 2:
            self._due = max(due, now + self._beat)
        if stood > self._limit / 2 or now - due < self._limit or self._blocker is not None:
            return
        blocker = blocker_of(sys._current_frames().get(watched))
        with self._lock:
            if blocker is None or self._due != due:
                return  # the loop runs again
            self._blocker = blocker
        self.on_change()
        seconds = round(now - due, 1)
        self._on_event("event_loop_blocked", loop=self._loop, **blocker._asdict(), seconds=seconds, advice=ADVICE)


def _stood(late: float, computed: float) -> float:
    """Return the seconds for which the process stood still, if a thread is so `late` and the process `computed`.

    A process that computes is not stopped: one call in C may hold the interpreter, and block its event loop.
    """
    return late if computed < late / 2 else 0.0


def blocker_of(frame: FrameType | None) -> Blocker | None:
    """Return what runs in this frame, the innermost of a thread. None: there is none."""
    inner, running = frame, []
    while frame is not None and frame.f_code not in CALLS_HANDLERS and frame.f_code is not _RUNS_LOOP:
        running.append(frame)
        frame = frame.f_back
    work = frame.f_locals.get("work") if frame is not None and frame.f_code in CALLS_HANDLERS else None
    own = next((each for each in running if is_own(each.f_code.co_filename)), None)
    if own is None:  # the handler is in a library, or no handler runs
        own = running[-1] if running and work is not None else inner
    if own is None:
        return None
    at = f"{own.f_code.co_filename}:{own.f_lineno} in {own.f_code.co_qualname}"
    return Blocker(work.type, work.id, at) if isinstance(work, Work) else Blocker(None, None, at)
