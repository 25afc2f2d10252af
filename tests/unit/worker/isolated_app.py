"""An App with a lifespan, whose handlers wait at a gate in the process that runs them, and may kill it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from queuey import App, Context
from tests.support.handlers import wait_at

PATH = f"{__name__}:app"
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


app = App(lifespan=lifespan)
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


@app.job("process", run_in="process")
def in_process(path: str, ctx: Context) -> object:
    visit(path)
    return ctx.state


@app.job("fails")
async def failing(payload: Any) -> None:
    raise ValueError("an ordinary fault")
