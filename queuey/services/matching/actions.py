"""Actions on all jobs that match: cancel, retry or delete them.

Each step finds up to 100 jobs and acts on them at once, so that few of them change in between. The scripts judge again
what state each job has: a job that has changed is skipped.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

from queuey.errors import Full, OutcomeUnknown, StoreUnavailable
from queuey.metrics import Metrics
from queuey.protocol import ids
from queuey.protocol.allowed import counted
from queuey.protocol.models import Job, MatchReply, Status
from queuey.protocol.records import to_job
from queuey.services.jobs.listing import Walk, Wanted, is_wanted
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline, unanswered

ACT_SECONDS: Final = 10.0
"""The time in seconds after which a request looks no further."""
_READ: Final = 20
"""The number of jobs that are read at once, for a request with ids."""


class Action(Struct, frozen=True):
    """An action on jobs. `among`: the statuses of jobs with given ids; `searched`: those without."""

    name: str
    scope: str
    among: tuple[Status, ...]
    searched: tuple[Status, ...]
    good: tuple[str, ...]
    """The answers of scripts that count as a success. A repeated call may find that the first one has deleted a job."""


CANCEL: Final = Action(
    "cancel",
    "submit",
    ("queued", "scheduled", "running"),
    ("queued", "scheduled", "running"),
    ("cancelled", "cancelling"),
)
RETRY: Final = Action("retry", "admin", ("dead_letter", "scheduled"), ("dead_letter",), ("ok",))
DELETE: Final = Action(
    "delete",
    "admin",
    ("succeeded", "cancelled", "dead_letter"),
    ("succeeded", "cancelled", "dead_letter"),
    ("ok", "missing"),
)


class Asked(Struct, frozen=True):
    """A request. `ids` None: the jobs that match the filters."""

    wanted: Wanted
    ids: Sequence[str] | None
    limit: int
    cursor: str | None
    dry_run: bool


class Matched:
    """Acts on the jobs of one request. `visible`: whether the caller may change the jobs of a queue.

    `request_deadline`: the seconds for each call to the store.
    """

    def __init__(
        self,
        broker: Broker,
        action: Action,
        asked: Asked,
        visible: Callable[[str], bool],
        *,
        request_deadline: float,
        metrics: Metrics,
    ) -> None:
        self._broker = broker
        self._action = action
        self._asked = asked
        self._visible = visible
        self._request_deadline = request_deadline
        self._metrics = metrics
        self._request_id = ids.short_random()  # one for all calls, so that sending one again is safe
        self._until = time.monotonic() + ACT_SECONDS
        self._matched = 0
        self._done = 0

    async def act(self) -> MatchReply:
        """Act, and return the numbers.

        Raises Invalid for a cursor of another request, Full when there was no room for any, StoreUnavailable when none
        was changed, and OutcomeUnknown when some were or may have been.
        """
        try:
            return await (self._search() if self._asked.ids is None else self._go_through(self._asked.ids))
        except StoreUnavailable as error:  # of a call that only reads
            if self._done:
                raise self._unknown(error, []) from error
            raise

    def _unknown(self, error: StoreUnavailable, job_ids: Sequence[str]) -> OutcomeUnknown:
        return OutcomeUnknown(f"{unanswered(error)} {counted(self._done, 'job')} done before.", job_ids)

    @property
    def _room(self) -> int:
        """The number of jobs that are still wanted."""
        return self._asked.limit - (self._matched if self._asked.dry_run else self._done)

    async def _search(self) -> MatchReply:
        asked = self._asked
        walk = Walk(self._broker, asked.wanted, self._visible, self._deadline, asked.cursor)
        at = walk.cursor
        while await walk.more():
            at = walk.cursor
            if self._room <= 0 or walk.is_long(ACT_SECONDS):
                break
            shard, status, job_ids = await walk.some_ids(self._room)
            if not await self._change(shard, status, job_ids):
                break  # the store is full: the next request tries these jobs again
            at = walk.cursor
        else:
            at = None
        skipped = 0 if asked.dry_run else self._matched - self._done
        return MatchReply(self._matched, self._done, skipped, asked.dry_run, at is not None, at)

    async def _go_through(self, job_ids: Sequence[str]) -> MatchReply:
        left = list(dict.fromkeys(job_ids))
        looked, more = 0, False
        for shard, part in self._parts(left):
            if self._room <= 0 or (looked and time.monotonic() >= self._until):
                more = True
                break
            by_status: defaultdict[Status, list[str]] = defaultdict(list)
            matching = await self._read(shard, part)
            for job in matching[: self._room]:
                by_status[job.status].append(job.id)
            left_out = max(0, len(matching) - self._room)
            looked += len(part) - left_out
            changed = [await self._change(shard, status, found) for status, found in by_status.items()]
            if left_out or not all(changed):
                more = True
                break
        skipped = looked - (self._matched if self._asked.dry_run else self._done)
        return MatchReply(self._matched, self._done, skipped, self._asked.dry_run, more, None)

    def _parts(self, job_ids: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
        by_shard: defaultdict[int, list[str]] = defaultdict(list)
        for job_id in job_ids:
            by_shard[self._broker.shards.of_job(job_id)].append(job_id)
        for shard, found in by_shard.items():
            for first in range(0, len(found), _READ):
                yield shard, found[first : first + _READ]

    async def _read(self, shard: int, job_ids: Sequence[str]) -> list[Job]:
        """Return the jobs with these ids that the caller may change and that match."""
        stored = await self._deadline().call(self._broker.jobs.get, shard, job_ids)
        jobs = [to_job(job_id, one) for job_id, one in zip(job_ids, stored, strict=True) if one.definition]
        now = datetime.now(UTC)
        return [job for job in jobs if self._visible(job.queue) and matches(job, self._asked.wanted, now)]

    async def _change(self, shard: int, status: Status, job_ids: Sequence[str]) -> bool:
        """Act on jobs that match. Returns False if the store is full, and some were changed before."""
        self._matched += len(job_ids)
        if self._asked.dry_run or not job_ids:
            return True
        try:
            answers = await self._deadline().call(self._send, shard, status, job_ids)
        except Full:
            self._matched -= len(job_ids)
            if not self._done:
                raise
            return False
        except StoreUnavailable as error:
            if self._done or error.maybe_done:
                raise self._unknown(error, job_ids) from error
            raise
        self._done += sum(answer in self._action.good for answer in answers)
        if status == "dead_letter" and self._action is RETRY:
            self._metrics.replayed.add((), answers.count("ok"))
        return True

    async def _send(self, shard: int, status: Status, job_ids: Sequence[str]) -> list[str]:
        if self._action is CANCEL:
            return await self._broker.jobs.cancel(shard, job_ids)
        if self._action is DELETE:
            return await self._broker.jobs.delete(shard, job_ids)
        if status == "dead_letter":
            return await self._broker.dlq.replay(shard, self._request_id, job_ids)
        return await self._broker.jobs.run_now(shard, self._request_id, job_ids)

    def _deadline(self) -> Deadline:
        return Deadline(self._request_deadline)


def matches(job: Job, wanted: Wanted, now: datetime) -> bool:
    """Return whether a job matches all filters, by the time of this server."""
    age = now - job.created_at
    ended = job.finished_at
    names = (wanted.queue in (None, job.queue), wanted.type in (None, job.type))
    return (
        all(names)
        and is_wanted(job, wanted)
        and (not wanted.tag or wanted.tag in job.tags)
        and (not wanted.dedupe_key or wanted.dedupe_key == job.dedupe_key)
        and (not isinstance(wanted.older_than, float) or age >= timedelta(seconds=wanted.older_than))
        and (not isinstance(wanted.younger_than, float) or age <= timedelta(seconds=wanted.younger_than))
        and (not wanted.finished_after or (ended is not None and ended >= wanted.finished_after))
        and (not wanted.finished_before or (ended is not None and ended < wanted.finished_before))
    )
