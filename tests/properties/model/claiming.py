"""What a claim promises: in which order it takes jobs, and which it passes over."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Literal

from queuey.protocol.models import PRIORITIES
from tests.properties.model.contents import Ask, Lane, Spot

if TYPE_CHECKING:
    from tests.properties.model.model import Model

SUSPECT = 2


@dataclass
class Room:
    """For how many more jobs there is room."""

    left: float


Verdict = Room | Literal["moved", "tombstone", "stays"]


class Claim:
    """One claim under way, of jobs of every type from the lanes."""

    def __init__(self, model: Model, now: int, ask: Ask) -> None:
        self.model, self.now, self.ask = model, now, ask
        self.queues = [queue for queue in ask.queues if queue not in model.paused]
        self.limit, self.suspects, self.isolating = ask.limit, ask.suspects, Room(ask.isolates or 0)
        self.runs_alone = self.runs_beside = False
        """How a worker without child processes claims a suspect."""
        self.deferred = 0
        self.taken: list[str] = []
        self.moved: set[str] = set()
        """Entries that are gone from where they stood, though the job waits."""
        self.pushed: list[tuple[Spot, str]] = []
        """What goes to the tail of a list when the claim is done."""
        self.due: list[int] = []
        """When else than at the next due job the claimer is to come again."""

    def run(self) -> bool:
        """Returns whether it left jobs that it could have taken."""
        self.take_starving()
        for lane in PRIORITIES:
            for queue in self.queues:
                self.take((queue, lane), self.limit - len(self.taken))
        if len(self.taken) < self.limit:
            return False
        left = [queue for queue in self.queues if any(self.model.lanes[queue, lane] for lane in PRIORITIES)]
        self.model.awake.update(left)
        return left != []

    def finish(self) -> None:
        for spot, job_id in self.pushed:
            self.model.asides[spot].append(job_id)

    def take_starving(self) -> None:
        """A lane that has been ready for too long, while jobs stand in lanes above, gives one job a second first."""
        before = {(queue, lane): self.length((queue, lane)) for lane in PRIORITIES for queue in self.queues}
        above = 0
        for lane in PRIORITIES:
            for queue in self.queues:
                rested = abs(self.now - self.model.guards.get((queue, lane), 0)) >= 1000
                may_take = above and rested and len(self.taken) < self.limit and before[queue, lane]
                if may_take and self.take((queue, lane), 1, ready_before=self.now - self.ask.max_starve):
                    self.model.guards[queue, lane] = self.now
            above += sum(before[queue, lane] for queue in self.queues)

    def length(self, lane: Lane) -> int:
        return len(self.model.lanes[lane])

    def take(self, lane: Lane, most: int, ready_before: int | None = None) -> int:
        """Claims up to `most` from the head of a lane, and says how many."""
        return self.take_from((*lane, ""), most, ready_before)[0]

    def take_from(self, spot: Spot, most: int, ready_before: int | None = None) -> tuple[int, bool]:
        """Claims up to `most` from the head of a list. Says how many, and whether what is at its head has to stay."""
        ids, jobs, taken = self.model.list_at(spot), self.model.jobs, 0
        while ids and taken < most:
            job_id = ids[0]
            if job_id in self.moved or not self.model.stands_in(spot[:2], job_id):
                del ids[0]
            elif self.model._has_expired(self.now, jobs[job_id]):
                self.model._expire(self.now, ids.pop(0))
            elif ready_before is not None and jobs[job_id].ready_at > ready_before:
                return taken, True
            else:
                verdict = self.may_begin(spot, job_id)
                if verdict == "stays":
                    return taken, True
                del ids[0]
                if not isinstance(verdict, Room):
                    continue
                if not jobs[job_id].crashes or not self._is_refused(job_id):
                    verdict.left -= 1
                    self._run(job_id)
                    taken += 1
        return taken, False

    def may_begin(self, spot: Spot, job_id: str) -> Verdict:
        return Room(inf)

    def _is_refused(self, job_id: str) -> bool:
        """Whether a job with crashes waits elsewhere. A suspect runs in a child process of its own, or alone."""
        job = self.model.jobs[job_id]
        is_suspect = job.crashes >= SUSPECT
        if not is_suspect and self.model.gate_is_open:
            return False
        if is_suspect and self.isolating.left > 0:
            self.isolating.left -= 1
            job.mark = "c"
            return False
        if is_suspect and self.model.gate_is_open:
            job.mark = "a" if self.runs_alone else ""
            is_refused = not self.runs_alone and not self.runs_beside
            if is_refused:
                self._push(self.model.spot_of_suspect(job_id), job_id)
                self.deferred += 1
            return is_refused
        if self.suspects:
            self.suspects -= 1
            return False
        self._delay(job_id, self.deferred)
        self.deferred += 1
        return True

    def _push(self, spot: Spot, job_id: str) -> None:
        self.moved.add(job_id)
        self.pushed.append((spot, job_id))

    def _run(self, job_id: str) -> None:
        job = self.model.jobs[job_id]
        job.status, job.claims, job.worker, job.started_at = "running", job.claims + 1, self.ask.worker, self.now
        job.token = f"{job.claims}.{self.ask.claim_id}"
        if job.until == "s":
            self.model._free_dedupe(self.now, job_id)
        self.model.leases[job_id] = self.now + self.ask.lease
        self.taken.append(job_id)

    def _delay(self, job_id: str, number: int) -> None:
        self.model.scheduled[job_id] = self.now + self.ask.defer + number * 37 % 500
        self.model.awake.add(self.model.jobs[job_id].queue)
