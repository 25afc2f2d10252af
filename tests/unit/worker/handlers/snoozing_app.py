"""An App whose handlers snooze their jobs: in the loop, in a thread and in a child process."""

from __future__ import annotations

import asyncio
from typing import Final

from queuey import App, Snooze

PATH: Final = "tests.unit.worker.handlers.snoozing_app:app"
app = App()


@app.job("loop")
async def in_loop(delay: float) -> None:
    raise Snooze(delay, "not ready")


@app.job("loop.later")
async def in_loop_later(delay: float) -> None:
    await asyncio.sleep(0)
    raise Snooze(delay, "not ready")


@app.job("thread", dead_on=Exception)
def in_thread(delay: float) -> None:
    raise Snooze(delay, "not ready")


@app.job("process", run_in="process", retry_on=OSError)
def in_process(delay: float) -> None:
    raise Snooze(delay, "not ready")
