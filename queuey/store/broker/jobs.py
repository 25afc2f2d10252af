"""Scripts of lua/jobs/: one job, and lists of jobs."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from queuey.protocol.records import NewJob, StoredJob, names_of
from queuey.store.broker.calls import Group, word, words
from queuey.store.broker.moves import MOVES
from queuey.store.keys import cancel_channel
from queuey.store.replies import Listed, Page, Place, Placed

_stored = msgspec.msgpack.Decoder(list[StoredJob]).decode
_listed = msgspec.msgpack.Decoder(list[Listed]).decode
_placed = msgspec.msgpack.Decoder(Placed).decode
_page = msgspec.msgpack.Decoder(Page).decode


class JobCalls(Group):
    """One job, and lists of jobs."""

    async def enqueue(
        self, shard: int, jobs: Sequence[NewJob], *, full: bool = False, copies: int = 0, now: int = 0
    ) -> list[str]:
        """Per job `new`, `duplicate <holder id>`, `full` or `too_many_queues`. `full`: take no new job.

        `copies`: replicas of the store that must have it all; else it is StoreUnavailable, perhaps done."""
        answers = words(await self._call(shard, "enqueue", now, full, jobs, copies > 0, copies=copies))
        if self._observer.on:
            for job, answer in zip(jobs, answers, strict=True):
                if answer in MOVES["enqueue"]:
                    type, queue = names_of(f"{job.head}\n{job.body[:1024]}")
                    self._observer.status(job.id, type, queue, "queued" if job.is_due else "scheduled", 0)
        return answers

    async def get(self, shard: int, job_ids: Sequence[str]) -> list[StoredJob]:
        """What is stored of each job; an empty definition when there is none."""
        return _stored(await self._call(shard, "get", *job_ids))

    async def cancel(self, shard: int, job_ids: Sequence[str], *, now: int = 0) -> list[str]:
        """Per job `cancelled`, `cancelling`, `finished` or `missing`."""
        channel = cancel_channel(self._shards.prefix)
        answers = words(await self._call(shard, "cancel", now, channel, job_ids))
        if self._observer.on:
            self._moved(job_ids, answers, MOVES["cancel"])
        return answers

    async def run_now(self, shard: int, request_id: str, job_ids: Sequence[str], *, now: int = 0) -> list[str]:
        """Scheduled jobs are due now. Per job `ok`, `not_scheduled` or `missing`."""
        answers = words(await self._call(shard, "run_now", now, request_id, job_ids))
        if self._observer.on:
            self._moved(job_ids, answers, MOVES["run_now"])
        return answers

    async def set_payload(self, shard: int, job_id: str, body: str) -> str:
        """Another definition, as JSON, for a dead job: `ok`, `wrong_state` or `missing`."""
        return word(await self._call(shard, "set_payload", job_id, body))

    async def delete(self, shard: int, job_ids: Sequence[str], *, now: int = 0) -> list[str]:
        """Finished jobs are gone. Per job `ok`, `unfinished` or `missing`."""
        return words(await self._call(shard, "delete", now, job_ids))

    async def progress(
        self, shard: int, reports: Sequence[tuple[str, str, str]], ttl_ms: int = 3_600_000, *, now: int = 0
    ) -> list[str]:
        """`reports`: id, token, progress as JSON. Per job the head of its definition, or '' when the lease is lost."""
        return words(await self._call(shard, "progress", now, ttl_ms, reports))

    async def watch_end(self, shard: int, job_ids: Sequence[str]) -> list[str]:
        """Per job `waiting` (its end will be published), `finished` or `missing`."""
        return words(await self._call(shard, "watch_end", *job_ids))

    async def list_by_status(
        self, shard: int, place: Place, queue: str = "", lane: str = "", start: int = 0, count: int = 1000
    ) -> list[Listed]:
        """Ids in one place, first to last; `queue` '' means all queues, for running, dead and finished."""
        return _listed(await self._call(shard, "list_by_status", place, queue, lane, start, count))

    async def list_jobs(
        self,
        shard: int,
        places: Sequence[tuple[Place, str, str]],
        *,
        after: tuple[int, int, str] = (0, 0, ""),
        type: str = "",
        status: str = "",
        count: int = 50,
        look: int = 1000,
    ) -> Page:
        """Jobs of the places (place, queue, lane), one after the other.

        `after`: offset, score and id in the first place, of the entry that the page before ended with. `status`: a
        letter of the state. Looks at `look` entries and places at most.
        """
        return _page(await self._call(shard, "list_jobs", places, after, type, status, count, look))

    async def position(self, shard: int, queue: str, lane: str, job_id: str, *, look: int) -> Placed:
        """Where a job stands among the first `look` entries of a lane."""
        return _placed(await self._call(shard, "position", queue, lane, job_id, look))
