"""Making jobs of a schedule out of turn: a trigger makes one now, a backfill those of the ticks of a span of time."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from queuey.errors import Conflict, Invalid
from queuey.protocol import ids
from queuey.protocol.models import MAX_BACKFILLED, BackfillReply, BackfillRequest, Overlap, TriggerReply
from queuey.protocol.records import NewJob, from_ms
from queuey.protocol.schema_faults import invalid, too_many_queues
from queuey.services.jobs.producer import Producer, no_room
from queuey.services.jobs.submission import since_epoch_ms
from queuey.services.schedules.keeping import MAX_TRIES, Guard, Schedules, anyone, unknown_schedule
from queuey.services.schedules.reading import ScheduleReader
from queuey.services.schedules.specs import job_for
from queuey.services.schedules.ticks import Ticks
from queuey.services.schedules.views import Kept
from queuey.store.broker.schedules import Fired, Firing, Kind, in_calls
from queuey.store.deadline import Deadline

NONE: Final = -1
_AT_ONCE: Final = 100
"""The number of ticks that are computed before other work has its turn."""


class Triggered(Struct, frozen=True):
    """The outcome of a trigger. `again`: an earlier request with this key has made the job."""

    reply: TriggerReply
    again: bool


class Triggers:
    """Triggers and backfills schedules. `producer` knows whether the store has room for new jobs."""

    def __init__(self, schedules: Schedules, producer: Producer) -> None:
        self._schedules = schedules
        self._producer = producer
        self._reader = ScheduleReader(schedules.submission)

    async def trigger(
        self, name: str, deadline: Deadline, *, key: str | None = None, guard: Guard = anyone
    ) -> Triggered:
        """Make a job of a schedule now, also of a paused one, unless the overlap rule says otherwise.

        `key`: with the same key it makes no second job. `guard` is called with the queue of the job. Raises NotFound,
        Invalid, TooLarge, Full, Conflict, UpgradeInProgress, StoreUnavailable or OutcomeUnknown.
        """
        fresh, until_ms = ids.new_id(name), math.inf
        for _ in range(MAX_TRIES):
            kept = await self._guarded(name, deadline, guard)
            stored, now_ms = kept.stored, int(min(kept.now_ms, until_ms))
            job_id = fresh if key is None else ids.of_trigger(name, stored.uid, stored.created_ms, key)
            item = self._firing(kept, "trigger", job_id, now_ms, kept.spec.overlap)
            fired = await self._fire(name, [item], deadline)
            (word,) = fired.answers
            if word in ("fired", "there"):  # without a key, only this request can have made it
                return Triggered(TriggerReply("fired", job_id), again=word == "there" and key is not None)
            if word == "pending":
                return Triggered(TriggerReply("pending", job_id), again=False)
            if word == "skipped":
                return Triggered(TriggerReply("skipped", None), again=False)
            _check(word, name)
            until_ms = min(until_ms, fired.now_ms)  # the clock of the store was set back
        raise _busy(name)

    async def backfill(
        self, name: str, request: BackfillRequest, deadline: Deadline, guard: Guard = anyone
    ) -> BackfillReply:
        """Make the jobs of the ticks of a span of time, also of a paused schedule. Ticks that have theirs get none.

        Sending it again is safe. Raises the same as `trigger`; with Full, some of the jobs may have been made.
        """
        kept = await self._guarded(name, deadline, guard)
        overlap = request.overlap or kept.spec.overlap
        if overlap == "cancel_previous":
            raise invalid(
                "/overlap", "must be given, since with cancel_previous each job would cancel the one before it"
            )
        ticks = await _ticks(kept, request, kept.now_ms)
        times = [from_ms(tick) for tick in ticks]
        if request.dry_run:
            return BackfillReply(times, dry_run=True)
        words = await self._backfill(kept, ticks, overlap, deadline)
        return BackfillReply(times, words["fired"], words["there"], words["skipped"], words["pending"])

    async def _backfill(self, kept: Kept, ticks: Sequence[int], overlap: Overlap, deadline: Deadline) -> Counter[str]:
        stored, words = kept.stored, Counter[str]()
        jobs = ((tick, ids.of_tick(stored.name, stored.uid, tick)) for tick in ticks)
        for items in in_calls(self._firing(kept, "backfill", job_id, tick, overlap) for tick, job_id in jobs):
            fired = await self._fire(stored.name, items, deadline)
            for word in fired.answers:
                _check(word, stored.name)
                if word == "early":  # the clock of the store was set back
                    raise _too_early()
                if word == "conflict":
                    raise _busy(stored.name)
            words.update(fired.answers)
        return words

    async def _guarded(self, name: str, deadline: Deadline, guard: Guard) -> Kept:
        kept = await self._schedules.find(name, deadline, runs=0)
        guard(kept.queue)
        self._reader.check_job(kept.spec, kept.now_ms)
        return kept

    def _firing(self, kept: Kept, kind: Kind, job_id: str, tick_ms: int, overlap: Overlap) -> Firing:
        name, mark = kept.stored.name, kept.stored.mark
        job = job_for(name, kept.spec, job_id, tick_ms, self._schedules.submission)
        return Firing(name, mark, kind, tick_ms, NONE, NONE, NONE, overlap, 0, job)

    async def _fire(self, name: str, items: Sequence[Firing], deadline: Deadline) -> Fired:
        schedules = self._schedules
        fired = await schedules.change(schedules.changes.fire, name, items, deadline, full=self._producer.full)
        made = zip(items, fired.answers, strict=True)
        self._producer.count_fired(
            [item.job for item, word in made if word == "fired" and isinstance(item.job, NewJob)]
        )
        return fired


def _check(word: str, name: str) -> None:
    """Raise the error for an answer that no later attempt would change."""
    if word == "full":
        raise no_room()
    if word == "too_many_queues":
        raise too_many_queues()
    if word == "missing":
        raise unknown_schedule(name)


async def _ticks(kept: Kept, request: BackfillRequest, now_ms: int) -> list[int]:
    """Return the ticks of a backfill. Raises Invalid for a span in the future, or with too many of them."""
    first_ms, last_ms = since_epoch_ms(request.from_), since_epoch_ms(request.to)
    if last_ms > now_ms:
        raise _too_early()
    if first_ms < 0:
        raise invalid("/from", "must be 1970 or later")
    if first_ms > last_ms:
        raise invalid("/from", "must not be after `to`")
    ticks, found, after = Ticks(kept.spec, kept.stored.anchor_ms), list[int](), first_ms - 1
    while len(found) <= MAX_BACKFILLED and (some := ticks.between(after, last_ms, _AT_ONCE)):
        found += some
        after = some[-1]
        await asyncio.sleep(0)  # a tick takes up to 0.1 ms
    if len(found) > MAX_BACKFILLED:
        last = f"{from_ms(found[MAX_BACKFILLED - 1]):%Y-%m-%dT%H:%M:%SZ}"
        raise invalid("/to", f"would make more than {MAX_BACKFILLED:,} ticks; the last possible time is {last}")
    return found


def _too_early() -> Invalid:
    return invalid("/to", "must not be in the future; ticks to come are fired when they are due")


def _busy(name: str) -> Conflict:
    return Conflict(f"Other requests change the schedule {name} all the time. Send the request again.")
