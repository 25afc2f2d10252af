"""The Broker: one method per Lua script, in groups by noun. Nothing above it knows a command or a key of the store.

A method that moves jobs takes the shard and a batch, and answers with one status word per job, as its script's header
explains. `now` is for tests; 0 means the store's clock. Every method raises StoreUnavailable, Full or ScriptFailed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, TypeVar, cast

from redis import exceptions as redis_errors

from queuey.errors import StoreUnavailable
from queuey.store.broker.calls import Caller, Nobody, Observer
from queuey.store.broker.dlq import DeadLetterCalls
from queuey.store.broker.events import EventCalls
from queuey.store.broker.jobs import BatchCalls, JobCalls
from queuey.store.broker.leases import LeaseCalls
from queuey.store.broker.maintenance import MaintenanceCalls
from queuey.store.broker.queues import QueueCalls
from queuey.store.broker.replicas import ReplicaCalls
from queuey.store.broker.schedules import ScheduleCalls
from queuey.store.broker.transfer import TransferCalls
from queuey.store.broker.watching.access import AccessCalls
from queuey.store.keys import ScanKind, scan_names
from queuey.store.replies import Vitals
from queuey.store.scripts import Scripts, translate
from queuey.store.shards import Shards

Result = TypeVar("Result")

SCAN_COUNT: Final = 1000
"""Keys that the store reads for one reply of `scan`."""


class Broker:
    """Gives the rest of Queuey its access to the store. Its groups are the folders of lua/."""

    def __init__(self, shards: Shards, scripts: Scripts, observer: Observer | None = None) -> None:
        """Make the groups. `observer` gets a report of each job that a call moved."""
        self.shards = shards
        self.observer = observer
        self.scripts = scripts
        self._caller = caller = Caller(shards, scripts, Nobody() if observer is None else observer)
        self.jobs = JobCalls(caller)
        self.leases = LeaseCalls(caller)
        self.dlq = DeadLetterCalls(caller)
        self.queues = QueueCalls(caller)
        self.maintenance = MaintenanceCalls(caller)
        self.replicas = ReplicaCalls(caller)
        self.events = EventCalls(caller)
        self.schedules = ScheduleCalls(caller)
        self.batches = BatchCalls(caller)
        self.transfer = TransferCalls(caller)
        self.access = AccessCalls(caller)

    @property
    def silent(self) -> Collection[int]:
        """The shards whose last call got no reply."""
        return self._caller.silent

    def has_answered(self, shard: int, max_age: float) -> bool:
        """Return whether a script ran on a shard within the last `max_age` seconds."""
        return time.monotonic() - self._caller.answered_at[shard] <= max_age

    async def ask(self, shard: int) -> None:
        """Run a script that reads nothing, to learn whether a shard answers. Raises QueueyError."""
        await self.jobs.get(shard, ())

    async def on_answering(self, work: Callable[[int], Awaitable[Result]]) -> dict[int, Result]:
        """Do the work on each shard that answers, all at a time, and return its results by shard.

        A shard that was silent before is left out. Raises StoreUnavailable if none answers."""
        shards = range(self.shards.count)
        asked = [shard for shard in shards if shard not in self.silent] or list(shards)
        results = await asyncio.gather(*map(work, asked), return_exceptions=True)
        found: dict[int, Result] = {}
        for shard, result in zip(asked, results, strict=True):
            if isinstance(result, StoreUnavailable):
                continue
            if isinstance(result, BaseException):
                raise result
            found[shard] = result
        if not found:
            raise cast(StoreUnavailable, results[0])
        return found

    async def scan(self, kind: ScanKind, cursor: int) -> tuple[int, list[tuple[int, str]]]:
        """Return the next cursor and some names of all shards, as (shard, name). A scan begins and ends with cursor 0.

        A name that exists from the first call to the last is returned at least once, unless the store restarts."""
        pattern, parse = scan_names(self.shards.prefix, kind)
        try:
            following, names = await self.shards.client.scan(cursor, match=pattern, count=SCAN_COUNT)
        except (redis_errors.RedisError, OSError) as error:
            raise translate("SCAN", error) from error
        return int(following), [found for found in map(parse, cast(list[bytes], names)) if found]

    async def vitals(self) -> Vitals:
        """Return the state of the store. It asks with INFO, since managed stores block CONFIG."""
        client = self.shards.client
        try:
            reply = await client.link.call("INFO", "server", "memory")
        except (redis_errors.RedisError, OSError) as error:
            raise translate("info", error) from error
        info = cast(dict[str, Any], client.response_callbacks["INFO"](reply))
        limit = info.get("maxmemory", 0)
        share = info["used_memory"] / limit if limit else 0.0
        return Vitals(str(info["run_id"]), int(info["uptime_in_seconds"]), share)

    async def copies(self) -> int:
        """Return how many replicas of the store have all its data. Raises StartupError if WAIT is not allowed."""
        try:
            return int(await self.shards.client.link.call("WAIT", 0, 1))
        except (redis_errors.RedisError, OSError) as error:
            raise translate("WAIT", error) from error

    async def is_cluster(self) -> bool:
        """Return whether the store is a cluster, which refuses a call with keys of two slots."""
        try:
            info = await self.shards.client.info("cluster")
        except (redis_errors.RedisError, OSError) as error:
            raise translate("info", error) from error
        return bool(info.get("cluster_enabled", 0))

    async def close(self) -> None:
        """Close the connections."""
        await self.shards.close()
