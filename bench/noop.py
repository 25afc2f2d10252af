"""The App under measurement: jobs that do nothing, so that what is left is the queue."""

from __future__ import annotations

import gc
import time

from queuey import App

app = App()


@app.job("bench.noop")
async def noop(payload: str) -> None:
    return None


@app.job("bench.echo")
async def echo(payload: str) -> str:
    """A result as large as the payload."""
    return payload


@app.job("bench.cpu")
async def cpu(payload: str) -> None:
    """Takes 1 ms of this thread's CPU, however long that takes."""
    enough = time.thread_time() + 0.001
    while time.thread_time() < enough:
        pass


@app.job("bench.burn")
async def burn(ms: int) -> None:
    """Takes so many ms of this thread's CPU, and does not await anything."""
    enough = time.thread_time() + ms / 1000
    while time.thread_time() < enough:
        pass


@app.job("bench.clock")
async def clock(payload: None) -> int:
    """When it ran, in ns of the system-wide monotonic clock."""
    return time.monotonic_ns()


@app.job("bench.wall")
async def wall(payload: None) -> int:
    """When it ran, in ns of the wall clock, by which the store schedules."""
    return time.time_ns()


@app.job("bench.collect")
async def collect(payload: None) -> int:
    """A full collection of garbage in the server, with every other request waiting. Returns what it found."""
    return gc.collect()
