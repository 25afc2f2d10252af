"""The clock of a test, with the jobs that wait for their time and the ticks of schedules. Only the test moves it."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from queuey.protocol import ids
from queuey.protocol.json.codecs import Codec
from queuey.protocol.models import Debounce, JobRequest
from queuey.protocol.models.schedules import Overlap
from queuey.services.jobs.submission import since_epoch_ms
from queuey.services.jobs.unique import longest
from queuey.services.schedules.specs import metadata_of
from queuey.services.schedules.ticks import Ticks
from queuey.services.times import to_ms
from queuey.worker.schedules.declaring import Declared

MOST: Final = 10_000
"""The maximum number of jobs and ticks in one step of a test, so that one without an end causes an error."""


class WaitingJob(Struct):
    """A job that waits in a test. `is_listed`: it is in `enqueued`, from which the test may take it."""

    request: JobRequest
    attempt: int = 1
    checkpoint: Any = None
    schedule: str | None = None
    is_listed: bool = False
    added_ms: int = 0


class Plan(Struct):
    """A schedule as it goes on in a test. `pending_ms`: the tick that waits for the end of the job `last`."""

    name: str
    ticks: Ticks
    job: JobRequest
    overlap: Overlap
    tick_ms: int | None
    due_ms: int
    last: str | None = None
    pending_ms: int | None = None


class _Entry(NamedTuple):
    """The order in which jobs are run: by time, then as they came."""

    due_ms: int
    place: int
    job: WaitingJob


class Timeline:
    """The jobs that wait, and the schedules, in the order of their times. `enqueued`: the list of the test.

    The ticks are those of a server. Jobs take no time, so a tick meets an unfinished job only if this waits for another
    attempt.
    """

    def __init__(self, now: datetime | None, enqueued: deque[JobRequest]) -> None:
        self.now_ms = time.time_ns() // 1_000_000 if now is None else to_epoch_ms(now)
        self._enqueued = enqueued
        self._entries: list[_Entry] = []
        self._places = count()
        self._plans: list[Plan] = []
        self._steps = 0

    @property
    def now(self) -> datetime:
        """The time of the clock."""
        return to_time(self.now_ms)

    def plan(self, schedules: Iterable[Declared], codec: Codec | None) -> None:
        """Begin the schedules, as if they were made now."""
        for each in schedules:
            request = each.sealed(codec)
            ticks = Ticks(request, self.now_ms)
            plan = Plan(each.name, ticks, request.job, request.overlap, None, 0)
            self._go_on(plan, self.now_ms)
            self._plans.append(plan)

    def add(self, request: JobRequest, schedule: str | None = None) -> int:
        """Keep a job that was enqueued now, and list it. Return when it is due, in ms."""
        self._enqueued.append(request)
        due_ms = self.due(request)
        self._push(due_ms, WaitingJob(request, schedule=schedule, is_listed=True, added_ms=self.now_ms))
        return due_ms

    def due(self, request: JobRequest) -> int:
        """Return when a job is due that is enqueued now, in ms."""
        at_ms = 0 if request.run_at is None else since_epoch_ms(request.run_at)
        delay = request.debounce.wait if request.debounce else request.delay
        wait = request.batch.max_wait if request.batch else delay
        return max(self.now_ms + to_ms(wait or 0), at_ms)

    def drop_checkpoint(self, request: JobRequest) -> None:
        """Drop the checkpoint of a job that waits for another attempt, since its payload is another one."""
        for entry in self._entries:
            if entry.job.request is request:
                entry.job.checkpoint = None

    def put_off(self, kept: JobRequest, debounce: Debounce) -> None:
        """Have a job of the list wait again, as the store does for another request with its key."""
        entry = next((entry for entry in self._entries if entry.job.request is kept), None)
        if entry is not None and entry.due_ms > self.now_ms:
            self._entries.remove(entry)
            heapq.heapify(self._entries)
            latest = entry.job.added_ms + to_ms(longest(debounce))
            self._push(min(self.now_ms + to_ms(debounce.wait), latest), entry.job)

    def hasten(self, request: JobRequest) -> None:
        """Make a job due now. Its entry with the time of before is dropped, once it has run."""
        self._push(self.now_ms, WaitingJob(request, is_listed=True, added_ms=self.now_ms))

    def add_again(self, job: WaitingJob, seconds: float) -> None:
        """Keep a job for another attempt, or for the end of a snooze."""
        self._push(self.now_ms + to_ms(seconds), job)

    def begin(self) -> None:
        """Begin a step of the test. Jobs that the test put into the list itself are due now, or after their delay."""
        self._steps = 0
        known = {id(entry.job.request) for entry in self._entries}
        for request in self._enqueued:
            if id(request) not in known:
                self._push(self.due(request), WaitingJob(request, is_listed=True, added_ms=self.now_ms))

    def next(self, until_ms: int) -> WaitingJob | None:
        """Move the clock to the next job that is due by then, and return it. Ticks on the way are fired.

        None: there is no other one, and the clock is there.
        """
        while True:
            self._fire_pending()
            self._drop_taken()
            plan = min((plan for plan in self._plans if plan.tick_ms is not None), key=_due_of, default=None)
            job_ms = self._entries[0].due_ms if self._entries else until_ms + 1
            if plan is not None and plan.due_ms < job_ms and plan.due_ms <= until_ms:
                self._count_step()
                self._move(plan.due_ms)
                self._fire(plan)
            elif job_ms <= until_ms:
                self._count_step()
                self._move(job_ms)
                return self._take()
            else:
                self._move(until_ms)
                return None

    def _move(self, to: int) -> None:
        self.now_ms = max(self.now_ms, to)

    def _count_step(self) -> None:
        if self._steps == MOST:
            raise AssertionError(
                f"{MOST:,} jobs and ticks were run, and there are still more: move the clock by less, or do the jobs "
                "enqueue one another?"
            )
        self._steps += 1

    # --- jobs -----------------------------------------------------------------------------------------------------

    def _push(self, due_ms: int, job: WaitingJob) -> None:
        heapq.heappush(self._entries, _Entry(due_ms, next(self._places), job))

    def _drop_taken(self) -> None:
        """Drop the first jobs that the test has taken from the list, or that run_all has run."""
        while self._entries and not self._waits(self._entries[0].job):
            heapq.heappop(self._entries)

    def _waits(self, job: WaitingJob) -> bool:
        return not job.is_listed or any(request is job.request for request in self._enqueued)

    def _take(self) -> WaitingJob:
        job = heapq.heappop(self._entries).job
        if job.is_listed:
            self._unlist(job)
        return job

    def _unlist(self, job: WaitingJob) -> None:
        place = next(place for place, request in enumerate(self._enqueued) if request is job.request)
        del self._enqueued[place]
        job.is_listed = False

    # --- schedules ------------------------------------------------------------------------------------------------

    def _fire(self, plan: Plan) -> None:
        """Fire the tick, by the rules of fire.lua."""
        assert plan.tick_ms is not None
        last = self._unfinished(plan)
        if last is None or plan.overlap == "allow":
            self._start(plan, plan.tick_ms)
        elif plan.overlap == "cancel_previous":
            self._cancel(last)
            self._start(plan, plan.tick_ms)
        elif plan.overlap == "queue_one" and plan.pending_ms is None:
            plan.pending_ms = plan.tick_ms
        self._go_on(plan, plan.tick_ms)

    def _fire_pending(self) -> None:
        for plan in self._plans:
            if plan.pending_ms is not None and self._unfinished(plan) is None:
                tick_ms, plan.pending_ms = plan.pending_ms, None
                self._start(plan, tick_ms)

    def _start(self, plan: Plan, tick_ms: int) -> None:
        job = replace(plan.job, id=ids.new_id(), metadata=metadata_of(plan.name, plan.job, tick_ms))
        plan.last = job.id
        self.add(job, plan.name)

    def _go_on(self, plan: Plan, after_ms: int) -> None:
        plan.tick_ms = plan.ticks.after(after_ms)
        plan.due_ms = 0 if plan.tick_ms is None else plan.ticks.due(plan.name, plan.tick_ms)

    def _unfinished(self, plan: Plan) -> _Entry | None:
        """Return the last job of a schedule if it waits."""
        if plan.last is None:
            return None
        return next(
            (entry for entry in self._entries if entry.job.request.id == plan.last and self._waits(entry.job)), None
        )

    def _cancel(self, entry: _Entry) -> None:
        if entry.job.is_listed:
            self._unlist(entry.job)
        self._entries.remove(entry)
        heapq.heapify(self._entries)


def to_epoch_ms(at: datetime) -> int:
    """Return a time of the test in ms. Raises ValueError for one without a time zone."""
    if at.tzinfo is None:
        raise ValueError(f"{at!r} has no time zone: give it one, as in datetime(2027, 3, 27, tzinfo=UTC)")
    return since_epoch_ms(at)


def to_time(at_ms: int) -> datetime:
    """Return ms since 1970 as a time in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _due_of(plan: Plan) -> int:
    return plan.due_ms
