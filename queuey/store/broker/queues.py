"""The scripts of lua/queues/: queues."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from queuey.store.broker.calls import Group, word
from queuey.store.broker.moves import MOVES
from queuey.store.replies import Asides, Purged, QueueHead, Stats

_stats = msgspec.msgpack.Decoder(Stats).decode
_heads = msgspec.msgpack.Decoder(list[QueueHead]).decode
_asides = msgspec.msgpack.Decoder(list[Asides]).decode
_purged = msgspec.msgpack.Decoder(Purged).decode


class QueueCalls(Group):
    """Counts, pauses, resumes and purges queues."""

    async def stats(self, shard: int, minutes: int = 0, *, now: int = 0) -> Stats:
        """Count the jobs in each place of one shard, and read its counters."""
        return _stats(await self._call(shard, "stats", now, minutes))

    async def queue_status(self, shard: int, queues: Sequence[str], *, now: int = 0) -> Sequence[QueueHead]:
        """Read the pause of each queue, and how long its first job has been ready."""
        return _heads(await self._call(shard, "queue_status", now, queues))

    async def list_asides(self, shard: int, queues: Sequence[str], *, now: int = 0) -> Sequence[Asides]:
        """Read the lists set aside of each queue, and when a worker that takes every type last asked for its jobs."""
        return _asides(await self._call(shard, "list_asides", now, queues))

    async def pause(self, shard: int, queue: str, reason: str, by: str = "", *, now: int = 0) -> str:
        """Pause a queue, and reply with `ok` or `too_many_queues`."""
        return word(await self._call(shard, "pause", now, queue, reason, by))

    async def resume(self, shard: int, queue: str) -> str:
        """Resume a queue, and reply with `ok` or `not_paused`."""
        return word(await self._call(shard, "resume", queue))

    async def purge(
        self, shard: int, queue: str, *, queued: bool = True, scheduled: bool = True, limit: int = 500, now: int = 0
    ) -> Purged:
        """Cancel at most `limit` waiting jobs."""
        reporting = self._observer.on
        purged = _purged(await self._call(shard, "purge", now, queue, queued, scheduled, limit, reporting))
        for job_id in purged.ids:
            self._observer.moved(job_id, MOVES["purge"]["ids"])
        return purged
