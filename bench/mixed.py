"""The Apps of the measurement `mixed`: 15 types. In `app` 8 of them run in threads; in `loops` all run on the loop."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from queuey import App

THREAD_TYPES: Final = tuple(f"bench.thread.{number}" for number in range(8))
LOOP_TYPES: Final = tuple(f"bench.loop.{number}" for number in range(7))

app = App()
loops = App()


def in_thread(payload: float) -> None:
    """Take so many ms."""
    if payload:
        time.sleep(payload / 1000)


async def on_loop(payload: float) -> None:
    """Take so many ms."""
    if payload:
        await asyncio.sleep(payload / 1000)


for name in THREAD_TYPES:
    app.job(name)(in_thread)
    loops.job(name)(on_loop)
for name in LOOP_TYPES:
    app.job(name)(on_loop)
    loops.job(name)(on_loop)
