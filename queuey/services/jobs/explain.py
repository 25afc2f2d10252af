"""Explaining the status of a job, and what must happen before it runs.

This changes nothing, and reads a limited part of the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

from msgspec import UNSET, UnsetType

from queuey.protocol.allowed import counted
from queuey.protocol.models import PRIORITIES, Ahead, Explanation, Job, WorkerInfo
from queuey.protocol.records import SUSPECT, UNIQUE, encode_key, from_ms
from queuey.services.unknown_types import asides_in, takes_all
from queuey.services.workers import list_workers, serving
from queuey.store.asides import SUSPECTS
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline
from queuey.store.replies import Placed

Value = TypeVar("Value")

MAX_SEARCHED: Final = 200_000
"""The maximum number of entries of a lane that are searched for the job."""
MAX_WORKERS_NAMED: Final = 100
_ENDS: Final = {
    "succeeded": "It has succeeded",
    "dead_letter": "It is in the dead-letter queue",
    "cancelled": "It was cancelled",
}


async def explain(broker: Broker, job: Job, deadline: Deadline, unknown_type_ttl: float) -> Explanation:
    """Explain the status of a job as it was a moment ago. `unknown_type_ttl`: the setting. Raises StoreUnavailable."""
    answer = await _explain(broker, job, deadline, unknown_type_ttl)
    if job.unique is not None:
        key = UNIQUE + encode_key(job.unique.key)
        found = await deadline.call(broker.transfer.dump, broker.shards.of_job(job.id), [job.id], [key])
        answer.unique_key = job.unique.key
        answer.unique_key_holder = found.held[0].job_id if found.held else UNSET
        following = found.jobs[0].again if found.jobs else ""
        answer.followed_by = following.partition(" ")[0] or UNSET
    return answer


async def _explain(broker: Broker, job: Job, deadline: Deadline, unknown_type_ttl: float) -> Explanation:
    if job.status in _ENDS:
        return _finished(job)
    if job.status == "running":
        return _running(job)
    shard = broker.shards.of_job(job.id)
    placed = await deadline.call(broker.jobs.position, shard, job.queue, job.priority, job.id, look=MAX_SEARCHED)
    if job.status == "scheduled":
        answer = _scheduled(job)
    else:
        answer = await _queued(broker, job, placed, deadline, unknown_type_ttl)
    if placed.paused:
        answer.pause_reason = placed.paused
        answer.paused_by = placed.paused_by or UNSET
        answer.paused_at = from_ms(placed.paused_at_ms) if placed.paused_at_ms else UNSET
    return answer


def _finished(job: Job) -> Explanation:
    because = f": {job.last_error}" if job.status != "succeeded" and job.last_error else ""
    detail = f"{_ENDS[job.status]}{because}."
    return Explanation(job.id, job.status, "finished", detail, last_error=_known(job.last_error))


def _running(job: Job) -> Explanation:
    how = ""
    if job.crashes >= SUSPECT:
        how = f" It has crashed {job.crashes} times, so it runs in a child process of its own, or first by itself."
    return Explanation(
        job.id,
        job.status,
        "running",
        f"The worker {job.worker} runs it.{how}",
        worker=_known(job.worker),
        lease_expires_at=_known(job.lease_expires_at),
    )


def _scheduled(job: Job) -> Explanation:
    """Explain a job that is due later: as requested, or after a failed attempt or a crash."""
    due = job.run_at
    crashed = bool(job.errors) and job.errors[-1].kind == "lease_lapsed"
    answer = Explanation(job.id, job.status, "due_later", f"It is due at {_shown(due)}.", due_at=_known(due))
    if job.started_at is None:
        answer.expires_at = _known(job.expires_at)
        if job.batch_key is not None and not job.errors:
            answer.reason = "waits_for_items"
            answer.detail = f"It is a batch, which waits for more items until {_shown(due)}, unless it is full before."
            return answer
    if job.crashes and crashed:
        answer.reason = "crashed"
        answer.detail = f"Its worker was lost (crash {job.crashes}). It is due again at {_shown(due)}."
    elif _was_snoozed(job):
        answer.reason = "snoozed"
        times = "once" if job.snoozed == 1 else f"{job.snoozed} times"
        answer.detail = f"Its handler has snoozed it ({times}). It is due again at {_shown(due)}."
    elif job.attempts:
        answer.reason = "retry_later"
        answer.detail = f"Attempt {job.attempts} of {job.max_attempts} failed. The next is due at {_shown(due)}."
    if answer.reason != "due_later":
        answer.attempts, answer.crashes, answer.last_error = job.attempts, job.crashes, _known(job.last_error)
    return answer


def _was_snoozed(job: Job) -> bool:
    """Return whether the last run ended with a snooze, since no error came after its start."""
    if not job.snoozed or job.started_at is None:
        return False
    return not job.errors or job.errors[-1].at < job.started_at


async def _queued(broker: Broker, job: Job, placed: Placed, deadline: Deadline, ttl: float) -> Explanation:
    answer = Explanation(job.id, job.status, "ready", "A worker may take it at any moment.")
    _add_position(answer, job, placed)
    workers = [worker for worker in await list_workers(broker, deadline) if not worker.gone]
    asides = await asides_in(broker, job.queue, deadline)
    set_aside = asides.counts.get(job.type, 0)
    able = _able(workers, job)
    answer.workers = able[:MAX_WORKERS_NAMED]
    if job.started_at is None:
        answer.expires_at = _known(job.expires_at)
    if job.crashes:
        answer.crashes, answer.last_error = job.crashes, _known(job.last_error)
    if job.started_at is None and job.expires_at is not None and job.expires_at <= datetime.now(UTC):
        answer.reason, answer.detail = "expired", "No worker started it in time. The next that finds it cancels it."
    elif placed.paused:
        by = f" by {placed.paused_by}" if placed.paused_by else ""
        answer.reason, answer.detail = "paused", f"The queue {job.queue} is paused{by}: {placed.paused}"
    elif not able:
        answer.reason, answer.detail = "no_worker", _why_nobody(workers, job, set_aside)
        if serving(workers, job.queue) and asides.asked_within(ttl):
            answer.detail += " A pull worker that takes every type asked for the queue recently."
    elif stuck := _all_stuck(workers, able, job):
        answer.reason, answer.detail = "threads_stuck", stuck
    elif job.crashes:
        answer.reason, answer.detail = "crashed", _crashed(job, placed)
    elif answer.position is UNSET or _total(answer.ahead) or placed.aside:
        answer.reason, answer.detail = "waiting", _how_many(answer, job)
        if placed.aside:
            waits = f"It is set aside until a worker with room for {job.type} asks ({set_aside} wait)."
            answer.detail = f"{waits} {answer.detail}"
    return answer


def _add_position(answer: Explanation, job: Job, placed: Placed) -> None:
    """Add the position of a job. A job that was not found has been claimed, or is behind MAX_SEARCHED entries."""
    lane = PRIORITIES.index(job.priority)
    is_deep = placed.before < 0 and placed.length > MAX_SEARCHED
    if placed.before < 0 and not is_deep:
        return
    before = MAX_SEARCHED if is_deep else placed.before
    answer.position = before + 1
    answer.position_is_at_least = True if is_deep else UNSET
    counts = [*placed.queued[:lane], min(before, placed.queued[lane]), *[0] * (len(PRIORITIES) - lane - 1)]
    answer.ahead = Ahead(*counts)


def _able(workers: Sequence[WorkerInfo], job: Job) -> list[str]:
    """Return the workers that take jobs from its queue and know its type."""
    names = set(serving(workers, job.queue))
    able = [worker for worker in workers if takes_all(worker) or job.type in worker.types]
    return [worker.name for worker in able if worker.name in names]


def _why_nobody(workers: Sequence[WorkerInfo], job: Job, set_aside: int) -> str:
    if serving(workers, job.queue):
        waiting = f" ({set_aside} wait)" if set_aside else ""
        return f"No worker that serves the queue {job.queue} knows the type {job.type}{waiting}."
    known = not workers or any(takes_all(worker) or job.type in worker.types for worker in workers)
    return f"No worker serves the queue {job.queue}." + ("" if known else f" No live worker knows the type {job.type}.")


def _all_stuck(workers: Sequence[WorkerInfo], able: Sequence[str], job: Job) -> str:
    """Return why no worker that knows the type can begin a job of it; '' if one can."""
    these = [worker for worker in workers if worker.name in able]
    if not all(job.type in worker.blocked_types for worker in these):
        return ""
    first = these[0]
    held = ", ".join(f"{thread.type} (since {_shown(thread.since)})" for thread in first.stuck_threads[:3])
    more = len(these) - 1
    others = f" {more} more {'worker is' if more == 1 else 'workers are'} in the same state." if more else ""
    return f"All threads of the worker {first.name} are held by handlers that do not return: {held}.{others}"


def _crashed(job: Job, placed: Placed) -> str:
    times = f"It has crashed {job.crashes} {'time' if job.crashes == 1 else 'times'}."
    if placed.aside == SUSPECTS:
        return f"{times} It waits to run in a child process of its own, or while a worker holds no other job."
    return f"{times} {'It runs beside other jobs again.' if job.crashes < SUSPECT else 'A worker isolates it.'}"


def _how_many(answer: Explanation, job: Job) -> str:
    if answer.ahead is UNSET:
        return "It is moving right now. Ask again."
    ahead = _total(answer.ahead)
    least = "At least " if answer.position_is_at_least is True else ""
    return f"{least}{counted(ahead, 'job')} of the queue {job.queue} {'runs' if ahead == 1 else 'run'} before it."


def _total(ahead: Ahead | UnsetType) -> int:
    return 0 if ahead is UNSET else ahead.high + ahead.default + ahead.low


def _shown(time: datetime | None) -> str:
    return time.isoformat().replace("+00:00", "Z") if time else "a time that has passed"


def _known(value: Value | None) -> Value | UnsetType:
    return UNSET if value is None else value
