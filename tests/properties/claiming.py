"""What a claim promises: in which order it takes jobs, and which it passes over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from queuey.protocol.models import PRIORITIES
from tests.properties.contents import Ask, Job, Lane

if TYPE_CHECKING:
    from tests.properties.model import Model


class Claim:
    """One claim under way."""

    def __init__(self, model: Model, now: int, ask: Ask) -> None:
        self.model, self.now, self.ask = model, now, ask
        self.suspects = ask.suspects
        self.deferred = 0
        self.taken: list[str] = []

    def take_starving(self, queues: Sequence[str]) -> None:
        """A lane that has been ready for too long, while jobs stand in lanes above, gives one job a second first."""
        before = {lane: len(ids) for lane, ids in self.model.lanes.items()}
        above = 0
        for lane in PRIORITIES:
            for queue in queues:
                rested = abs(self.now - self.model.guards.get((queue, lane), 0)) >= 1000
                may_take = above and rested and len(self.taken) < self.ask.limit
                if may_take and self.take((queue, lane), 1, ready_before=self.now - self.ask.max_starve):
                    self.model.guards[queue, lane] = self.now
            above += sum(before.get((queue, lane), 0) for queue in queues)

    def take(self, lane: Lane, most: int, ready_before: int | None = None) -> int:
        """Claims up to `most` from the head of a lane, and says how many."""
        ids, jobs, taken = self.model.lanes[lane], self.model.jobs, 0
        while ids and taken < most:
            if not self.model.stands_in(lane, ids[0]):
                del ids[0]
            elif jobs[ids[0]].expires and self._has_expired(jobs[ids[0]]):
                self._expire(ids.pop(0))
            elif ready_before is not None and jobs[ids[0]].ready_at > ready_before:
                break
            elif jobs[ids[0]].crashes and not self.suspects:
                self._defer(ids.pop(0))
            else:
                self.suspects -= jobs[ids[0]].crashes > 0
                self._run(ids.pop(0))
                taken += 1
        return taken

    def _has_expired(self, job: Job) -> bool:
        return job.claims == 0 and self.now >= job.created_at + job.expires

    def _expire(self, job_id: str) -> None:
        self.model._add_error(self.model.jobs[job_id], self.now, 1, "expired")
        self.model._cancel(self.now, job_id)
        self.model._count(self.now, "expired")

    def _run(self, job_id: str) -> None:
        job = self.model.jobs[job_id]
        job.status, job.claims, job.worker, job.started_at = "running", job.claims + 1, self.ask.worker, self.now
        job.token = f"{job.claims}.{self.ask.claim_id}"
        self.model.leases[job_id] = self.now + self.ask.lease
        self.taken.append(job_id)

    def _defer(self, job_id: str) -> None:
        self.model.scheduled[job_id] = self.now + self.ask.defer + self.deferred * 37 % 500
        self.model.awake.add(self.model.jobs[job_id].queue)
        self.deferred += 1
