"""Messages from the store: the ids of running jobs that somebody cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from redis import exceptions as redis_errors
from redis.asyncio import Redis

from queuey import log

RETRY_FIRST: Final = 0.1
RETRY_CAP: Final = 5.0

logger = log.get(__name__)


class CancelListener:
    """Calls `on_cancel(job_id)` for each message on the channel, on a connection of its own.

    A message missed while the connection was down is no loss: the next renewal of the lease tells the same.
    """

    def __init__(self, client: Redis, channel: str, on_cancel: Callable[[str], None]) -> None:
        self._client = client
        self._channel = channel
        self._on_cancel = on_cancel

    async def run(self) -> None:
        """Listen until cancelled; connect again, with backoff, when the connection is lost."""
        pause = RETRY_FIRST
        while True:
            try:
                async with self._client.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(self._channel)
                    pause = RETRY_FIRST
                    async for message in pubsub.listen():
                        self._on_cancel(message["data"].decode(errors="replace"))
            except (redis_errors.RedisError, OSError) as error:
                logger.debug("cancel_listener_lost", error=str(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, RETRY_CAP)
