"""What the scripts promise of one shard, in plain Python over dicts.

It reads as the specification: one method per script, one job at a time, no store, no batches, no bytes. Times and
durations are integer milliseconds, and every call is given the time. What the store lets lapse by its own clock, a
dedupe key and the record of a claim, never lapses here: a caller removes it from `dedupe` or `claims`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from queuey.protocol.models import PRIORITIES
from queuey.store.replies import Caps
from tests.properties.claiming import Claim
from tests.properties.contents import Ask, Contents, Job, Lane, Request

MAX_CRASHES = 3
ERRORS_KEPT = 10


class Model(Contents):
    # --- a job's way -------------------------------------------------------------------------------------------

    def enqueue(self, now: int, full: bool, requests: Sequence[Request]) -> list[str]:
        return [self._enqueue(now, full, request) for request in requests]

    def _enqueue(self, now: int, full: bool, new: Request) -> str:
        holder = self.dedupe.get(new.dedupe) if new.dedupe else None
        if new.id in self.jobs:
            return "new"
        if holder is not None and holder != new.id:
            self._count(now, "deduplicated")
            return f"duplicate {holder}"
        if full:
            return "full"
        due = max(now, new.run_at or now + new.delay)
        self.jobs[new.id] = Job(
            queue=new.queue,
            lane=new.lane,
            max_attempts=new.max_attempts,
            retention=new.retention,
            dedupe=new.dedupe,
            dedupe_ttl=new.dedupe_ttl,
            body=new.body,
            created_at=now,
            ready_at=due,
            expires=new.expires,
        )
        if due > now:
            self.scheduled[new.id] = due
        else:
            self.lanes[new.queue, new.lane].append(new.id)
        if new.dedupe:
            self.dedupe[new.dedupe] = new.id
        self.queues.add(new.queue)
        self.awake.add(new.queue)
        self._count(now, "enqueued")
        return "new"

    def claim(self, now: int, ask: Ask) -> tuple[list[str], int, bool, bool]:
        """The ids claimed, in how many ms the next one is due (-1: none is scheduled), whether some are left, and
        whether the claim id is used again."""
        if ask.claim_id in self.claims:
            given = [job_id for job_id in self.claims[ask.claim_id] if job_id in self.jobs]
            return [job_id for job_id in given if self.jobs[job_id].token.endswith(f".{ask.claim_id}")], 0, True, True
        queues = [queue for queue in ask.queues if queue not in self.paused]
        for queue in queues:
            self._promote(now, queue, max(ask.limit, 100))
        claim = Claim(self, now, ask)
        claim.take_starving(queues)
        for lane in PRIORITIES:
            for queue in queues:
                claim.take((queue, lane), ask.limit - len(claim.taken))
        if claim.taken:
            self.claims[ask.claim_id] = claim.taken
        left = [queue for queue in queues if any(self.lanes[queue, lane] for lane in PRIORITIES)]
        more = len(claim.taken) == ask.limit and left != []
        if more:
            self.awake.update(left)
        self._count(now, "claimed", len(claim.taken))
        due = [self.scheduled[job_id] for queue in queues for job_id in self.of_queue(queue, self.scheduled)]
        return claim.taken, max(0, min(due) - now) if due else -1, more, False

    def extend(self, now: int, lease: int, held: Sequence[tuple[str, str]]) -> list[str]:
        return [self._extend(now, lease, *item) for item in held]

    def _extend(self, now: int, lease: int, job_id: str, token: str) -> str:
        if not (job := self._held(job_id, token)):
            return "lost"
        self.leases[job_id] = now + lease
        return "cancelled" if job.flagged else "ok"

    def complete(self, now: int, results: Sequence[tuple[str, str, str]]) -> list[str]:
        return [self._complete(now, *item) for item in results]

    def _complete(self, now: int, job_id: str, token: str, result: str) -> str:
        if not (job := self._held(job_id, token)):
            return "ok" if self._ended(job_id, token) == "succeeded" else "lost"
        self._end_lease(job_id, "succeeded")
        job.result = result
        self._finish(now, job_id, "succeeded")
        return "ok"

    def fail(self, now: int, failures: Sequence[tuple[str, str, int, bool]]) -> list[str]:
        return [self._fail(now, *item) for item in failures]

    def _fail(self, now: int, job_id: str, token: str, delay: int, dead: bool) -> str:
        answers = {"retried": "retry", "dead": "dead", "cancelled": "cancelled"}
        if not (job := self._held(job_id, token)):
            return answers.get(self._ended(job_id, token), "lost")
        job.attempts += 1
        self._add_error(job, now, job.attempts, "error")
        if job.flagged:
            self._end_lease(job_id, "cancelled")
            self._cancel(now, job_id)
        elif dead or job.attempts >= job.max_attempts:
            self._end_lease(job_id, "dead")
            self._bury(now, job_id)
        else:
            self._end_lease(job_id, "retried")
            self._reschedule(job_id, now + delay)
            self._count(now, "retried")
        return answers[job.outcome]

    def release(self, now: int, held: Sequence[tuple[str, str]]) -> list[str]:
        answers: list[str] = []
        to_head: dict[Lane, list[str]] = defaultdict(list)
        for job_id, token in held:
            if not (job := self._held(job_id, token)):
                answers.append("ok" if self._ended(job_id, token) in ("released", "cancelled") else "lost")
                continue
            answers.append("ok")
            if job.flagged:
                self._end_lease(job_id, "cancelled")
                self._cancel(now, job_id)
            else:
                self._end_lease(job_id, "released")
                job.status, job.releases = "waiting", job.releases + 1
                self._count(now, "released_often", job.releases % 10 == 0)
                to_head[job.queue, job.lane].append(job_id)
                self.awake.add(job.queue)
                self._count(now, "released")
        for lane, job_ids in to_head.items():
            self.lanes[lane][:0] = job_ids
        return answers

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
        self._free_dedupe(job_id)
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
        self._end_lease(job_id, "crashed")
        if job.flagged:
            self._cancel(now, job_id)
            return "cancelled"
        if job.crashes >= MAX_CRASHES:
            self._bury(now, job_id)
            return "dead"
        self._reschedule(job_id, now + delay)
        return "retry"

    def promote(self, now: int, limit: int) -> tuple[int, int]:
        """How many were promoted, and in how many ms the next one is due (-1: none is scheduled)."""
        promoted = 0
        for queue in self.queues:
            moved = self._promote(now, queue, limit)
            promoted += moved
            if moved:
                self.awake.add(queue)
        return promoted, max(0, min(self.scheduled.values()) - now) if self.scheduled else -1

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

    def _is_empty(self, queue: str) -> bool:
        in_places = [self.of_queue(queue, place) for place in (self.scheduled, self.leases, self.dead, self.done)]
        return queue not in self.paused and not any(in_places) and not any(self.lanes[queue, p] for p in PRIORITIES)

    def _forget(self, queue: str) -> None:
        self.queues.discard(queue)
        self.awake.discard(queue)
        for lane in PRIORITIES:
            self.guards.pop((queue, lane), None)

    # --- queues ------------------------------------------------------------------------------------------------

    def pause(self, queue: str, reason: str) -> str:
        self.queues.add(queue)
        self.paused[queue] = reason
        return "ok"

    def resume(self, queue: str) -> str:
        if self.paused.pop(queue, None) is None:
            return "not_paused"
        self.awake.add(queue)
        return "ok"

    # --- steps that several moves share --------------------------------------------------------------------------

    def _held(self, job_id: str, token: str) -> Job | None:
        """The job, if this is the token of the lease that stands."""
        job = self.jobs.get(job_id)
        return job if job and job.status == "running" and job.token == token else None

    def _ended(self, job_id: str, token: str) -> str:
        """How this token's lease ended, if it was the job's last."""
        job = self.jobs.get(job_id)
        return job.outcome if job and job.previous == token else ""

    def _end_lease(self, job_id: str, outcome: str) -> None:
        job = self.jobs[job_id]
        del self.leases[job_id]
        job.previous, job.outcome, job.token = job.token, outcome, ""

    def _finish(self, now: int, job_id: str, status: Literal["succeeded", "cancelled"]) -> None:
        job = self.jobs[job_id]
        job.status, job.finished_at, job.flagged = status, now, False
        self.done[job_id] = now + job.retention
        self._count(now, status)

    def _cancel(self, now: int, job_id: str) -> None:
        self._finish(now, job_id, "cancelled")
        self._free_dedupe(job_id)

    def _bury(self, now: int, job_id: str) -> None:
        job = self.jobs[job_id]
        job.status, job.finished_at = "dead", now
        self.dead[job_id] = now
        self._free_dedupe(job_id)
        self._count(now, "dead")

    def _reschedule(self, job_id: str, due: int) -> None:
        job = self.jobs[job_id]
        job.status, job.ready_at = "waiting", due
        self.scheduled[job_id] = due
        self.awake.add(job.queue)

    def _free_dedupe(self, job_id: str) -> None:
        key = self.jobs[job_id].dedupe
        if key and self.dedupe.get(key) == job_id:
            del self.dedupe[key]

    def _add_error(self, job: Job, now: int, attempt: int, kind: str) -> None:
        job.errors = [*job.errors, (now, attempt, kind)][-ERRORS_KEPT:]

    def _count(self, now: int, name: str, by: int = 1) -> None:
        if by:
            self.counters[name] += by
            self.by_minute[now // 60_000, name] += by
