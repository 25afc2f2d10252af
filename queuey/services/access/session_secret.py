"""The secret that signs the sessions of the page. All replicas of a store read the same one."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Final

from queuey.store.broker.broker import Broker

MAX_AGE: Final = 5.0
"""Seconds after which the secret is read again. So long a session may go on after `logout-all`."""
_BYTES: Final = 32


class SessionSecret:
    """Keeps the secret in memory for a few seconds, so that a request of the page costs no call to the store."""

    def __init__(self, broker: Broker, clock: Callable[[], float] = time.monotonic) -> None:
        self._broker = broker
        self._clock = clock
        self._known = b""
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def current(self) -> bytes:
        """Return the secret, which is at most MAX_AGE old; b'' if there is none. Raises StoreUnavailable."""
        return await self.since(self._clock() - MAX_AGE)

    async def since(self, moment: float) -> bytes:
        """Return the secret as it was at this moment or later, by the clock. Those who wait share one call."""
        if self._read_at < moment:
            async with self._reading:
                if self._read_at < moment:
                    await self._take("")
        return self._known

    def now(self) -> float:
        """Return the time, by the clock."""
        return self._clock()

    async def made(self) -> bytes:
        """Return the secret as the store has it, which is made if there is none. Raises StoreUnavailable."""
        await self._take(secrets.token_hex(_BYTES))
        return self._known

    async def renew(self) -> None:
        """Replace the secret, which ends all sessions. Raises StoreUnavailable."""
        await self._take(secrets.token_hex(_BYTES), replace=True)

    async def _take(self, new: str, *, replace: bool = False) -> None:
        began = self._clock()
        found = await self._broker.access.session_key(new, replace=replace)
        if began >= self._read_at:
            self._known, self._read_at = bytes.fromhex(found), began
