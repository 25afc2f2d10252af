"""Listing jobs, page by page.

A list goes through the shards, in each shard through the queues, and in each queue through the statuses in the order in
which jobs move: scheduled (the next due first), queued (in the order in which they will run), running, dead, finished
(the latest first). Queued jobs that were set aside come behind the others of their lane, type by type. A job that moves
forward between two pages may be listed twice. A job is left out only if it moves back, as in a retry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import UNSET, Struct, UnsetType

from queuey.protocol import ids
from queuey.protocol.models import NAME_PATTERN, PRIORITIES, Job, JobPage, Status
from queuey.protocol.records import encode_key, to_job
from queuey.services import cursors
from queuey.services.times import to_ms
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline
from queuey.store.replies import Page, Paged, Place

MAX_PAGE: Final = 500
MAX_LOOKED_AT: Final = 10_000
"""The maximum number of entries and places that one request looks at."""
MAX_PAGE_BYTES: Final = 4_000_000
"""The bytes of definitions and states on one page. The page ends with the job that exceeds them."""
_LOOK: Final = 1_000
_PLACES_A_CALL: Final = 250
_WAYS: Final[tuple[tuple[Place, str], ...]] = (
    *(("scheduled", lane) for lane in PRIORITIES),
    *(("ready", lane) for lane in PRIORITIES),
    ("running", ""),
    ("dead", ""),
    ("finished", ""),
)
_KIND: Final[dict[Status, tuple[Place, str]]] = {
    "scheduled": ("scheduled", ""),
    "queued": ("ready", ""),
    "running": ("running", ""),
    "dead_letter": ("dead", ""),
    "succeeded": ("finished", "s"),
    "cancelled": ("finished", "c"),
}
"""The places of the jobs of a status, and the letter that distinguishes these jobs from others there."""


class Wanted(Struct, frozen=True):
    """The jobs that a list contains. None and UNSET allow any.

    UNSET is not encoded, so the digest of a list without such a filter is that of older versions.
    """

    queue: str | None = None
    status: Status | None = None
    type: str | None = None
    tag: str | UnsetType = UNSET
    dedupe_key: str | UnsetType = UNSET
    older_than: float | UnsetType = UNSET
    """Seconds since a job was created, at least."""
    younger_than: float | UnsetType = UNSET
    """Seconds since a job was created, at most."""


class Cursor(cursors.Cursor, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The last entry of a page. `score`: of a queued job, the number of the list that has it, as list_jobs gives it."""

    shard: int
    queue: str
    way: int
    offset: int = 0
    score: int = 0
    id: str = ""


async def list_jobs(
    broker: Broker, wanted: Wanted, visible: Callable[[str], bool], limit: int, cursor: str | None, deadline: Deadline
) -> JobPage:
    """Return a page of up to `limit` jobs (1 to 500) from the queues for which `visible` returns True.

    The page may be short although it has a `next`. Raises Invalid for a cursor of another list, and StoreUnavailable.
    """
    walk = _Walk(broker, wanted, visible, deadline)
    if cursor is None:
        return await walk.page(Cursor(cursors.digest(wanted), 0, "", 0), limit)
    return await walk.page(_start(cursor, wanted, broker.shards.count), limit)


def _start(text: str, wanted: Wanted, shards: int) -> Cursor:
    """Return the cursor at which a page begins. Raises Invalid."""

    def is_possible(cursor: Cursor) -> bool:
        return (
            0 <= cursor.shard < shards
            and 0 <= cursor.way < len(_WAYS)
            and (cursor.queue == "" or re.match(NAME_PATTERN, cursor.queue) is not None)
            and 0 <= cursor.offset < 2**48
            and 0 <= cursor.score < 2**48
            and (cursor.id == "" or ids.is_id(cursor.id))
        )

    return cursors.decode(text, Cursor, wanted, is_possible)


class _Walk:
    """The walk of one request through the places."""

    def __init__(self, broker: Broker, wanted: Wanted, visible: Callable[[str], bool], deadline: Deadline) -> None:
        self._broker = broker
        self._wanted = wanted
        self._visible = visible
        self._deadline = deadline
        place, self._letter = _KIND[wanted.status] if wanted.status else (None, "")
        self._ways = [way for way, (kind, _) in enumerate(_WAYS) if place in (None, kind)]
        self._key = encode_key(wanted.dedupe_key) if wanted.dedupe_key else ""
        self._ages = (_ms(wanted.older_than), _ms(wanted.younger_than))
        self._looked = 0
        self._bytes = 0

    async def page(self, at: Cursor, limit: int) -> JobPage:
        """Return the page that begins at a cursor."""
        jobs: list[Job] = []
        for shard in self._shards(at.shard):
            start = at if shard == at.shard else Cursor(at.wanted, shard, "", 0)
            places = await self._places(start)
            while places:
                if len(jobs) >= limit or self._looked >= MAX_LOOKED_AT or self._bytes > MAX_PAGE_BYTES:
                    return JobPage(jobs, cursors.encode(start))
                batch = places[:_PLACES_A_CALL]
                found = await self._look(shard, batch, start, limit - len(jobs))
                kept = self._within_bytes(found.jobs)
                jobs += await self._read(shard, [job.id for job in kept])
                if len(kept) == len(found.jobs) and found.ended:
                    places = places[len(batch) :]
                    start = Cursor(at.wanted, shard, *places[0]) if places else start
                else:
                    last = found.last if len(kept) == len(found.jobs) else _place_of(kept[-1])
                    place, offset, score, job_id = last
                    queue, way = batch[place - 1]
                    start = Cursor(at.wanted, shard, queue, way, offset, score, job_id)
                    places = places[place - 1 :]
        return JobPage(jobs, None)

    def _shards(self, first: int) -> Sequence[int]:
        """Return the shards that are left. All jobs of a dedupe key are on one."""
        count = self._broker.shards.count
        if not self._wanted.dedupe_key:
            return range(first, count)
        shard = ids.bucket_of_key(self._wanted.dedupe_key) % count
        return range(max(first, shard), shard + 1)

    async def _places(self, start: Cursor) -> list[tuple[str, int]]:
        """Return all places of a shard from the cursor on. A place is a queue and an index of `_WAYS`."""
        if self._wanted.queue is not None:
            names = [self._wanted.queue]
        else:
            stats = await self._deadline.call(self._broker.queues.stats, start.shard)
            names = sorted(row.name for row in stats.queues)
        every = [(name, way) for name in names if self._visible(name) for way in self._ways]
        return [place for place in every if place >= (start.queue, start.way)]

    async def _look(self, shard: int, places: Sequence[tuple[str, int]], start: Cursor, count: int) -> Page:
        begins_there = places[0] == (start.queue, start.way)
        found = await self._deadline.call(
            self._broker.jobs.list_jobs,
            shard,
            [(_WAYS[way][0], queue, _WAYS[way][1]) for queue, way in places],
            after=(start.offset, start.score, start.id) if begins_there else (0, 0, ""),
            type=self._wanted.type or "",
            tag=self._wanted.tag or "",
            key=self._key,
            ages=self._ages,
            status=self._letter,
            count=count,
            look=min(_LOOK, MAX_LOOKED_AT - self._looked),
        )
        self._looked += found.looked
        return found

    def _within_bytes(self, found: Sequence[Paged]) -> Sequence[Paged]:
        """Return the jobs that fit in one reply, and the first one that exceeds the limit."""
        for number, job in enumerate(found, 1):
            self._bytes += job.bytes
            if self._bytes > MAX_PAGE_BYTES:
                return found[:number]
        return found

    async def _read(self, shard: int, job_ids: Sequence[str]) -> list[Job]:
        """Return the jobs, without those that were deleted or have another status by now."""
        if not job_ids:
            return []
        stored = await self._deadline.call(self._broker.jobs.get, shard, job_ids)
        jobs = [to_job(job_id, one) for job_id, one in zip(job_ids, stored, strict=True) if one.definition]
        return [job for job in jobs if self._wanted.status in (None, job.status)]


def _ms(age: float | UnsetType) -> int:
    return -1 if age is UNSET else to_ms(age)


def _place_of(job: Paged) -> tuple[int, int, int, str]:
    return job.place, job.offset, job.score, job.id
