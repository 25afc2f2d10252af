"""Messages from the store: which running jobs somebody cancelled, and which jobs that somebody waits for have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from redis import exceptions as redis_errors
from redis.asyncio import Redis

from queuey import log

RETRY_FIRST: Final = 0.1
RETRY_CAP: Final = 5.0
SILENCE: Final = 15.0
"""Seconds without a message after which the store is asked for a sign of life, and again until it is given up."""

logger = log.get(__name__)


class Subscriber:
    """Hands each message of some channels to its handler, on a connection of its own.

    `on_open` is awaited each time that all subscriptions stand, before any message is handed over; `on_lost` is called
    when they stand no more. Messages that came in between are lost.
    """

    def __init__(
        self,
        client: Redis,
        handlers: Mapping[str, Callable[[str], None]],
        on_open: Callable[[], Awaitable[None]],
        on_lost: Callable[[], None],
    ) -> None:
        self._client = client
        self._handlers = handlers
        self._on_open = on_open
        self._on_lost = on_lost
        self._pause = RETRY_FIRST

    async def run(self) -> None:
        """Listen until cancelled; connect again, with backoff, when the connection is lost."""
        self._pause = RETRY_FIRST
        while True:
            try:
                async with self._client.pubsub() as pubsub:
                    await pubsub.subscribe(*self._handlers)
                    await self._listen(pubsub)
            except (redis_errors.RedisError, OSError) as error:
                logger.debug("subscription_lost", error=str(error))
            finally:
                self._on_lost()
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 2, RETRY_CAP)

    async def _listen(self, pubsub: Any) -> None:
        """Until the connection is lost. A store that vanished without a word is noticed within two silences."""
        standing, asked = 0, False
        while True:
            message = await pubsub.get_message(timeout=SILENCE)
            if message is None:
                if asked:
                    raise redis_errors.ConnectionError("no sign of life from the store")
                await pubsub.ping()
            asked = message is None
            if message is None:
                continue
            if message["type"] == "subscribe":
                standing += 1
                if standing == len(self._handlers):
                    self._pause = RETRY_FIRST
                    await self._on_open()
            elif message["type"] == "message":
                self._handlers[message["channel"].decode()](message["data"].decode(errors="replace"))


class CancelListener:
    """Calls `on_cancel(job_id)` for each message on the channel, on a connection of its own.

    A message missed while the connection was down is no loss: the next renewal of the lease tells the same.
    """

    def __init__(self, client: Redis, channel: str, on_cancel: Callable[[str], None]) -> None:
        self._subscriber = Subscriber(client, {channel: on_cancel}, _nothing, lambda: None)

    async def run(self) -> None:
        """Listen until cancelled."""
        await self._subscriber.run()


async def _nothing() -> None:
    """What there is to do when cancels can be heard again."""
