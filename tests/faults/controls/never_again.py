"""Importing this makes a replica register at its start only, and not on a store that was emptied since."""

from __future__ import annotations

from queuey.services.maintenance.heartbeat import Heartbeat


async def register_again(self: Heartbeat, shards: int) -> None:
    """Do nothing."""


Heartbeat._register_again = register_again  # type: ignore[method-assign]
