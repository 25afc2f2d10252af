"""Stopping handlers that run, at their timeout or on request. After the grace they are given up."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Protocol

from queuey.lifecycle import Alarm
from queuey.worker.handlers.attempt import StopReason, Work


class OnEvent(Protocol):
    """Takes an event that an operator should see: its name and its fields. A method of a structlog logger fits."""

    def __call__(self, event: str, /, **fields: object) -> object: ...


class Stopper:
    """Stops attempts by cancelling the tasks that run them. An attempt can be stopped while it waits for something.

    `grace`: the seconds that a stopped attempt has to end. The Stopper counts its own cancellations, to distinguish
    them from those of others and to take them back. All methods belong to the event loop's thread.
    """

    def __init__(self, grace: float, on_event: OnEvent) -> None:
        self.running: set[Work] = set()
        self.grace = grace
        self._on_event = on_event
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self, work: Work) -> None:
        """Allow the work to be stopped, until `leave`. The task that runs it must call this."""
        task = asyncio.current_task()
        assert task is not None
        work.task = task
        work.interrupts_before = task.cancelling()
        self.running.add(work)
        self._idle.clear()

    def start_timer(self, work: Work, timeout: float) -> None:
        """Stop the work `timeout` seconds after its handler started.

        Another handler may block the event loop then. What this one waits for may have come meanwhile.
        """
        assert work.started_at is not None
        left = work.started_at + timeout - time.monotonic()
        work.timer = Alarm(asyncio.get_running_loop().time() + max(0.0, left), partial(self.stop, work, "timeout"))

    def stop(self, work: Work, reason: StopReason) -> None:
        """Cancel the work, and give it up if it still runs after the grace. The first reason is kept."""
        if work.stopping is not None:
            return
        work.stopping = reason
        if work.task is not None:
            if work.timer is not None:
                work.timer.cancel()
            work.timer = asyncio.get_running_loop().call_later(self.grace, self._abandon, work)
            self._interrupt(work)

    def _abandon(self, work: Work) -> None:
        work.abandoned = True
        self._on_event("handler_abandoned", job_id=work.id, type=work.type, reason=work.stopping)
        self._interrupt(work)

    def _interrupt(self, work: Work) -> None:
        assert work.task is not None
        work.interrupts += 1
        work.task.cancel()

    def interrupted(self, work: Work) -> bool:
        """Return whether anyone has cancelled the work's task since it entered."""
        return work.task is not None and work.task.cancelling() > work.interrupts_before

    def leave(self, work: Work) -> bool:
        """Register that the work has ended. Return whether others have cancelled its task meanwhile."""
        if work.task is None:
            return False
        if work.timer is not None:
            work.timer.cancel()
        for _ in range(work.interrupts):
            work.task.uncancel()
        by_others = self.interrupted(work)
        work.task = work.timer = None
        self.running.discard(work)
        if not self.running:
            self._idle.set()
        return by_others

    async def idle(self, seconds: float) -> bool:
        """Wait until nothing runs, at most for this time. Return whether nothing runs."""
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True
