"""The health of this process: the answers of /healthz and /readyz."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Literal

from queuey.store.broker.broker import Broker

Durability = Literal["verified", "declared", "memory only"]

FRESH: Final = 1.0
"""Seconds for which the store counts as up after an answer."""
PROBE_SECONDS: Final = 1.5
"""Seconds after which a store that has not answered counts as down."""


class Health:
    """The health of this process.

    `draining` is set when it begins to stop. `durability`: how safe an acknowledged job is.
    """

    def __init__(self, broker: Broker, durability: Durability) -> None:
        self.draining = False
        self.durability = durability
        self.note: Callable[[], str] = lambda: ""
        """Returns what a person should look at although requests may come here; '' if there is nothing."""
        self._broker = broker
        self._probe: asyncio.Task[bool] | None = None

    async def store_up(self) -> bool:
        """Return whether a script ran on every shard recently, within PROBE_SECONDS. Callers share one probe."""
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._ask())
        return await asyncio.shield(self._probe)

    async def ready(self) -> tuple[bool, dict[str, str]]:
        """Return whether to send requests here, and the body of /readyz."""
        up = await self.store_up()
        status = "draining" if self.draining else "ready" if up else "store down"
        body = {"status": status, "redis": "up" if up else "down", "durability": self.durability}
        note = self.note()
        return status == "ready", body | {"note": note} if note else body

    async def _ask(self) -> bool:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await self._broker.reachable(FRESH)
        except TimeoutError:
            return False
