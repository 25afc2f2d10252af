"""The scripts of lua/schedules/: schedules, and what they fire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final, Literal

import msgspec
from msgspec import Struct

from queuey import log
from queuey.protocol.records import NewJob, names_of
from queuey.protocol.stored.schedules import Schedule, to_schedule
from queuey.store.broker.calls import CLAIM_BYTES, MAX_BYTES, Group, words
from queuey.store.broker.moves import MOVES
from queuey.store.keys import cancel_channel

logger = log.get(__name__)

Overlap = Literal["skip", "queue_one", "allow", "cancel_previous"]
"""The rule for a tick while the last job of the schedule has not finished."""
Kind = Literal["tick", "pending", "trigger", "backfill", "move"]
"""The kinds of a Firing: the next tick, the tick that waits for the last job, one more job, another next tick."""
Refused = Literal["refused"]
"""Stands for the job of a tick that may not be made, such as one that no longer fits its type."""
FIRE_BATCH: Final = 100
"""Items in one call of `fire`. Each writes a job and several keys of its schedule."""
_BARE: Final = 500
"""Bytes of an item without its job, about: most are the name of its schedule."""
ANY: Final = "*"
"""The mark of any schedule. The mark '' means that there is none."""


class NewSchedule(Struct, array_like=True):
    """A schedule to put. `mark`: of the one to replace. `uid` and `anchor_ms`: for a new one.

    `anchor_ms`: the time from which its ticks are counted, from which the caller has computed `next_ms` too. `next_ms`:
    -1 = no tick. `due_ms`: when that tick is fired."""

    name: str
    uid: str
    mark: str
    anchor_ms: int
    next_ms: int
    due_ms: int
    spec: str


class Pausing(Struct, array_like=True):
    """A schedule to pause, or to resume with its next tick, -1 = none, and the time at which that is fired.

    `pause`: JSON on one line, '' = resume."""

    name: str
    mark: str
    pause: str
    next_ms: int = -1
    due_ms: int = -1


class Firing(Struct, array_like=True):
    """A tick to fire, as lua/schedules/fire.lua explains it. `job`: None = the tick is missed."""

    name: str
    mark: str
    kind: Kind
    tick_ms: int
    expected_ms: int
    next_ms: int
    due_ms: int
    overlap: Overlap
    missed: int
    job: NewJob | Refused | None


class Fired(Struct, array_like=True):
    """The reply to fire. `cancelled`: ids of waiting jobs. `now_ms`: the time by the store's clock."""

    answers: list[str]
    cancelled: list[str]
    now_ms: int


class _Due(Struct, array_like=True):
    now_ms: int
    due_in_ms: int
    more: bool
    due: list[tuple[str, str]]
    ended: list[tuple[str, str]]
    after: str
    ticks_wait: bool


class DueSchedules(Struct):
    """The schedules with a due tick, the oldest first, and those whose pending tick may be fired, by name.

    `due_in_ms`: when the next tick is due that is not due yet, -1 = none. `more`: other ticks are due. `after`: for
    the next call. `ticks_wait`: whether any tick waits for the end of a job."""

    now_ms: int
    due_in_ms: int
    more: bool
    due: list[Schedule]
    pending: list[Schedule]
    after: str
    ticks_wait: bool


_answers = msgspec.msgpack.Decoder(list[tuple[str, str]]).decode
_stored = msgspec.msgpack.Decoder(tuple[int, list[tuple[str, list[str]]]]).decode
_page = msgspec.msgpack.Decoder(tuple[list[tuple[str, str]], bool]).decode
_due = msgspec.msgpack.Decoder(_Due).decode
_fired = msgspec.msgpack.Decoder(Fired).decode


class ScheduleCalls(Group):
    """Puts, reads, pauses, deletes and fires schedules.

    `copies`: how many replicas of the store must have the change, as for new jobs; also one that was made before."""

    async def put_schedules(
        self, shard: int, items: Sequence[NewSchedule], *, copies: int = 0, now: int = 0
    ) -> list[tuple[str, str]]:
        """Make or replace schedules, and reply for each with the mark that it has now and with a word.

        `new`, `replaced`, `same` (it has this spec), `conflict` (it has another mark), `too_many`, or `closed` while
        older replicas run."""
        return _answers(await self._call(shard, "put_schedules", now, items, copies > 0, copies=copies))

    async def get_schedules(
        self, shard: int, names: Sequence[str], runs: int = 0, *, now: int = 0
    ) -> tuple[int, list[tuple[str, list[str]]]]:
        """Read the time of the store in ms, and the record of each schedule with the lines of its last runs.

        A missing schedule has the record ''. The newest line comes first.

        It stops after CLAIM_BYTES, so there may be fewer than names, but one at least."""
        return _stored(await self._call(shard, "get_schedules", now, names, runs, CLAIM_BYTES))

    async def list_schedules(self, shard: int, after: str = "", count: int = 100) -> tuple[list[Schedule], bool]:
        """Read the schedules whose names follow `after`, by name, and whether these are the last ones."""
        while True:
            found, ended = _page(await self._call(shard, "list_schedules", after, count, CLAIM_BYTES))
            schedules = _all(found)
            if schedules or ended:
                return schedules, ended
            after = found[-1][0]  # none of these names has a record, so the caller would not know where to go on

    async def delete_schedules(self, shard: int, items: Sequence[tuple[str, str]], *, copies: int = 0) -> list[str]:
        """Delete schedules, each as name and mark. Replies with `ok`, `missing` or `conflict` for each."""
        return words(await self._call(shard, "delete_schedules", items, copies > 0, copies=copies))

    async def set_paused(self, shard: int, items: Sequence[Pausing], *, copies: int = 0, now: int = 0) -> list[str]:
        """Pause or resume schedules. Replies with `ok`, `same`, `missing` or `conflict` for each."""
        return words(await self._call(shard, "set_paused", now, items, copies > 0, copies=copies))

    async def due_schedules(
        self, shard: int, limit: int = FIRE_BATCH, after: str = "", *, skip: int = 0, now: int = 0
    ) -> DueSchedules:
        """Read what may be fired now. `skip`: so many due ticks, the oldest ones.

        `after`: that of the last reply, for the schedules with a pending tick."""
        found = _due(await self._call(shard, "due_schedules", now, skip, limit, after, CLAIM_BYTES))
        times = found.now_ms, found.due_in_ms, found.more
        return DueSchedules(*times, _all(found.due), _all(found.ended), found.after, found.ticks_wait)

    async def fire(
        self, shard: int, items: Sequence[Firing], *, full: bool = False, copies: int = 0, now: int = 0
    ) -> Fired:
        """Fire ticks, at most FIRE_BATCH with MAX_BYTES in all (see in_calls), and reply with a word for each.

        `fired`, `skipped`, `pending`, `missed`, `refused`, `moved`, `there`, `full`, `too_many_queues`; and if nothing
        was done, `missing`, `conflict`, `paused`, `taken`, `early` or `not_later`."""
        channel = cancel_channel(self._shards.prefix)
        fired = _fired(await self._call(shard, "fire", now, full, channel, items, copies > 0, copies=copies))
        if self._observer.on:
            for item, answer in zip(items, fired.answers, strict=True):
                if answer in MOVES["fire"] and isinstance(item.job, NewJob):
                    type, queue = names_of(f"{item.job.head}\n{item.job.body[:1024]}")
                    self._observer.status(item.job.id, type, queue, "queued" if item.job.is_due else "scheduled", 0)
            for job_id in fired.cancelled:
                self._observer.moved(job_id, MOVES["cancel"]["cancelled"])
        return fired


def in_calls(items: Iterable[Firing]) -> Iterator[list[Firing]]:
    """Divide firings among calls of `fire`. A call has one item at least, whatever its size."""
    call: list[Firing] = []
    left = MAX_BYTES
    for item in items:
        size = _BARE + (item.job.size if isinstance(item.job, NewJob) else 0)
        if call and (size > left or len(call) == FIRE_BATCH):
            yield call
            call, left = [], MAX_BYTES
        call.append(item)
        left -= size
    if call:
        yield call


def _all(found: Sequence[tuple[str, str]]) -> list[Schedule]:
    """Return the schedules of records, without damaged ones, which must not hide the others."""
    schedules = []
    for name, record in found:
        if record:
            try:
                schedules.append(to_schedule(name, record))
            except (ValueError, KeyError):
                _log_damaged(name)
    return schedules


@lru_cache(maxsize=1000)
def _log_damaged(name: str) -> None:
    """Log the name of a schedule whose record no version of Queuey has written, once."""
    logger.error("schedule_damaged", schedule=name, advice="Import it from an export, or delete its key in the store.")
