"""The App that `queuey serve` runs here: the same two handlers as every peer has."""

from __future__ import annotations

from bench.peers.adapters import common
from queuey import App

app = App()


@app.job("noop")
async def noop(payload: str) -> None:
    common.done()


@app.job("clock")
async def clock(payload: str) -> None:
    common.picked_up(payload)
