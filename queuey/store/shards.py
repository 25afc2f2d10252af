"""The shards of a store: the one that a job is on, and the client that reaches it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from queuey.protocol import ids
from queuey.store.connections.pipelined import StoreClient
from queuey.store.keys import DEFAULT_PREFIX, ShardKeys

MAX_SHARDS: Final = ids.BUCKETS

Result = TypeVar("Result")


class Shards:
    """The shards of one store. A shard is the unit of atomicity: its keys have one hash tag."""

    def __init__(self, client: StoreClient, count: int = 1, prefix: str = DEFAULT_PREFIX) -> None:
        self.client = client
        self.count = count
        self.prefix = prefix
        self.keys = [ShardKeys(shard, prefix) for shard in range(count)]

    def of_job(self, job_id: str) -> int:
        """Return the shard of a well-formed job id."""
        return ids.bucket_of(job_id) % self.count

    def of_schedule(self, name: str) -> int:
        """Return the shard of a schedule, which its jobs are on too."""
        return ids.bucket_of_key(name) % self.count

    def client_of(self, shard: int) -> StoreClient:
        """Return the connection pool of the node that holds a shard."""
        return self.client

    async def close(self) -> None:
        """Close the connections."""
        await self.client.aclose()


async def on_each(shards: Iterable[int], work: Callable[[int], Awaitable[Result]]) -> list[Result]:
    """Do the work on these shards, all at a time, and return the results in their order.

    Raises the first error when all have ended: a shard that does not answer stops the work on no other.
    """
    results: list[Result] = []
    for result in await asyncio.gather(*map(work, shards), return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
        results.append(result)
    return results
