"""An App whose handlers go on where an earlier attempt stopped: in the loop, in a thread and in a child process."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from queuey import App, CheckpointFailed, Context

PATH: Final = "tests.unit.worker.handlers.checkpoint_app:app"
app = App()


class Steps(msgspec.Struct):
    """The values to keep, one after the other; `refused`: the handler expects that the last one is not kept."""

    keep: list[Any]
    refused: bool = False
    size: int = 0


@app.job("loop")
async def in_loop(steps: Steps, ctx: Context) -> list[Any]:
    seen = [ctx.last_checkpoint]
    try:
        for value in steps.keep:
            await ctx.checkpoint(value)
            seen.append(ctx.last_checkpoint)
        if steps.size:
            await ctx.checkpoint("x" * steps.size)
    except CheckpointFailed as error:
        seen.append(str(error))
    return seen


def keep(steps: Steps, ctx: Context) -> list[Any]:
    seen = [ctx.last_checkpoint]
    try:
        for value in steps.keep:
            ctx.checkpoint(value)
            seen.append(ctx.last_checkpoint)
        if steps.size:
            ctx.checkpoint("x" * steps.size)
    except CheckpointFailed as error:
        seen.append(str(error))
    return seen


@app.job("thread")
def in_thread(steps: Steps, ctx: Context) -> list[Any]:
    return keep(steps, ctx)


@app.job("process", run_in="process")
def in_process(steps: Steps, ctx: Context) -> list[Any]:
    ctx.progress(1, 2)
    return keep(steps, ctx)
