"""The shards of a store: the one that a job is on, and the client that reaches it."""

from __future__ import annotations

from typing import Final

from queuey.protocol import ids
from queuey.store.connections.pipelined import StoreClient
from queuey.store.keys import DEFAULT_PREFIX, ShardKeys

MAX_SHARDS: Final = ids.BUCKETS


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

    def client_of(self, shard: int) -> StoreClient:
        """Return the connection pool of the node that holds a shard."""
        return self.client
