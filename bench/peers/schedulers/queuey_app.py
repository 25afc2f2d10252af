"""Queuey: the App that `queuey serve` runs."""

from __future__ import annotations

from bench.peers.schedulers import scripts
from queuey import App

app = App()


@app.job("tick")
async def tick(payload: None) -> None:
    scripts.ran()
