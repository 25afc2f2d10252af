"""What the scripts of lua/schedules/ promise of one shard, in plain Python, beside the Model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from queuey.protocol.records import NewJob
from queuey.store.broker.schedules import ANY, Firing, NewSchedule, Pausing
from tests.properties.model.contents import Line, Planned, Request
from tests.properties.model.model import Model

KEPT = 50
LOGGED = ("fired", "skipped", "refused", "too_many_queues")


@dataclass(frozen=True)
class Due:
    """The answer to due_schedules."""

    due_in: int
    more: bool
    due: list[str]
    pending: list[str]
    after: str
    waits: bool


def put(model: Model, now: int, item: NewSchedule) -> tuple[str, str]:
    name, mark, spec = item.name, item.mark, item.spec
    if "schedules" not in model.features:
        return "closed", ""
    old = model.schedules.get(name)
    current = old.mark if old else ""
    if old and old.spec == spec:
        return "same", current
    if mark not in (ANY, current):
        return "conflict", current
    if old:
        old.version, old.spec, old.replaced = old.version + 1, spec, now
        set_next(old, item.next_ms, item.due_ms)
        return "replaced", old.mark
    model.schedules[name] = new = Planned(uid=item.uid, version=1, spec=spec, created=now, anchor=item.anchor_ms)
    set_next(new, item.next_ms, item.due_ms)
    return "new", new.mark


def set_next(schedule: Planned, next: int, due: int) -> None:
    schedule.next, schedule.due = next, max(next, due) if next >= 0 else -1


def delete(model: Model, name: str, mark: str) -> str:
    old = model.schedules.get(name)
    if not old:
        return "missing"
    if mark not in (ANY, old.mark):
        return "conflict"
    del model.schedules[name]
    return "ok"


def set_paused(model: Model, now: int, item: Pausing) -> str:
    old, mark, pause = model.schedules.get(item.name), item.mark, item.pause
    if not old:
        return "missing"
    if old.pause == pause:
        return "same"
    if mark not in (ANY, old.mark):
        return "conflict"
    old.pause = pause
    if pause:
        old.paused_at = now
        if old.pending:
            tick, _, kind = old.pending
            log(old, (tick, now, kind, "skipped", "", 1))
            old.pending = None
    else:
        old.paused_at = -1
        set_next(old, item.next_ms, item.due_ms)
    return "ok"


def due(model: Model, now: int, skip: int, limit: int, after: str) -> Due:
    active = {name: found.due for name, found in model.schedules.items() if found.is_active and found.next >= 0}
    ripe = sorted((tick, name) for name, tick in active.items() if tick <= now)
    later = [tick for tick in active.values() if tick > now]
    waiting = sorted(name for name, found in model.schedules.items() if found.is_active and found.pending)
    looked = [name for name in waiting if name > after][:limit]
    return Due(
        min(later) - now if later else -1,
        len(ripe) > skip + limit,
        [name for _, name in ripe[skip : skip + limit]],
        [name for name in looked if not unfinished(model, model.schedules[name].last_job)],
        looked[-1] if len(looked) == limit else "",
        bool(waiting),
    )


def unfinished(model: Model, job_id: str) -> bool:
    return job_id in model.jobs and model.jobs[job_id].status in ("waiting", "running")


def log(schedule: Planned, line: Line) -> None:
    schedule.runs = [line, *schedule.runs][:KEPT]


def fire(model: Model, now: int, full: bool, items: Sequence[tuple[Firing, Request]]) -> tuple[list[str], list[str]]:
    """The answers, and the waiting jobs that were cancelled."""
    call = _Call(model, now, full)
    return [call.fire(*item) for item in items], call.cancelled


class _Call:
    def __init__(self, model: Model, now: int, full: bool) -> None:
        self.model, self.now, self.full = model, now, full
        self.made: set[str] = set()
        self.cancelled: list[str] = []

    def fire(self, item: Firing, request: Request) -> str:
        schedule = self.model.schedules.get(item.name)
        if schedule is None:
            return "missing"
        if why := self._refusal(schedule, item):
            return why
        if item.kind == "move":
            set_next(schedule, item.next_ms, item.due_ms)
            return "moved"
        if self._has_job(schedule, item):
            return self._end(schedule, item, "there")
        if not isinstance(item.job, NewJob):
            return self._end(schedule, item, item.job or "missed")
        answer = self._overlap(schedule, item) if unfinished(self.model, schedule.last_job) else "fired"
        if answer not in ("fired", "cancels"):
            return answer if answer == "taken" else self._end(schedule, item, answer)
        return self._start(schedule, item, request, cancels=answer == "cancels")

    def _refusal(self, schedule: Planned, item: Firing) -> str:
        if schedule.mark != item.mark:
            return "conflict"
        if item.kind in ("trigger", "backfill"):
            return "early" if item.tick_ms > self.now else ""
        if schedule.pause:
            return "paused"
        if item.kind == "pending":
            tick, job_id, _ = schedule.pending or (schedule.next, "", "")
            is_it = item.job == "refused" or (isinstance(item.job, NewJob) and item.job.id == job_id)
            return "" if job_id and is_it and tick == item.expected_ms else "taken"
        if schedule.next != item.expected_ms:
            return "taken"
        if item.kind == "move":
            return ""
        if item.expected_ms < 0:
            return "taken"
        if item.tick_ms < item.expected_ms or 0 <= item.next_ms <= item.tick_ms:
            return "not_later"
        return "early" if max(item.tick_ms, schedule.due) > self.now else ""

    def _has_job(self, schedule: Planned, item: Firing) -> bool:
        if item.kind == "tick" and item.tick_ms <= schedule.last_tick:
            return True
        if not isinstance(item.job, NewJob):
            return False
        fired = item.kind != "tick" and item.job.id in {line[4] for line in schedule.runs}
        return item.job.id in self.model.jobs or fired

    def _overlap(self, schedule: Planned, item: Firing) -> str:
        """The answer while the last job has not finished."""
        assert isinstance(item.job, NewJob)
        if item.overlap == "allow":
            return "fired"
        if item.overlap == "cancel_previous":
            return "taken" if schedule.last_job in self.made else "cancels"
        if item.kind == "pending":
            return "waits"
        if item.overlap == "queue_one":
            if schedule.pending and schedule.pending[1] == item.job.id:
                return "pending"
            if not schedule.pending and not schedule.pause:
                schedule.pending = (item.tick_ms, item.job.id, item.kind)
                return "pending"
        return "skipped"

    def _start(self, schedule: Planned, item: Firing, request: Request, *, cancels: bool) -> str:
        if self.full:
            return self._note_full(schedule, item)
        if cancels:
            job_id = schedule.last_job
            (status,) = self.model.cancel(self.now, [job_id])
            self.cancelled += [job_id] * (status == "cancelled")
        assert self.model.enqueue(self.now, False, [request]) == ["new"]
        schedule.last_job = request.id
        self.made.add(request.id)
        return self._end(schedule, item, "fired")

    def _note_full(self, schedule: Planned, item: Firing) -> str:
        kind = schedule.pending[2] if item.kind == "pending" and schedule.pending else item.kind
        last = schedule.runs[0] if schedule.runs else None
        noted = last is not None and (last[0], last[3]) == (item.tick_ms, "full")
        if item.kind in ("tick", "pending") and not noted:
            log(schedule, (item.tick_ms, self.now, kind, "full", "", 1))
        return "full"

    def _end(self, schedule: Planned, item: Firing, answer: str) -> str:
        if answer == "waits":
            return "pending"
        is_own = item.kind in ("tick", "pending")
        kind = schedule.pending[2] if item.kind == "pending" and schedule.pending else item.kind
        if item.kind == "tick" and answer != "there":
            if item.missed:
                log(schedule, (item.expected_ms, self.now, "tick", "missed", "", item.missed))
            schedule.last_tick = item.tick_ms
        if answer == "fired" or (is_own and answer in LOGGED):
            job_id = item.job.id if answer == "fired" and isinstance(item.job, NewJob) else ""
            log(schedule, (item.tick_ms, self.now, kind, answer, job_id, 1))
        if item.kind == "tick":
            set_next(schedule, item.next_ms, item.due_ms)
        if item.kind == "pending":
            schedule.pending = None
        return answer


def snapshot(schedule: Planned) -> Planned:
    """What a replica has read of it."""
    return replace(schedule)
