"""The lag watch: measures how long the event loop is blocked."""

from __future__ import annotations

import asyncio

from queuey.metrics import Metrics


class LagWatch:
    """Measures twice a second how late the event loop is: a handler that blocks it delays everything else."""

    def __init__(self, metrics: Metrics, interval: float = 0.5) -> None:
        self._metrics = metrics
        self._interval = interval

    async def run_once(self) -> float:
        """Set a timer, and measure how late it is."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._interval
        await asyncio.sleep(self._interval)
        self._metrics.loop_lag.observe(max(0.0, loop.time() - due))
        return 0.0
