"""One handler that says which worker ran it, for loads that many kinds of workers share."""

from __future__ import annotations

import asyncio
import os
from typing import Final

import msgspec

from queuey import App

PATH: Final = f"{__name__}:app"
WHO: Final = "MIXED_JOBS_WHO"
"""The variable with the name that is the handler's result."""

app = App()


class Nap(msgspec.Struct):
    seconds: float


@app.job("sleep")
async def sleep(nap: Nap) -> str:
    await asyncio.sleep(nap.seconds)
    return os.environ[WHO]
