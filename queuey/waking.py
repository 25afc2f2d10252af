"""Waiting for work without polling: a blocking pop of the wake markers, and a timer for what is due next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, cast

from redis import exceptions as redis_errors

from queuey import log
from queuey.link import StoreClient
from queuey.shards import Shards

BLOCK_SECONDS: Final = 2
"""A marker that was lost with its replica is made good after at most this."""
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


def wake_groups(shards: Shards, *, cluster: bool) -> list[list[int]]:
    """Which shards one blocking call may cover: all, but on a Cluster, which refuses keys of two slots, one each."""
    every = list(range(shards.count))
    return [[shard] for shard in every] if cluster else [every]
