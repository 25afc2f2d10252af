"""Reading the dead-letter queue: its jobs page by page, and groups of jobs with the same error."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Final

import msgspec

from queuey.protocol import ids
from queuey.protocol.models import DeadGroup, DeadGroups, DeadLetter, DeadPage, Job
from queuey.protocol.records import from_ms, to_job
from queuey.services import cursors
from queuey.services.dlq.merge import Position
from queuey.services.dlq.scan import DeadWalk, Filter, Found
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline

MAX_PAGE: Final = 500
MAX_PAGE_BYTES: Final = 4_000_000
"""The bytes of definitions and states on one page. The page ends with the job that exceeds them."""
MAX_GROUPS: Final = 1000

Visible = Callable[[str], bool]


class _Cursor(cursors.Cursor, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The last dead job that a page looked at."""

    died_at_ms: int
    id: str

    @property
    def position(self) -> Position:
        return self.died_at_ms, self.id


async def list_dead(
    broker: Broker, wanted: Filter, visible: Visible, limit: int, cursor: str | None, request_deadline: float
) -> DeadPage:
    """Return a page of up to `limit` dead jobs (1 to 500) of the visible queues.

    The page may be short although it has a `next`. Raises Invalid for a cursor of another list, and StoreUnavailable.
    """
    start = (0, "") if cursor is None else cursors.decode(cursor, _Cursor, wanted, _is_possible).position
    walk = DeadWalk(broker, wanted, visible, request_deadline, start)
    found: list[Found] = []
    size = 0
    async with aclosing(walk.found()) as entries:
        async for entry in entries:
            found.append(entry)
            size += entry.job.bytes
            if len(found) >= limit or size > MAX_PAGE_BYTES:
                break
    following = cursors.encode(_Cursor(cursors.digest(wanted), *walk.at)) if walk.more else None
    return DeadPage(await _read(broker, found, request_deadline), following)


def _is_possible(cursor: _Cursor) -> bool:
    return 0 <= cursor.died_at_ms < 2**48 and ids.is_id(cursor.id)


async def group_dead(broker: Broker, wanted: Filter, visible: Visible, request_deadline: float) -> DeadGroups:
    """Return the groups of dead jobs of one fingerprint. Raises StoreUnavailable."""
    walk = DeadWalk(broker, wanted, visible, request_deadline)
    groups: dict[str, DeadGroup] = {}
    async for entry in walk.found():
        died_at = from_ms(entry.job.died_at_ms)
        group = groups.get(entry.fingerprint)
        if group is None:
            cause = entry.cause
            group = DeadGroup(
                entry.fingerprint, entry.job.type, cause.kind, cause.message, 0, died_at, died_at, entry.job.id
            )
            groups[entry.fingerprint] = group
        group.count += 1
        group.newest, group.example, group.message = died_at, entry.job.id, entry.cause.message
    largest = sorted(groups.values(), key=lambda group: (-group.count, group.fingerprint))
    return DeadGroups(largest[:MAX_GROUPS], walk.looked, not walk.more and len(largest) <= MAX_GROUPS)


async def _read(broker: Broker, found: Sequence[Found], request_deadline: float) -> list[DeadLetter]:
    """Return the whole jobs in their order, without those that have been replayed or deleted since."""
    by_shard: defaultdict[int, list[str]] = defaultdict(list)
    for entry in found:
        by_shard[broker.shards.of_job(entry.job.id)].append(entry.job.id)
    read: dict[str, Job] = {}
    for shard, job_ids in by_shard.items():
        stored = await Deadline(request_deadline).call(broker.jobs.get, shard, job_ids)
        for job_id, one in zip(job_ids, stored, strict=True):
            if one.definition:
                read[job_id] = to_job(job_id, one)
    return [
        DeadLetter(**msgspec.structs.asdict(read[entry.job.id]), fingerprint=entry.fingerprint)
        for entry in found
        if entry.job.id in read and read[entry.job.id].status == "dead_letter"
    ]
