"""The Apps of the fault suite: one deed, done in the event loop, in a thread or in a process, and put into the ledger.

Most rounds need only one of them. The others know more types, or fewer.
The ledger's path is in the environment, so that child processes write to it too.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from queuey import App, Context
from tests.faults.evidence.ledger import Ended, How, Ledger, Started, now

LEDGER: Final = "FAULTS_LEDGER"
PATH: Final = f"{__name__}:app"
NEWER_PATH: Final = f"{__name__}:newer"
LOOPS_PATH: Final = f"{__name__}:loops"
OTHERS_PATH: Final = f"{__name__}:others"
TYPES: Final = ("loop", "thread", "process")
ITEMS: Final = "items"
"""The type of the jobs that get batches of items. It writes nothing into the ledger: the store says what ran."""
FRESH: Final = "fresh"
"""A type that only the newer App knows."""

app, newer = App(), App()
loops, others = App(), App()
"""They share the types of `app`."""


class Deed(Struct, omit_defaults=True):
    """`take`: seconds, spent waiting. `fails`: the first attempts fail, so many. `block`: seconds for which the whole
    thread is held. `kill`: instead of failing, the process that runs the handler dies. `fork`: the handler forks at its
    end, and the copy goes on: it `returns` or `raises`. `keeps`: it adds its token to a checkpoint before it
    begins, and logs it."""

    take: float = 0.0
    fails: int = 0
    block: float = 0.0
    kill: bool = False
    fork: str = ""
    keeps: bool = False


class Failing(Exception):
    """What a deed raises that is told to fail."""


@cache
def _ledger() -> Ledger:
    return Ledger(Path(os.environ[LEDGER]))


@contextmanager
def _attempt(ctx: Context) -> Iterator[None]:
    pid = os.getpid()
    _ledger().write(Started(now(), ctx.job_id, ctx.type, ctx.attempt, ctx.token, pid))
    how: How = "stopped"
    try:
        yield
        how = "ok"
    except Failing:
        how = "failed"
        raise
    finally:
        _ledger().write(Ended(now(), ctx.job_id, ctx.token, how, pid))


def _finish(deed: Deed, ctx: Context) -> dict[str, Any]:
    """The token is a part of the result, so that the store tells whose result it took."""
    time.sleep(deed.block)
    if ctx.attempt <= deed.fails:
        if deed.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        raise Failing(f"attempt {ctx.attempt} of {deed.fails} that fail")
    return {"token": ctx.token} | ({"kept": ctx.last_checkpoint} if deed.keeps else {})


def _checkpoints(ctx: Context) -> tuple[list[str], list[str]]:
    """The tokens of the attempts before, and those with this one: if the first arrives late, this one is missing."""
    before = list(ctx.last_checkpoint or ())
    return before, [*before, ctx.token]


def _fork(how: str) -> None:
    """After the attempt's last line in the ledger, which a copy must not write again."""
    if how and os.fork() == 0 and how == "raises":
        os.execvp("no-such-tool", ["no-such-tool"])


@newer.job(FRESH)
@newer.job("loop")
@loops.job("loop")
@app.job("loop")
async def in_loop(deed: Deed, ctx: Context) -> dict[str, Any]:
    if deed.keeps:
        for tokens in _checkpoints(ctx):
            await ctx.checkpoint(tokens)
        ctx.log.info("kept", token=ctx.token)
    with _attempt(ctx):
        await asyncio.sleep(deed.take)
        result = _finish(deed, ctx)
    _fork(deed.fork)
    return result


@newer.job(ITEMS)
@loops.job(ITEMS)
@app.job(ITEMS)
async def on_items(items: list[dict[str, str]], ctx: Context) -> dict[str, Any]:
    return {"token": ctx.token, "items": [item["item"] for item in items]}


def _plain(deed: Deed, ctx: Context) -> dict[str, Any]:
    if deed.keeps:
        for tokens in _checkpoints(ctx):
            ctx.checkpoint(tokens)
        ctx.log.info("kept", token=ctx.token)
    with _attempt(ctx):
        time.sleep(deed.take)
        result = _finish(deed, ctx)
    _fork(deed.fork)
    return result


@newer.job("thread")
@others.job("thread")
@app.job("thread")
def in_thread(deed: Deed, ctx: Context) -> dict[str, Any]:
    return _plain(deed, ctx)


@newer.job("process", run_in="process")
@others.job("process", run_in="process")
@app.job("process", run_in="process")
def in_process(deed: Deed, ctx: Context) -> dict[str, Any]:
    return _plain(deed, ctx)
