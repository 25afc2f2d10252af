"""Which shard a job is on, and the connections to the store."""

from __future__ import annotations

from typing import Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from queuey import ids
from queuey.keys import DEFAULT_PREFIX, ShardKeys

MAX_SHARDS: Final = ids.BUCKETS


def connect(url: str, *, timeout: float, max_connections: int) -> Redis:
    """A client without retries of its own, which would run a script more than once on their own account.

    `timeout` in seconds holds for connecting and for every reply. Callers above `max_connections` wait for a free one,
    at most as long.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=timeout,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)


class Shards:
    """The shards of one store. A shard is the unit of atomicity: its keys bear one hash tag."""

    def __init__(self, client: Redis, count: int = 1, prefix: str = DEFAULT_PREFIX) -> None:
        self.client = client
        self.count = count
        self.prefix = prefix
        self.keys = [ShardKeys(shard, prefix) for shard in range(count)]

    def of_job(self, job_id: str) -> int:
        """The shard of a well-formed job id."""
        return ids.bucket_of(job_id) % self.count

    def client_of(self, shard: int) -> Redis:
        """The connection pool of the node that holds a shard."""
        return self.client
