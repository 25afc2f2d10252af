"""A walk through dead jobs, the longest dead first over all shards and queues, which looks at a limited number."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from queuey.protocol.records import MAX_UNKNOWN, UNKNOWN_KIND, UNREADABLE
from queuey.services.dlq.fingerprints import fingerprint
from queuey.services.dlq.merge import Position, ShardMerge
from queuey.services.times import to_ms
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline
from queuey.store.replies import Dead, DeadJob

MAX_LOOKED_AT: Final = 10_000
"""The maximum number of dead jobs that one request looks at."""
WALK_SECONDS: Final = 10.0
"""The maximum time in seconds for which one request looks at dead jobs and acts on them."""
_PAGE: Final = 500


class Filter(Struct, frozen=True):
    """The dead jobs that a request asks for. None allows any. Ages are in seconds."""

    queue: str | None = None
    type: str | None = None
    fingerprint: str | None = None
    older_than: float | None = None
    younger_than: float | None = None


class DeathCause(Struct):
    """The part of a stored error that groups dead jobs."""

    kind: str = UNKNOWN_KIND
    message: str = ""


class Found(Struct):
    """A dead job that matches the filter."""

    job: DeadJob
    cause: DeathCause
    fingerprint: str


_decode_cause = msgspec.json.Decoder(DeathCause).decode


class DeadWalk:
    """The walk of one request. `request_deadline`: seconds for each call. `at`: the last position that it looked at."""

    def __init__(
        self,
        broker: Broker,
        wanted: Filter,
        visible: Callable[[str], bool],
        request_deadline: float,
        at: Position = (0, ""),
    ) -> None:
        self.at = at
        self.looked = 0
        self._broker = broker
        self._wanted = wanted
        self._visible = visible
        self._request_deadline = request_deadline
        self._began = time.monotonic()
        self._until = self._began + WALK_SECONDS
        self._queues: dict[int, list[str]] = {}
        self._dead = ShardMerge(_position_of, self._read)

    @property
    def more(self) -> bool:
        """Whether there are dead jobs behind the last one that was looked at."""
        return self._dead.more

    async def found(self) -> AsyncGenerator[Found]:
        """Yield the jobs that match, until all were looked at or a limit is reached. Raises StoreUnavailable."""
        await self._dead.start(self._broker.shards.count, self.at)
        while self.more and self.looked < MAX_LOOKED_AT and time.monotonic() < self._until:
            job = await self._dead.next()
            self.looked += 1
            self.at = _position_of(job)
            if (match := self._match(job)) is not None:
                yield match

    async def _queues_of(self, shard: int) -> list[str]:
        if self._wanted.queue is not None:
            return [self._wanted.queue] if self._visible(self._wanted.queue) else []
        stats = await Deadline(self._request_deadline).call(self._broker.queues.stats, shard)
        return [row.name for row in stats.queues if row.dead and self._visible(row.name)]

    async def _read(self, shard: int, after: Position) -> tuple[Sequence[DeadJob], bool]:
        """Return a page of a shard, and whether it is the last."""
        wanted = self._wanted
        if shard not in self._queues:
            self._queues[shard] = await self._queues_of(shard)
        queues = self._queues[shard]
        if not queues:
            return [], True

        def send() -> Awaitable[Dead]:
            # The age is computed again for each resend, since time has passed.
            return self._broker.dlq.list_dead(
                shard,
                queues,
                older_ms=to_ms(wanted.older_than or 0) + self._under_way_ms(),
                younger_ms=max(1, to_ms(wanted.younger_than)) if wanted.younger_than is not None else 0,
                after=after,
                count=_PAGE,
            )

        page = await Deadline(self._request_deadline).call(send)
        return page.jobs, page.ended or not page.jobs

    def _under_way_ms(self) -> int:
        """Return the time since the walk began, rounded down so that no job that was dead before is left out.

        Jobs that died since then are left out: a job that the walk replays may be dead again before the walk ends.
        """
        return int((time.monotonic() - self._began) * 1000)

    def _match(self, job: DeadJob) -> Found | None:
        if self._wanted.type is not None and job.type != self._wanted.type:
            return None
        cause = _cause(job.error)
        found = Found(job, cause, fingerprint(job.type, cause.kind, cause.message))
        return found if self._wanted.fingerprint in (None, found.fingerprint) else None


def _position_of(job: DeadJob) -> Position:
    return job.died_at_ms, job.id


def _cause(error: str) -> DeathCause:
    """Return the cause of a death. The text of an unreadable error, which an import may bring, is its message."""
    if not error:
        return DeathCause()
    try:
        return _decode_cause(error)
    except UNREADABLE:
        return DeathCause(message=error[:MAX_UNKNOWN])
