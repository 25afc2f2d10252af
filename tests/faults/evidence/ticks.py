"""Invariant 15: each tick of a schedule has one job, or the history says why it has none.

A tick of these schedules is each full second from their anchor on. Their jobs, histories and records were read from the
store once they had been paused.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from queuey.protocol import ids
from queuey.protocol.stored.schedules import RUNS_KEPT, Run
from tests.faults.evidence.ledger import Scheduled
from tests.faults.store.view import StoredJob, StoreView

if TYPE_CHECKING:
    from tests.faults.evidence.invariants import Evidence

PERIOD_MS: Final = 1000
LATEST_MS: Final = PERIOD_MS
"""The jitter of a tick ends before the next one."""
CAUGHT_UP: Final = 100
"""The rule `all` fires so many ticks at once, and none of those before them."""
COUNTED: Final = 100
"""The history counts missed ticks up to this number."""
OVER: Final = frozenset({"skipped", "refused", "too_many_queues"})
"""What the history says of a tick that gets no job."""


def one_job_per_tick(evidence: Evidence) -> Iterator[str]:
    """15. Each tick between the put and the end of the load has one job, or the history says why it has none."""
    view = evidence.view
    yield from (f"the schedule {name} is in the store, and nobody put it" for name in _unknown(evidence))
    yield from _places(view)
    of_tick = Counter((job.metadata["schedule.name"], job.metadata["schedule.tick"]) for job in _made(view))
    yield from (f"the tick {tick} of {name} has {jobs} jobs" for (name, tick), jobs in of_tick.items() if jobs > 1)
    for name, put in evidence.history.schedules.items():
        if name in view.schedules:
            jobs = {job.tick_ms: job_id for job_id, job, _ in evidence.pairs() if job.schedule is put}
            yield from (f"{name}: {fault}" for fault in _of_schedule(evidence, put, jobs))
        elif put.kept:
            yield f"the schedule {name} was put and is not in the store"


def _unknown(evidence: Evidence) -> list[str]:
    return sorted(evidence.view.schedules.keys() - evidence.history.schedules.keys())


def _made(view: StoreView) -> Iterator[StoredJob]:
    return (job for job in view.jobs.values() if "schedule.tick" in job.metadata)


def _places(view: StoreView) -> Iterator[str]:
    """Each schedule is named where its state wants it, and nowhere else."""
    active = {name: schedule for name, schedule in view.schedules.items() if not schedule.pause}
    wanted = {
        "schedule_names": view.schedules.keys(),
        "ticks": {name for name, schedule in active.items() if schedule.next_ms >= 0},
        "waiting_ticks": {name for name, schedule in active.items() if schedule.pending_ms >= 0},
    }
    for kind, names in wanted.items():
        if (found := view.names.get(kind, set())) != names:
            yield f"{kind} has {sorted(found)}, and should have {sorted(names)}"
    if lone := view.runs.keys() - view.schedules.keys():
        yield f"the history of {sorted(lone)} has no schedule"


def _of_schedule(evidence: Evidence, put: Scheduled, jobs: dict[int, str]) -> Iterator[str]:
    """`jobs`: those in the store, by their ticks."""
    view, name = evidence.view, put.name
    record, runs = view.schedules[name], view.runs.get(name, [])
    until_ms = evidence.history.until_ms.get(name, 0)
    if 0 <= record.due_ms <= until_ms:
        yield f"the tick {record.next_ms} was due when the load ended at {until_ms}, and was not decided"
    first = put.anchor_ms + ((put.created_ms - put.anchor_ms) // PERIOD_MS + 1) * PERIOD_MS
    last = first + (until_ms - LATEST_MS - first) // PERIOD_MS * PERIOD_MS
    if record.last_tick_ms < last and first <= last:
        yield f"the ticks until {last} were due, {record.last_tick_ms} was the last, and {record.next_ms} is the next"
    yield from (f"the tick {tick} has a job, and was not decided" for tick in jobs if tick > record.last_tick_ms)
    asked_ms = put.created_ms if put.asked_ms < 0 or "every" in put.request else put.asked_ms
    yield from (
        f"the tick {run.tick_ms} was before the put, and was {run.outcome}"
        for run in runs
        if run.tick_ms < first and run.tick_ms <= asked_ms
    )
    yield from _history(put, runs, jobs, view)
    yield from _left_out(put, first, record.last_tick_ms, runs, jobs)
    if put.request["overlap"] in ("skip", "queue_one") and not evidence.clock_moved:
        yield from _at_once([view.jobs[job_id] for job_id in jobs.values()])


def _history(put: Scheduled, runs: list[Run], jobs: dict[int, str], view: StoreView) -> Iterator[str]:
    """What is said to be fired was fired once, and is there; and what is there is said to be fired."""
    fired = Counter(run.tick_ms for run in runs if run.outcome == "fired")
    yield from (f"the tick {tick} was fired {times} times" for tick, times in fired.items() if times > 1)
    for run in runs:
        if run.outcome == "fired" and run.job_id != ids.of_tick(put.name, put.uid, run.tick_ms):
            yield f"the tick {run.tick_ms} was fired as {run.job_id}, which is not the id of its job"
        elif run.outcome == "fired" and run.job_id not in view.jobs:
            yield f"the tick {run.tick_ms} was fired as {run.job_id}, which is not in the store"
        elif run.outcome in OVER and run.tick_ms in jobs:
            yield f"the tick {run.tick_ms} was {run.outcome}, and has the job {jobs[run.tick_ms]}"
    since = _since(runs)
    for tick in sorted(jobs):
        if tick >= since and not fired[tick]:
            yield f"the tick {tick} has the job {jobs[tick]}, and its history does not say so"


def _since(runs: list[Run]) -> int:
    """The first tick from which the history is whole. Its oldest lines are cut off, and the line of a tick that waits
    comes late."""
    return max(run.tick_ms for run in runs[-2:]) if len(runs) >= RUNS_KEPT else 0


def _left_out(put: Scheduled, first: int, last_ms: int, runs: list[Run], jobs: dict[int, str]) -> Iterator[str]:
    """Each tick that was decided has a job, or was missed or skipped as the rules say."""
    if put.request["catch_up"] == "all":
        yield from _not_caught_up(first, last_ms, jobs)
        return
    known = jobs.keys() | {run.tick_ms for run in runs if run.outcome in OVER}
    missed = {run.tick_ms: run.count for run in runs if run.outcome == "missed"}
    left = 0.0
    for tick in range(max(first, _since(runs)), last_ms + 1, PERIOD_MS):
        if tick in missed:
            left = missed[tick] if missed[tick] < COUNTED else math.inf
        if tick in known:
            left = 0
        elif not left:
            yield f"the tick {tick} has no job, and the history does not say why"
        left = max(0, left - 1)


def _not_caught_up(first: int, last_ms: int, jobs: dict[int, str]) -> Iterator[str]:
    """By the rule `all`, a tick without a job has a hundred behind it that were caught up."""
    row, is_gap = 0, False
    for tick in range(last_ms - (last_ms - first) % PERIOD_MS, first - 1, -PERIOD_MS):
        if tick in jobs:
            row, is_gap = 1 if is_gap else row + 1, False
            continue
        if not is_gap and row < CAUGHT_UP:
            yield f"the tick {tick} has no job, and only {row} ticks behind it were caught up"
        is_gap = True


def _at_once(jobs: list[StoredJob]) -> Iterator[str]:
    """Each was made after the one before had finished. Of one that was replayed, it is not known when that was.

    A tick that waits may get its job after a later one: that came when the job before had just ended.
    """
    for one, next_one in pairwise(sorted(jobs, key=lambda job: job.created_at)):
        if not one.state.get("y") and next_one.created_at < one.number("f"):
            before = f"the one before finished at {one.number('f')}"
            yield f"a job was made at {next_one.created_at}, and {before}"
