"""Steps that several moves of the model share."""

from __future__ import annotations

from dataclasses import fields as fields_of
from typing import Literal

from tests.properties.model.contents import Contents, Job, Request

ERRORS_KEPT = 10


class Steps(Contents):
    def __init__(self) -> None:
        super().__init__()
        self.followed: list[str] = []
        """The jobs that have followed others since somebody emptied it."""

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
        if job.mark == "a":
            self.alone.pop(job.worker, None)
        job.previous, job.outcome, job.token, job.mark, job.checkpoint_number = job.token, outcome, "", "", 0

    def _finish(self, now: int, job_id: str, status: Literal["succeeded", "cancelled"]) -> None:
        job = self.jobs[job_id]
        job.status, job.finished_at, job.flagged = status, now, False
        self.done[job_id] = now + job.retention
        self._count(now, status)

    def _has_expired(self, now: int, job: Job) -> bool:
        return bool(job.expires) and job.claims == 0 and now >= job.created_at + job.expires

    def _expire(self, now: int, job_id: str) -> None:
        self._add_error(self.jobs[job_id], now, 1, "expired")
        self._cancel(now, job_id)
        self._count(now, "expired")

    def _cancel(self, now: int, job_id: str) -> None:
        self._finish(now, job_id, "cancelled")
        self._free_dedupe(now, job_id)

    def _bury(self, now: int, job_id: str) -> None:
        job = self.jobs[job_id]
        job.status, job.finished_at = "dead", now
        self.dead[job_id] = now
        self._free_dedupe(now, job_id)
        self._count(now, "dead")

    def _reschedule(self, job_id: str, due: int) -> None:
        job = self.jobs[job_id]
        job.status, job.ready_at = "waiting", due
        self.scheduled[job_id] = due
        self.awake.add(job.queue)

    def _add_job(self, now: int, new: Request) -> None:
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
            until=new.until,
        )
        if due > now:
            self.scheduled[new.id] = due
        else:
            self.lanes[new.queue, new.lane].append(new.id)
        self.queues.add(new.queue)
        self.awake.add(new.queue)
        self._count(now, "enqueued")

    def _free_dedupe(self, now: int, job_id: str) -> None:
        """Another job may have taken the key, after its TTL. What is to follow the job is enqueued in any case."""
        job, following = self.jobs[job_id], self.again.pop(job_id, None)
        holder = self.dedupe.get(job.dedupe)
        if following is None or following.id in self.jobs:
            if job.dedupe and holder == job_id:
                del self.dedupe[job.dedupe]
            return
        fields = {each.name: getattr(following, each.name) for each in fields_of(following)}
        self._add_job(now, Request(**fields, queue=job.queue, lane=job.lane))
        self.followed.append(following.id)
        if holder in (None, job_id):
            self.dedupe[job.dedupe] = following.id

    def _add_error(self, job: Job, now: int, attempt: int, kind: str) -> None:
        job.errors = [*job.errors, (now, attempt, kind)][-ERRORS_KEPT:]

    def _count(self, now: int, name: str, by: int = 1) -> None:
        if by:
            self.counters[name] += by
            self.by_minute[now // 60_000, name] += by
