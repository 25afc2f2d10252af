"""The App under measurement: jobs that do nothing, so that what is left is the queue."""

from __future__ import annotations

import time

from queuey import App

app = App()


@app.job("bench.noop")
async def noop(payload: str) -> None:
    return None


@app.job("bench.clock")
async def clock(payload: None) -> int:
    """When it ran, in ns of the system-wide monotonic clock."""
    return time.monotonic_ns()
