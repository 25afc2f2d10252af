"""Waiting for work without polling: a blocking pop of the wake markers, and a timer for what is due next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Protocol, cast

from redis import exceptions as redis_errors

from queuey import log
from queuey.store.connections.pipelined import StoreClient
from queuey.store.keys import poke_key
from queuey.store.shards import Shards

BLOCK_SECONDS: Final = 2
"""A marker that was lost with its replica is made good after at most this."""
POKE_SECONDS: Final = 60
"""For which a poke stays, should its replica have died meanwhile."""
RETRY_FIRST: Final = 0.1
RETRY_CAP: Final = 2.0

_Popped = tuple[bytes, bytes, bytes]
"""Key, member, score."""

logger = log.get(__name__)


class Waker:
    """Blocks on the markers of some shards, on a connection of its own, and names the shards worth a claim.

    After a marker that is its shard; after a timeout, an error or an unblocking it is every one. `may_wait` is set
    while the process has a free slot and nothing to claim: a full one must leave the markers to others, and one that
    filled up while it waited hands on the marker that it got.
    """

    def __init__(
        self,
        client: StoreClient,
        shards: Shards,
        group: Sequence[int],
        queues: Sequence[str],
        may_wait: asyncio.Event,
        on_wake: Callable[[int], None],
    ) -> None:
        self._link = client.link
        self._group = group
        self._shard_by_key = {shards.keys[shard].wake(queue).encode(): shard for queue in queues for shard in group}
        self._may_wait = may_wait
        self._on_wake = on_wake

    async def run(self) -> None:
        """Wait and wake until cancelled."""
        pause = RETRY_FIRST
        keys = list(self._shard_by_key)
        while True:
            await self._may_wait.wait()
            try:
                popped = cast(_Popped | None, await self._link.call("BZPOPMIN", *keys, BLOCK_SECONDS))
                if popped and not self._may_wait.is_set():
                    key, marker, score = popped
                    await self._link.call("ZADD", key, score, marker)
            except (redis_errors.RedisError, OSError) as error:
                logger.debug("wake_wait_failed", error=str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_CAP)
                popped = None
            else:
                pause = RETRY_FIRST
            for shard in [self._shard_by_key[popped[0]]] if popped else self._group:
                self._on_wake(shard)


class Pollers(Protocol):
    """Those who wait in this process, each for work of some queues."""

    some: asyncio.Event
    """Set while there is anybody."""

    @property
    def queues(self) -> Collection[str]:
        """Those that somebody waits for."""

    def wake(self, shard: int, queue: str) -> bool:
        """Tell one of them that there may be work. False when nobody waits for that queue."""

    def wake_each(self, shards: Sequence[int]) -> None:
        """Tell one of each kind to look, unasked."""


class SharedWaker:
    """Blocks on the markers of some shards for a whole crowd, on one connection, while there is anybody.

    Whose queues are not among those that the wait under way is for has it begin anew, by `cover`. A marker that
    nobody here could use goes back to the store, for others. `calls` is for what must not wait behind the blocking.
    """

    def __init__(
        self,
        client: StoreClient,
        calls: StoreClient,
        shards: Shards,
        group: Sequence[int],
        crowd: Pollers,
        replica: str,
    ) -> None:
        self._link = client.link
        self._calls = calls.link
        self._shards = shards
        self._group = group
        self._crowd = crowd
        self._poke = poke_key(shards.keys[group[0]], replica)
        self._covered: frozenset[str] | None = None
        """What the wait under way is for; None while there is none, or it is about to begin anew."""

    async def run(self) -> None:
        """Wait and wake until cancelled."""
        loop = asyncio.get_running_loop()
        pause = RETRY_FIRST
        round_ends = loop.time() + BLOCK_SECONDS
        while True:
            if not self._crowd.some.is_set():
                await self._crowd.some.wait()
                round_ends = loop.time() + BLOCK_SECONDS
            try:
                await self._wait_once(max(0.001, round_ends - loop.time()))
                pause = RETRY_FIRST
            except (redis_errors.RedisError, OSError) as error:
                logger.debug("wake_wait_failed", error=str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_CAP)
                round_ends = loop.time()
            finally:
                self._covered = None
            if loop.time() >= round_ends:
                self._crowd.wake_each(self._group)
                round_ends = loop.time() + BLOCK_SECONDS

    async def _wait_once(self, seconds: float) -> None:
        self._covered = frozenset(self._crowd.queues)
        places = {
            self._shards.keys[shard].wake(queue).encode(): (shard, queue)
            for queue in self._covered
            for shard in self._group
        }
        popped = cast(_Popped | None, await self._link.call("BZPOPMIN", self._poke, *places, f"{seconds:.3f}"))
        if popped is not None and popped[0] in places:
            shard, queue = places[popped[0]]
            if not self._crowd.wake(shard, queue):
                await self.hand_on(shard, queue)

    async def cover(self, queues: Iterable[str]) -> None:
        """Somebody came who waits for these. Should the store not answer, the wait ends by itself soon."""
        if self._covered is None or self._covered.issuperset(queues):
            return
        self._covered = None
        try:
            await self._calls.call("ZADD", self._poke, 0, "m")
            await self._calls.call("EXPIRE", self._poke, POKE_SECONDS)
        except (redis_errors.RedisError, OSError) as error:
            logger.debug("poke_failed", error=str(error))

    async def hand_on(self, shard: int, queue: str) -> None:
        """Put back a marker that came, for whom else it may concern. Should that fail, their round makes it good."""
        try:
            await self._calls.call("ZADD", self._shards.keys[shard].wake(queue), 0, "m")
        except (redis_errors.RedisError, OSError) as error:
            logger.debug("marker_lost", error=str(error))


def wake_groups(shards: Shards, *, cluster: bool) -> list[list[int]]:
    """Which shards one blocking call may cover: all, but on a Cluster, which refuses keys of two slots, one each."""
    every = list(range(shards.count))
    return [[shard] for shard in every] if cluster else [every]
