"""The scripts of lua/replicas/: replicas of Queuey and their workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from queuey.errors import StartupError
from queuey.protocol import ids
from queuey.store.broker.calls import DATA_FORMAT, STALE_MS, Group, numbers, word
from queuey.store.replies import About, Beat, Replicas, TypeReports

MAX_REPORTS_BYTES: Final = 8_000_000
"""The maximum size of all descriptions that `type_reports` returns, but for the last one."""

_about = msgspec.msgpack.Decoder(About).decode
_beat = msgspec.msgpack.Decoder(Beat).decode
_type_reports = msgspec.msgpack.Decoder(TypeReports).decode
_replicas = msgspec.msgpack.Decoder(Replicas).decode


class ReplicaCalls(Group):
    """Registers replicas, sends their heartbeats, and lists their workers."""

    async def register(self) -> None:
        """Compare this replica's data format and number of shards with the store's. A difference is a StartupError."""
        store_id = ids.short_random()
        for shard in range(self._shards.count):
            data_format, count = numbers(await self._call(shard, "register", DATA_FORMAT, self._shards.count, store_id))
            if count != self._shards.count:
                raise StartupError(
                    f"The store holds its jobs in {count} shards and this process asks for {self._shards.count}: "
                    f"start it with --shards {count}."
                )
            if data_format != DATA_FORMAT:
                raise StartupError(
                    f"The store's data has format {data_format} and this version of Queuey reads {DATA_FORMAT}: "
                    "start the version that wrote it."
                )

    async def store_info(self, shard: int, *, now: int = 0) -> About:
        """Read the format, the shards and the identity of the store, without registering."""
        return _about(await self._call(shard, "store_info", now))

    async def heartbeat(
        self,
        shard: int,
        replica: str,
        description: str,
        stale_ms: int = STALE_MS,
        quiet_here: Sequence[str] = (),
        *,
        now: int = 0,
    ) -> Beat:
        """Send a heartbeat. The description '' means that the replica leaves. `quiet_here`: its quiet workers."""
        return _beat(await self._call(shard, "heartbeat", now, replica, description, stale_ms, quiet_here))

    async def workers(self, shard: int, stale_ms: int = STALE_MS, *, now: int = 0) -> Replicas:
        """List the replicas that sent a heartbeat within `stale_ms`."""
        return _replicas(await self._call(shard, "workers", now, stale_ms))

    async def type_reports(self, shard: int, mark: str, stale_ms: int = STALE_MS, *, now: int = 0) -> TypeReports:
        """Read what the live replicas report of types, if it has changed since the reply with this mark."""
        return _type_reports(await self._call(shard, "type_reports", now, stale_ms, mark, MAX_REPORTS_BYTES))

    async def quiet_worker(self, shard: int, worker: str, *, now: int = 0) -> str:
        """Make a worker claim no more jobs. Replies with `ok` or `too_many`."""
        return word(await self._call(shard, "quiet_worker", now, worker))
