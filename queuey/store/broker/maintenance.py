"""The scripts of lua/maintenance/: expired leases, jobs that come due, jobs past their retention."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from queuey.store.broker.calls import Group
from queuey.store.broker.moves import MOVES
from queuey.store.replies import Caps, Promoted, Reaped, Trimmed

_reaped = msgspec.msgpack.Decoder(Reaped).decode
_promoted = msgspec.msgpack.Decoder(Promoted).decode
_trimmed = msgspec.msgpack.Decoder(Trimmed).decode


class MaintenanceCalls(Group):
    """Reaps expired leases, promotes due jobs, and deletes jobs past their retention."""

    async def reap(self, shard: int, limit: int, delays_ms: Sequence[int], *, now: int = 0) -> Reaped:
        """End expired leases. The delays until the next attempt are used in turn."""
        reaped = _reaped(await self._call(shard, "reap", now, limit, delays_ms))
        if self._observer.on:
            outcomes = reaped.outcomes
            self._moved([job_id for job_id, _ in outcomes], [outcome for _, outcome in outcomes], MOVES["reap"])
        return reaped

    async def promote(self, shard: int, limit: int, *, now: int = 0) -> Promoted:
        """Move due jobs to their lanes, at most `limit` to each."""
        promoted = _promoted(await self._call(shard, "promote", now, limit, self._observer.on))
        for job_id in promoted.ids:
            self._observer.moved(job_id, MOVES["promote"]["ids"])
        return promoted

    async def trim(self, shard: int, limit: int, caps: Caps, *, now: int = 0) -> Trimmed:
        """Delete at most `limit` jobs past their retention or above the caps."""
        dead = (caps.dead_age_ms, caps.dead_count, caps.dead_bytes)
        finished = (caps.finished_count, caps.finished_bytes, caps.finished_min_age_ms)
        return _trimmed(await self._call(shard, "trim", now, limit, dead, finished))
