"""Listing schedules, page by page: shard by shard, and by name on each shard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

from msgspec import Struct

from queuey import log
from queuey.errors import UpgradeInProgress
from queuey.protocol.models import SchedulePage
from queuey.protocol.stored.schedules import Schedule as Stored
from queuey.services import cursors
from queuey.services.schedules.keeping import Schedules
from queuey.services.schedules.reading import is_name
from queuey.services.schedules.views import Kept, shown
from queuey.store.deadline import Deadline

MAX_PAGE: Final = 500
MAX_LOOKED_AT: Final = 10_000
"""The maximum number of schedules that one request looks at."""
MAX_PAGE_BYTES: Final = 4_000_000
"""The bytes of specs on one page. The page ends with the schedule that exceeds them."""
_LOOK: Final = 100
_log = log.get(__name__)


class Wanted(Struct, frozen=True):
    """The schedules that a list contains. None allows any."""

    queue: str | None = None


class Cursor(cursors.Cursor, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The last schedule of a page; `after` is its name, or '' at the beginning of a shard."""

    shard: int
    after: str = ""


class Found(Struct):
    """The schedules of a page, and the cursor of the next one."""

    kept: list[Kept]
    next: str | None


async def list_schedules(
    schedules: Schedules,
    wanted: Wanted,
    visible: Callable[[str], bool],
    limit: int,
    cursor: str | None,
    deadline: Deadline,
) -> SchedulePage:
    """Return a page of up to `limit` schedules (1 to 500) whose queues are visible, each with its next tick.

    The page may be short although it has a `next`. Raises Invalid for a cursor of another list, and StoreUnavailable.
    """
    count = schedules.broker.shards.count

    def is_possible(cursor: Cursor) -> bool:
        return 0 <= cursor.shard < count and (cursor.after == "" or is_name(cursor.after))

    start = Cursor(cursors.digest(wanted), 0)
    if cursor is not None:
        start = cursors.decode(cursor, Cursor, wanted, is_possible)
    found = await _page(schedules, wanted, visible, limit, start, deadline)
    return SchedulePage([shown(kept, ticks=1) for kept in found.kept], found.next)


async def _page(
    schedules: Schedules, wanted: Wanted, visible: Callable[[str], bool], limit: int, at: Cursor, deadline: Deadline
) -> Found:
    kept: list[Kept] = []
    looked_at = size = 0
    while at.shard < schedules.broker.shards.count:
        stored, ended = await deadline.call(schedules.broker.schedules.list_schedules, at.shard, at.after, _LOOK)
        for one in stored:
            if len(kept) >= limit or looked_at >= MAX_LOOKED_AT or size > MAX_PAGE_BYTES:
                return Found(kept, cursors.encode(at))
            at = Cursor(at.wanted, at.shard, one.name)
            looked_at += 1
            found = _read(schedules, one)
            if found is not None and visible(found.queue) and wanted.queue in (None, found.queue):
                kept.append(found)
                size += len(one.spec)
        if ended or not stored:
            at = Cursor(at.wanted, at.shard + 1)
    return Found(kept, None)


async def every_schedule(schedules: Schedules, deadline: Deadline) -> AsyncIterator[Kept]:
    """Yield all schedules, at most as many as a store can have. Raises StoreUnavailable."""
    for shard in range(schedules.broker.shards.count):
        async for kept in schedules_on(shard, schedules, deadline):
            yield kept


async def schedules_on(shard: int, schedules: Schedules, deadline: Deadline) -> AsyncIterator[Kept]:
    """Yield the schedules of a shard. Raises StoreUnavailable."""
    after, ended = "", False
    while not ended:
        stored, ended = await deadline.call(schedules.broker.schedules.list_schedules, shard, after, _LOOK)
        for one in stored:
            if (found := _read(schedules, one)) is not None:
                yield found
        after, ended = (stored[-1].name, ended) if stored else (after, True)


def _read(schedules: Schedules, stored: Stored) -> Kept | None:
    try:
        return schedules.kept(stored)
    except UpgradeInProgress as error:  # one that cannot be read must not hide the others
        _log.warning("schedule_unreadable", schedule=stored.name, error=error.message)
        return None
