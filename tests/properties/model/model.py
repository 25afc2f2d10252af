"""What the scripts promise of one shard, in plain Python over dicts.

It reads as the specification: one method per script, one job at a time, no store, no batches, no bytes. Times and
durations are integer milliseconds, and every call is given the time. What the store lets lapse by its own clock, a
dedupe key and the record of a claim, never lapses here: a caller removes it from `dedupe` or `claims`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from queuey.protocol.models import PRIORITIES
from queuey.store.asides import Told
from queuey.store.broker.leases import KeptValue
from queuey.store.replies import Caps
from tests.properties.model.asides import Asides
from tests.properties.model.claiming import SUSPECT, Claim
from tests.properties.model.claiming_typed import TypedClaim
from tests.properties.model.contents import Ask, Request

MAX_CRASHES = 3
MAX_SNOOZES = 1000
MAX_SUSPECT_CRASHES = 10


@dataclass
class Claimed:
    """The answer to a claim."""

    job_ids: list[str]
    due_in: int
    """In how many ms the claimer is to come again; -1: nothing is scheduled."""
    more: bool = True
    repeated: bool = True
    """Whether the claim id was used before."""
    told: Told | None = None


class Model(Asides):
    # --- a job's way -------------------------------------------------------------------------------------------

    def enqueue(self, now: int, full: bool, requests: Sequence[Request]) -> list[str]:
        return [self._enqueue(now, full, request) for request in requests]

    def _enqueue(self, now: int, full: bool, new: Request) -> str:
        holder = self.dedupe.get(new.dedupe) if new.dedupe else None
        if new.id in self.jobs:
            return "new"
        if conflict := self.conflict(now, full, new, holder):
            self._count(now, "deduplicated", " " in conflict)
            return conflict
        if full:
            return "full"
        self._add_job(now, new)
        if new.dedupe:
            self.dedupe[new.dedupe] = new.id
        return "new"

    def claim(self, now: int, ask: Ask) -> Claimed:
        if ask.claim_id in self.claims:
            given = [job_id for job_id in self.claims[ask.claim_id] if job_id in self.jobs]
            return Claimed([job_id for job_id in given if self.jobs[job_id].token.endswith(f".{ask.claim_id}")], 0)
        queues = [queue for queue in ask.queues if queue not in self.paused]
        named = [queue for queue in queues if self.names.get(queue) or ask.worker in self.alone]
        if ask.wanted is None and named:
            return Claimed([], 0, repeated=False, told=[(queue, self.told(queue)) for queue in named])
        named = [queue for queue in queues if self.names.get(queue)]
        for queue in queues:
            self._promote(now, queue, max(ask.limit, 100))
        claim = TypedClaim(self, now, ask, ask.wanted) if ask.wanted else Claim(self, now, ask)
        more = claim.run()
        claim.finish()
        if claim.taken:
            self.claims[ask.claim_id] = claim.taken
        self._count(now, "claimed", len(claim.taken))
        due = [self.scheduled[job_id] for queue in queues for job_id in self.of_queue(queue, self.scheduled)]
        due_in = max(0, min(due + claim.due) - now) if due + claim.due else -1
        told = [(queue, self.told(queue)) for queue in ask.queues if self.names.get(queue)] if ask.wanted else []
        self._put_back(named, ask)
        return Claimed(claim.taken, due_in, more, repeated=False, told=told or None)

    def _put_back(self, queues: Sequence[str], ask: Ask) -> None:
        """The markers that the claimer took, where jobs of their types are left."""
        for queue in queues:
            for kind in ask.wanted.woken if ask.wanted else ():
                if any(self.asides[queue, lane, kind] for lane in PRIORITIES):
                    self.awake.add(f"{queue}:{kind}")

    def extend(self, now: int, lease: int, held: Sequence[tuple[str, str]]) -> list[str]:
        return [self._extend(now, lease, *item) for item in held]

    def _extend(self, now: int, lease: int, job_id: str, token: str) -> str:
        if not (job := self._held(job_id, token)):
            return "lost"
        self.leases[job_id] = now + lease
        return "cancelled" if job.flagged else "ok"

    def checkpoint(self, now: int, items: Sequence[KeptValue]) -> list[str]:
        return [self._checkpoint(now, *item) for item in items]

    def _checkpoint(self, now: int, job_id: str, token: str, value: str, number: int | None = None) -> str:
        if not (job := self._held(job_id, token)):
            return "lost"
        if number is not None:
            if number < job.checkpoint_number:
                return "ok"
            job.checkpoint_number = number
        job.checkpoint, job.checkpoint_at = value, now if value else 0
        return "ok"

    def complete(self, now: int, results: Sequence[tuple[str, str, str]]) -> list[str]:
        return [self._complete(now, *item) for item in results]

    def _complete(self, now: int, job_id: str, token: str, result: str) -> str:
        if not (job := self._held(job_id, token)):
            return "ok" if self._ended(job_id, token) == "succeeded" else "lost"
        self._end_lease(job_id, "succeeded")
        job.result, job.checkpoint, job.checkpoint_at = result, "", 0
        self._finish(now, job_id, "succeeded")
        if job.until == "f":
            self._free_dedupe(now, job_id)
        return "ok"

    def fail(self, now: int, failures: Sequence[tuple[str, str, int, str]]) -> list[str]:
        return [self._fail(now, *item) for item in failures]

    def _fail(self, now: int, job_id: str, token: str, delay: int, end: str) -> str:
        """`end`: retry, dead or snooze."""
        answers = {"retried": "retry", "snoozed": "snoozed", "dead": "dead", "cancelled": "cancelled"}
        if not (job := self._held(job_id, token)):
            return answers.get(self._ended(job_id, token), "lost")
        snoozes = end == "snooze" and job.snoozes < MAX_SNOOZES
        if not snoozes:
            job.attempts += 1
            self._add_error(job, now, job.attempts, "error")
        if job.flagged:
            self._end_lease(job_id, "cancelled")
            self._cancel(now, job_id)
        elif snoozes:
            job.snoozes += 1
            self._end_lease(job_id, "snoozed")
            self._reschedule(job_id, now + delay)
            self._count(now, "snoozed")
        elif end != "retry" or job.attempts >= job.max_attempts:
            self._end_lease(job_id, "dead")
            self._bury(now, job_id)
        else:
            self._end_lease(job_id, "retried")
            self._reschedule(job_id, now + delay)
            self._count(now, "retried")
        return answers[job.outcome]

    def release(self, now: int, held: Sequence[tuple[str, str, str]]) -> list[str]:
        """Each with a type if its worker does not know that type, else ''."""
        answers: list[str] = []
        released: list[tuple[str, str]] = []
        for job_id, token, unknown in held:
            if not (job := self._held(job_id, token)):
                answers.append("ok" if self._ended(job_id, token) in ("released", "cancelled") else "lost")
                continue
            answers.append("ok")
            if job.flagged:
                self._end_lease(job_id, "cancelled")
                self._cancel(now, job_id)
            else:
                self._end_lease(job_id, "released")
                job.status = "waiting"
                job.releases += not unknown
                self._count(now, "released_often", not unknown and job.releases % 10 == 0)
                self._count(now, "released")
                released.append((job_id, unknown))
        for number, (job_id, unknown) in reversed([*enumerate(released, start=1)]):
            self._queue_again(now, job_id, unknown, number)
        return answers

    def _queue_again(self, now: int, job_id: str, unknown: str, number: int) -> None:
        job = self.jobs[job_id]
        lane = (job.queue, job.lane)
        if unknown:
            kind = self.list_for(lane, unknown, known=False)
            self._count(now, "set_aside", kind is not None)
        else:
            kind = job.type if self.is_named(lane, job.type) else ""
        if kind is None:
            self._reschedule(job_id, now + 1000 + number * 37 % 500)
        elif job.crashes >= SUSPECT and self.gate_is_open:
            self.set_suspect_aside(job_id)
        else:
            self.list_at((*lane, kind)).insert(0, job_id)
            if kind:
                self.wake_type(job.queue, kind)
            else:
                self.awake.add(job.queue)

    def cancel(self, now: int, job_ids: Sequence[str]) -> list[str]:
        return [self._ask_to_cancel(now, job_id) for job_id in job_ids]

    def _ask_to_cancel(self, now: int, job_id: str) -> str:
        if not (job := self.jobs.get(job_id)):
            return "missing"
        if job.status == "running":
            job.flagged = True
            return "cancelling"
        if job.status == "waiting":
            self.scheduled.pop(job_id, None)
            self._cancel(now, job_id)
        return "cancelled" if job.status == "cancelled" else "finished"

    def replay(self, now: int, replay_id: str, job_ids: Sequence[str]) -> list[str]:
        return [self._replay(now, replay_id, job_id) for job_id in job_ids]

    def _replay(self, now: int, replay_id: str, job_id: str) -> str:
        job = self.jobs.get(job_id)
        if job and job.replay_id == replay_id:
            return "ok"
        if not job or job.status != "dead":
            return "missing"
        if job.dedupe and self.dedupe.get(job.dedupe, job_id) != job_id:
            return "duplicate"
        if job.dedupe:
            self.dedupe[job.dedupe] = job_id
        del self.dead[job_id]
        job.status, job.attempts, job.crashes, job.finished_at = "waiting", 0, 0, 0
        job.snoozes = 0
        job.ready_at, job.replay_id = now, replay_id
        self.lanes[job.queue, job.lane].append(job_id)
        self.awake.add(job.queue)
        self._count(now, "replayed")
        return "ok"

    def hasten(self, now: int, request_id: str, job_ids: Sequence[str]) -> list[str]:
        return [self._hasten(now, request_id, job_id) for job_id in job_ids]

    def _hasten(self, now: int, request_id: str, job_id: str) -> str:
        if not (job := self.jobs.get(job_id)):
            return "missing"
        if job.replay_id == request_id:
            return "ok"
        if job_id not in self.scheduled:
            return "not_scheduled"
        del self.scheduled[job_id]
        job.ready_at, job.replay_id = now, request_id
        self.lanes[job.queue, job.lane].append(job_id)
        self.awake.add(job.queue)
        self._count(now, "hastened")
        return "ok"

    def delete(self, now: int, job_ids: Sequence[str]) -> list[str]:
        return [self._delete(now, job_id) for job_id in job_ids]

    def _delete(self, now: int, job_id: str) -> str:
        if not (job := self.jobs.get(job_id)):
            return "missing"
        if job.status in ("waiting", "running"):
            return "unfinished"
        self._free_dedupe(now, job_id)
        (self.dead if job.status == "dead" else self.done).pop(job_id)
        del self.jobs[job_id]
        self._count(now, "deleted")
        return "ok"

    # --- maintenance: `queues` is the order in which the store goes through them -----------------------------------

    def reap(
        self, now: int, limit: int, delays: Sequence[int], queues: Iterable[str]
    ) -> tuple[list[tuple[str, str]], bool]:
        lapsed = [
            job_id for queue in queues for job_id in self.of_queue(queue, self.leases) if self.leases[job_id] <= now
        ][:limit]
        outcomes = [(job_id, self._crash(now, job_id, delays[i % len(delays)])) for i, job_id in enumerate(lapsed)]
        return outcomes, len(lapsed) == limit

    def _crash(self, now: int, job_id: str, delay: int) -> str:
        job = self.jobs[job_id]
        job.crashes += 1
        self._count(now, "crashed")
        self._add_error(job, now, job.attempts + 1, "lease_lapsed")
        was_alone = job.mark == "a"
        self._end_lease(job_id, "crashed")
        if job.flagged:
            self._cancel(now, job_id)
            return "cancelled"
        is_proven = job.crashes >= MAX_CRASHES and (was_alone or not self.gate_is_open)
        if is_proven or job.crashes >= MAX_SUSPECT_CRASHES:
            self._bury(now, job_id)
            return "dead"
        if job.crashes >= SUSPECT and self.gate_is_open:
            job.status, job.ready_at = "waiting", now
            self.set_suspect_aside(job_id)
            return "suspect"
        self._reschedule(job_id, now + delay)
        return "retry"

    def promote(self, now: int, limit: int) -> tuple[int, int, int, bool]:
        """How many were promoted; in how many ms the next one is due, and the next tick (-1: there is none); and
        whether a tick waits."""
        promoted = 0
        for queue in self.queues:
            moved = self._promote(now, queue, limit)
            promoted += moved
            if moved:
                self.awake.add(queue)
        active = [plan for plan in self.schedules.values() if not plan.pause]
        ticks, waits = [plan.due for plan in active if plan.next >= 0], any(plan.pending for plan in active)
        due_in, tick_in = (max(0, min(due) - now) if due else -1 for due in (self.scheduled.values(), ticks))
        return promoted, due_in, tick_in, waits

    def _promote(self, now: int, queue: str, limit: int) -> int:
        moved = 0
        for lane in PRIORITIES:
            due = [job_id for job_id in self.of_lane((queue, lane)) if self.scheduled[job_id] <= now][:limit]
            self.lanes[queue, lane] += due
            for job_id in due:
                del self.scheduled[job_id]
            moved += len(due)
        return moved

    def trim(
        self, now: int, limit: int, caps: Caps, queues: Iterable[str], sizes: Mapping[str, int]
    ) -> tuple[int, int, int, bool]:
        """Removed dead and finished jobs, forgotten queues, and whether it stopped at the limit. `sizes`: in bytes."""
        dead, finished, forgotten = 0, 0, 0
        for queue in queues:
            if self._is_empty(queue):
                self._forget(queue)
                forgotten += 1
                continue
            for job_id in self._to_trim(now, self.dead, queue, caps, sizes, limit - dead - finished):
                del self.jobs[job_id], self.dead[job_id]
                dead += 1
            for job_id in self._to_trim(now, self.done, queue, caps, sizes, limit - dead - finished):
                del self.jobs[job_id], self.done[job_id]
                finished += 1
        return dead, finished, forgotten, dead + finished == limit

    def _to_trim(
        self, now: int, place: Mapping[str, int], queue: str, caps: Caps, sizes: Mapping[str, int], limit: int
    ) -> Iterator[str]:
        if place is self.dead:
            age, most, most_bytes, min_age = caps.dead_age_ms, caps.dead_count, caps.dead_bytes, 0
        else:
            age, most, most_bytes, min_age = 0, caps.finished_count, caps.finished_bytes, caps.finished_min_age_ms
        job_ids = self.of_queue(queue, place)
        for i, job_id in enumerate(job_ids[:limit]):
            left = job_ids[i:]
            expired = place[job_id] <= now - age
            too_much = len(left) > most or sum(sizes[other] for other in left) > most_bytes
            if not expired and not (too_much and self.jobs[job_id].finished_at <= now - min_age):
                return
            yield job_id
