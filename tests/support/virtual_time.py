"""An event loop whose clock jumps to the next timer as soon as there is nothing else to do: hours take no time."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """For code without I/O; a loop that waits for a socket would not see its clock advance."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._ready: Any
        self._scheduled: Any

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        timers = [] if self._ready else [timer._when for timer in self._scheduled if not timer._cancelled]
        if timers:
            self._now = max(self._now, min(timers))
        super()._run_once()  # type: ignore[misc]

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the threads without a limit. Since Python 3.12 a runner sets one, at which the clock would jump."""
        await super().shutdown_default_executor()


def block(seconds: float) -> None:
    """Let time pass in which the running loop does nothing, as a handler does that does not await."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop._now += seconds


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs an async test on a loop of virtual time."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(test(*arguments, **named))

    return run
