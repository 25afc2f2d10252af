"""An App with a lifespan, whose handlers wait at a gate in the process that runs them, and may kill it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from queuey import App, Context
from tests.support.handlers import wait_at

PATH = f"{__name__}:app"
PATH_OF_PROCESSES = f"{__name__}:with_processes"
PATH_WITHOUT_PROCESS = f"{__name__}:without_process"
PATH_OF_BROKEN = f"{__name__}:broken"


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[str]:
    yield f"state of {os.getpid()}"


@asynccontextmanager
async def fails(app: App) -> AsyncIterator[None]:
    _refuse()
    yield


def _refuse() -> None:
    raise ConnectionError("no database here")


@contextmanager
def process_lifespan(app: App) -> Iterator[dict[str, Any]]:
    """Write the file that a job has named when the process ends."""
    state: dict[str, Any] = {"pid": os.getpid(), "file": None, "runs": 0}
    yield state
    if state["file"] is not None:
        Path(state["file"]).write_text(str(os.getpid()))


@contextmanager
def process_fails(app: App) -> Iterator[None]:
    _refuse()
    yield


app = App(lifespan=lifespan)
with_processes = App(lifespan=lifespan, process_lifespan=process_lifespan)
without_process = App(lifespan=lifespan, process_lifespan=process_fails)
broken = App(lifespan=fails)


def visit(path: str) -> None:
    """Wait at the gate. Its answer may be "die"."""
    if wait_at(path) == "die":
        os._exit(9)


@app.job("loop")
@broken.job("loop")
async def in_loop(path: str, ctx: Context) -> object:
    await asyncio.sleep(0)
    visit(path)
    return ctx.state


@app.job("thread")
def in_thread(path: str, ctx: Context) -> object:
    visit(path)
    return ctx.state


@with_processes.job("state", run_in="process")
@without_process.job("state", run_in="process")
def state_of_process(file: str | None, ctx: Context) -> object:
    ctx.state["file"] = file
    ctx.state["runs"] += 1
    return [ctx.state["pid"], os.getpid(), ctx.state["runs"]]


@without_process.job("loop")
async def beside(job: None, ctx: Context) -> object:
    return ctx.state


@app.job("state.only", run_in="process")
def only_state(job: None, ctx: Context) -> object:
    return ctx.state


@app.job("process", run_in="process")
def in_process(path: str, ctx: Context) -> object:
    visit(path)
    return ctx.state


@app.job("fails")
async def failing(payload: Any) -> None:
    raise ValueError("an ordinary fault")
