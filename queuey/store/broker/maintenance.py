"""The scripts of lua/maintenance/: expired leases, jobs that come due, past their retention, or set aside."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from queuey.store.broker.calls import Group, numbers
from queuey.store.broker.moves import MOVES
from queuey.store.replies import Buried, Caps, NotedTypes, Promoted, Reaped, Trimmed

_reaped = msgspec.msgpack.Decoder(Reaped).decode
_promoted = msgspec.msgpack.Decoder(Promoted).decode
_trimmed = msgspec.msgpack.Decoder(Trimmed).decode
_lists = msgspec.msgpack.Decoder(list[tuple[str, str, str, int]]).decode
_noted = msgspec.msgpack.Decoder(list[NotedTypes]).decode
_buried = msgspec.msgpack.Decoder(Buried).decode


class MaintenanceCalls(Group):
    """Reaps expired leases, promotes due jobs, and deletes jobs past their retention."""

    async def reap(
        self, shard: int, limit: int, delays_ms: Sequence[int], *, by_ms: int | None = None, now: int = 0
    ) -> Reaped:
        """End expired leases, unless it is later than `by_ms`. The delays until the next attempt are used in turn."""
        reaped = _reaped(await self._call(shard, "reap", now, limit, delays_ms, by_ms))
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

    async def tidy_asides(self, shard: int, queue: str = "") -> list[tuple[str, str, str, int]]:
        """Drop the names of empty lists set aside. Returns the others as (queue, priority, type, length).

        `queue`: only the lists of this one."""
        return _lists(await self._call(shard, "tidy_asides", queue))

    async def name_asides(self, shard: int, lists: Sequence[tuple[str, str, str]]) -> int:
        """Give lists set aside, each as (queue, priority, type), their names. Returns how many names were missing."""
        return numbers(await self._call(shard, "name_asides", lists))[0]

    async def bury_unknown(
        self,
        shard: int,
        limit: int,
        lists: Sequence[tuple[str, str, str, int]],
        known: Sequence[str] = (),
        *,
        now: int = 0,
    ) -> Buried:
        """Make dead letters of jobs in lists set aside that no worker knew in time, and cancel those that have expired.

        `lists`: each as (queue, priority, type, ttl in ms), with ttl 0 for a type that a worker knows. `known`: the
        types that a worker knows, for the lists `*`. It looks at `limit` jobs at most."""
        buried = _buried(await self._call(shard, "bury_unknown", now, limit, lists, known))
        if self._observer.on:
            for job_id in buried.dead:
                self._observer.moved(job_id, MOVES["bury_unknown"]["dead"])
            for job_id in buried.expired:
                self._observer.moved(job_id, MOVES["bury_unknown"]["expired"])
        return buried

    async def note_types(
        self, shard: int, queues: Sequence[tuple[str, bool, Sequence[str]]], *, now: int = 0
    ) -> Sequence[NotedTypes]:
        """Keep since when types have been unknown, and when a worker that takes every type last asked.

        `queues`: each with whether such a worker asks for it now, and all types that no live worker of it takes."""
        return _noted(await self._call(shard, "note_types", now, queues))
