"""Giving back the jobs that cannot begin, while a handler blocks the event loop of the handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from queuey import log
from queuey.worker.handlers.attempt import Work
from queuey.worker.held_job import HeldJob

ADVICE: Final = "No job is claimed until the event loop of the handlers runs again: see event_loop_blocked."

logger = log.get(__name__)


class Stalls:
    """Has the jobs of attempts that were withdrawn released, with no attempt spent, so that other workers run them.

    `release(held, seconds)` gives jobs back within a time, and lets go of them. `settle` is called when the worker may
    claim no more, or may again.
    """

    def __init__(
        self,
        running: Mapping[str, HeldJob],
        release: Callable[[Sequence[HeldJob], float], Coroutine[Any, Any, None]],
        seconds: float,
        settle: Callable[[], None],
    ) -> None:
        self._running = running
        self._release = release
        self._seconds = seconds
        self._settle = settle
        self._releases: set[asyncio.Task[None]] = set()

    def changed(self, withdrawn: Sequence[Work]) -> None:
        """Take the attempts that were withdrawn because of a stall; none at its end."""
        held = [each for work in withdrawn if (each := self._running.get(work.id)) is not None and each.work is work]
        for each in held:
            each.releasing = True
        if held:
            logger.warning("stalled_jobs_released", jobs=len(held), advice=ADVICE)
            task = asyncio.create_task(self._release(held, self._seconds))
            self._releases.add(task)
            task.add_done_callback(self._releases.discard)
        self._settle()
