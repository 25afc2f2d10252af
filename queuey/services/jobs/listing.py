"""Listing jobs, page by page.

A list goes through the shards, in each shard through the queues, and in each queue through the statuses in the order in
which jobs move: scheduled (the next due first), queued (in the order in which they will run), running, dead, finished
(the latest first). Queued jobs that were set aside come behind the others of their lane, type by type. A job that moves
forward between two pages may be listed twice. A job is left out only if it moves back, as in a retry.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final

from msgspec import UNSET, Struct, UnsetType

from queuey.protocol import ids
from queuey.protocol.models import NAME_PATTERN, PRIORITIES, STATUSES, Job, JobPage, Status
from queuey.protocol.records import encode_key, to_job
from queuey.services import cursors
from queuey.services.matching.texts import has_error, has_text, spellings
from queuey.services.times import to_ms
from queuey.store.broker.broker import Broker
from queuey.store.broker.jobs import Filters
from queuey.store.deadline import Deadline
from queuey.store.replies import Page, Paged, Place

MAX_PAGE: Final = 500
MAX_LOOKED_AT: Final = 10_000
"""The maximum number of entries and places that one request looks at."""
MAX_PAGE_BYTES: Final = 4_000_000
"""The bytes of definitions and states on one page. The page ends with the job that exceeds them."""
PAGE_SECONDS: Final = 1.0
"""The time in seconds after which a request looks no further."""
LOOK: Final = 100
"""The maximum number of entries and places that one call to the store looks at, so that it is short."""
READ_BYTES: Final = 500_000
"""The bytes of definitions and states that one call reads. It ends with the job that exceeds them."""
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
_ENDED: Final = ("dead", "finished")


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
    q: str | UnsetType = UNSET
    """A text in the id, type, payload or an error of a job."""
    error: str | UnsetType = UNSET
    """A text in an error of a job."""
    finished_after: datetime | UnsetType = UNSET
    """Jobs that have ended at this time or later."""
    finished_before: datetime | UnsetType = UNSET
    """Jobs that have ended before this time."""
    among: tuple[Status, ...] | UnsetType = UNSET
    """The statuses that an action changes, if `status` is None."""


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
    walk = Walk(broker, wanted, visible, lambda: deadline, cursor)
    jobs: list[Job] = []
    while await walk.more():
        if len(jobs) >= limit or walk.is_long(PAGE_SECONDS):
            return JobPage(jobs, walk.cursor, walk.looked)
        jobs += await walk.some(limit - len(jobs))
    return JobPage(jobs, None, walk.looked)


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


class Walk:
    """The walk of one request through the places. `deadline` returns that of the next call.

    Raises Invalid for a cursor of another list.
    """

    def __init__(
        self,
        broker: Broker,
        wanted: Wanted,
        visible: Callable[[str], bool],
        deadline: Callable[[], Deadline],
        cursor: str | None,
    ) -> None:
        self.looked = 0
        self._broker = broker
        self._wanted = wanted
        self._visible = visible
        self._deadline = deadline
        self._began = time.monotonic()
        self._ways = _ways_of(wanted)
        self._letter = _KIND[wanted.status][1] if wanted.status else ""
        self._filters = _filters_of(wanted)
        self._reads = bool(wanted.q or wanted.error)
        self._bytes = 0
        count = broker.shards.count
        at = Cursor(cursors.digest(wanted), 0, "", 0) if cursor is None else _start(cursor, wanted, count)
        shards = self._shards(at.shard)
        self._at: Cursor | None = None
        if shards:
            self._at = at if at.shard == shards[0] else Cursor(at.wanted, shards[0], "", 0)
        self._left: list[tuple[str, int]] | None = None

    @property
    def cursor(self) -> str | None:
        """The place from which the next request goes on, None at the end."""
        return None if self._at is None else cursors.encode(self._at)

    def is_long(self, seconds: float) -> bool:
        """Return whether the request has looked at as much as it may, or for that time."""
        used_up = self.looked >= MAX_LOOKED_AT or self._bytes > MAX_PAGE_BYTES
        return used_up or (self.looked > 0 and time.monotonic() - self._began >= seconds)

    async def more(self) -> bool:
        """Return whether there are places left."""
        while self._at is not None:
            if self._left is None:
                self._left = await self._places(self._at)
            if self._left:
                return True
            shards = self._shards(self._at.shard + 1)
            self._at = Cursor(self._at.wanted, shards[0], "", 0) if shards else None
            self._left = None
        return False

    async def some(self, limit: int) -> list[Job]:
        """Look a little further, and return up to `limit` jobs. Only after `more` has returned True."""
        at, places = self._here()
        found = await self._look(at, places[:LOOK], limit)
        kept = self._within_bytes(found.jobs)
        jobs = await self._read(at.shard, kept)
        self._go_on(found, kept)
        return jobs

    async def some_ids(self, limit: int) -> tuple[int, Status, list[str]]:
        """Look a little further, and return a shard, a status, and up to `limit` ids of jobs there that had it.

        It reads the jobs only if a text is wanted. The status is one of those wanted if these are of several.
        """
        at, places = self._here()
        found = await self._look(at, places[:LOOK], limit)
        kept = self._within_bytes(found.jobs) if self._reads else found.jobs
        read = [job.id for job in (await self._read(at.shard, kept) if self._reads else kept)]
        self._go_on(found, kept)
        return at.shard, self._wanted.status or (self._wanted.among or STATUSES)[0], read

    def _here(self) -> tuple[Cursor, list[tuple[str, int]]]:
        assert self._at is not None
        assert self._left
        return self._at, self._left

    def _go_on(self, found: Page, kept: Sequence[Paged]) -> None:
        """Go on behind the entries that were looked at, or behind the last job that was kept."""
        at, places = self._here()
        batch = places[:LOOK]
        if len(kept) == len(found.jobs) and found.ended:
            self._left = places[len(batch) :]
            self._at = Cursor(at.wanted, at.shard, *self._left[0]) if self._left else at
        else:
            last = found.last if len(kept) == len(found.jobs) else _place_of(kept[-1])
            place, offset, score, job_id = last
            queue, way = batch[place - 1]
            self._at = Cursor(at.wanted, at.shard, queue, way, offset, score, job_id)
            self._left = places[place - 1 :]

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
            stats = await self._deadline().call(self._broker.queues.stats, start.shard)
            names = sorted(row.name for row in stats.queues)
        every = [(name, way) for name in names if self._visible(name) for way in self._ways]
        return [place for place in every if place >= (start.queue, start.way)]

    async def _look(self, at: Cursor, places: Sequence[tuple[str, int]], limit: int) -> Page:
        begins_there = places[0] == (at.queue, at.way)
        found = await self._deadline().call(
            self._broker.jobs.list_jobs,
            at.shard,
            [(_WAYS[way][0], queue, _WAYS[way][1]) for queue, way in places],
            after=(at.offset, at.score, at.id) if begins_there else (0, 0, ""),
            status=self._letter,
            filters=self._filters,
            count=limit,
            look=max(1, min(LOOK, MAX_LOOKED_AT - self.looked)),
        )
        self.looked += found.looked
        return found

    def _within_bytes(self, found: Sequence[Paged]) -> Sequence[Paged]:
        """Return the jobs that fit in one reply, and the first one that exceeds the limit."""
        for number, job in enumerate(found, 1):
            self._bytes += job.bytes
            if self._bytes > MAX_PAGE_BYTES:
                return found[:number]
        return found

    async def _read(self, shard: int, found: Sequence[Paged]) -> list[Job]:
        """Return the jobs, without those that were deleted or are not wanted by now."""
        jobs: list[Job] = []
        for job_ids in _parts(found):
            stored = await self._deadline().call(self._broker.jobs.get, shard, job_ids)
            read = (to_job(job_id, one) for job_id, one in zip(job_ids, stored, strict=True) if one.definition)
            jobs += [job for job in read if is_wanted(job, self._wanted)]
        return jobs


def is_wanted(job: Job, wanted: Wanted) -> bool:
    """Return whether a job has the status and the texts. Scripts see no difference between a payload and a tag."""
    if wanted.status not in (None, job.status) or (wanted.among and job.status not in wanted.among):
        return False
    return (not wanted.error or has_error(job, wanted.error)) and (not wanted.q or has_text(job, wanted.q))


def _parts(found: Sequence[Paged]) -> Iterator[list[str]]:
    """Yield the ids of jobs, as many as one call reads."""
    part: list[str] = []
    size = 0
    for job in found:
        part.append(job.id)
        size += job.bytes
        if size > READ_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _ways_of(wanted: Wanted) -> list[int]:
    """Return the ways of the statuses that are wanted."""
    statuses = (wanted.status,) if wanted.status else (wanted.among or STATUSES)
    kinds = {_KIND[status][0] for status in statuses}
    if wanted.finished_after or wanted.finished_before:
        kinds &= set(_ENDED)
    return [way for way, (kind, _) in enumerate(_WAYS) if kind in kinds]


def _filters_of(wanted: Wanted) -> Filters:
    """Return the filters as the script takes them."""
    return Filters(
        type=wanted.type or "",
        tag=wanted.tag or "",
        key=encode_key(wanted.dedupe_key) if wanted.dedupe_key else "",
        ages=(_ms(wanted.older_than), _ms(wanted.younger_than)),
        in_job=spellings(wanted.q) if wanted.q else [],
        in_error=spellings(wanted.error) if wanted.error else [],
        finished=(_at(wanted.finished_after), _at(wanted.finished_before)),
    )


def _ms(age: float | UnsetType) -> int:
    return -1 if age is UNSET else to_ms(age)


def _at(time: datetime | UnsetType) -> int:
    return -1 if time is UNSET else max(0, to_ms(time.timestamp()))


def _place_of(job: Paged) -> tuple[int, int, int, str]:
    return job.place, job.offset, job.score, job.id
