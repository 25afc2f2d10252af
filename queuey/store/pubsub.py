"""Messages from the store (a running job was cancelled, an awaited job ended, a client follows events), and the stream
of job events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from redis import exceptions as redis_errors
from redis.asyncio import Redis

from queuey import log
from queuey.lifecycle import Retrying
from queuey.store.connections.pipelined import StoreClient
from queuey.store.keys import ShardKeys
from queuey.store.scripts import translate

RETRY_FIRST: Final = 0.1
RETRY_CAP: Final = 5.0
SILENCE: Final = 15.0
"""Seconds without a message after which the store is pinged. After as many again, the connection is closed."""

BLOCK_MS: Final = 2_000
READ_COUNT: Final = 500
FIRST: Final = "0-0"
"""An id before all others."""

Entry = tuple[str, bytes]
"""An event's id and its text."""

logger = log.get(__name__)


class Subscriber:
    """Passes each message of some channels to its handler, on a connection of its own.

    `on_open` is awaited each time that all channels are subscribed to, before the first message is passed on. `on_lost`
    is called when the subscription is lost. Messages published in between are missed.
    """

    def __init__(
        self,
        client: Redis,
        handlers: Mapping[str, Callable[[str], None]],
        on_open: Callable[[], Awaitable[None]] | None = None,
        on_lost: Callable[[], None] = lambda: None,
        retries: Retrying | None = None,
    ) -> None:
        self._client = client
        self._handlers = handlers
        self._on_open = on_open or _nothing
        self._on_lost = on_lost
        self._retries = retries or Retrying(RETRY_FIRST, RETRY_CAP)

    async def run_once(self) -> float:
        """Listen until the connection is lost. Returns the seconds until the next attempt to connect."""
        try:
            async with self._client.pubsub() as pubsub:
                await pubsub.subscribe(*self._handlers)
                await self._listen(pubsub)
        except (redis_errors.RedisError, OSError) as error:
            logger.debug("subscription_lost", error=str(error))
        finally:
            self._on_lost()
        return self._retries.next()

    async def _listen(self, pubsub: Any) -> None:
        """Pass messages on until the connection is lost. A store that vanished is noticed after twice SILENCE."""
        standing, asked = 0, False
        while True:
            message = await pubsub.get_message(timeout=SILENCE)
            if message is None:
                if asked:
                    raise redis_errors.ConnectionError("the store does not answer a ping")
                await pubsub.ping()
            asked = message is None
            if message is None:
                continue
            if message["type"] == "subscribe":
                standing += 1
                if standing == len(self._handlers):
                    self._retries.reset()
                    await self._on_open()
            elif message["type"] == "message":
                self._handlers[message["channel"].decode()](message["data"].decode(errors="replace"))


class EventStream:
    """The stream of all job events in the store. An id is `<ms>-<number>`, by the store's clock.

    `client` is blocked by it, so it must be used for nothing else. Every method raises QueueyError.
    """

    def __init__(self, client: StoreClient, keys: ShardKeys) -> None:
        self._link = client.link
        self._key = keys.events

    async def last(self) -> str:
        """Return the id of the newest event; FIRST when there is none."""
        entries = _entries(await self._call("XREVRANGE", self._key, "+", "-", "COUNT", 1))
        return entries[0][0] if entries else FIRST

    async def after(self, event_id: str, count: int) -> list[Entry] | None:
        """Return up to `count` events after this one, oldest first. None: this event is not in the stream."""
        if event_id == FIRST:
            return _entries(await self._call("XRANGE", self._key, "-", "+", "COUNT", count))
        entries = _entries(await self._call("XRANGE", self._key, event_id, "+", "COUNT", count + 1))
        return entries[1:] if entries and entries[0][0] == event_id else None

    async def next(self, event_id: str) -> list[Entry]:
        """Return the events after this one. Waits for the first, BLOCK_MS at most."""
        command = ("XREAD", "COUNT", READ_COUNT, "BLOCK", BLOCK_MS, "STREAMS", self._key, event_id)
        streams = await self._call(*command)
        if not streams:
            return []
        if isinstance(streams, dict):  # as RESP3 has it
            streams = list(streams.items())
        return _entries(streams[0][1])

    async def _call(self, *command: str | int) -> Any:
        try:
            return await self._link.call(*command)
        except (redis_errors.RedisError, OSError) as error:
            raise translate(str(command[0]), error) from error


def _entries(found: Any) -> list[Entry]:
    return [(event_id.decode(), fields[1]) for event_id, fields in found or ()]


async def _nothing() -> None:
    """Do nothing: the default for `on_open`."""
