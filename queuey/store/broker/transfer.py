"""The scripts of lua/transfer/: export and import."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from queuey.store.broker.calls import CLAIM_BYTES, LOG_TTL_MS, Group, numbers, words
from queuey.store.replies import Dumped, DumpedJob, HeldKey

_dumped = msgspec.msgpack.Decoder(Dumped).decode
_two_lists = msgspec.msgpack.Decoder(tuple[list[str], list[str]]).decode


class TransferCalls(Group):
    """Dumps and restores jobs."""

    async def dump(self, shard: int, job_ids: Sequence[str], keys: Sequence[str] = (), *, now: int = 0) -> Dumped:
        """Read jobs and dedupe keys for restore. Missing ones are left out."""
        return _dumped(await self._call(shard, "dump", now, job_ids, keys, CLAIM_BYTES))

    async def restore(
        self, shard: int, jobs: Sequence[DumpedJob], keys: Sequence[HeldKey] = (), *, now: int = 0
    ) -> tuple[list[str], list[str]]:
        """Put jobs and keys into the store.

        Replies with `ok`, `there` or `too_many_queues` for each job, with `ok`, `there` or `past` for each key."""
        return _two_lists(await self._call(shard, "restore", now, jobs, keys, LOG_TTL_MS))

    async def restore_schedules(self, shard: int, items: Sequence[tuple[str, str, Sequence[str]]]) -> list[str]:
        """Put schedules into the store, each as name, record and the lines of its history.

        Replies with `ok`, `there`, `too_many` or `closed` for each."""
        return words(await self._call(shard, "restore_schedules", *items))

    async def reorder(self, shard: int, queue: str, lane: str, positions: Sequence[tuple[str, int]]) -> int:
        """Give restored jobs their order in a lane: ids with positions below 0. Returns how many it found."""
        return numbers(await self._call(shard, "reorder", queue, lane, positions))[0]

    async def save_offset(self, shard: int, export_id: str, offset: int) -> int:
        """Store how many bytes of an export are imported, and return that number."""
        return numbers(await self._call(shard, "save_offset", export_id, offset))[0]
