"""An App whose handlers raise SystemExit in a task that they make, and stop or empty their event loop."""

from __future__ import annotations

import asyncio
import sys

from queuey import App

PATH = f"{__name__}:app"

app = App()


@app.job("exit")
async def leave(_: None) -> str:
    async def end() -> None:
        sys.exit(5)

    task = asyncio.create_task(end())
    await asyncio.wait([task])
    return repr(task.exception())


@app.job("stop")
async def stop(_: None) -> str:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.01)
    return "went on"


@app.job("cancel", max_attempts=1)
async def cancel(_: None) -> None:
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(0)


@app.job("noop")
async def noop(_: None) -> None: ...
