"""What a shard is asked, and what it holds: the model keeps one, and the store is read back as one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from queuey.protocol.models import Priority

Status = Literal["waiting", "running", "succeeded", "dead", "cancelled"]
Lane = tuple[str, Priority]
"""A queue and a priority."""


@dataclass(frozen=True)
class Request:
    """A job to enqueue."""

    id: str
    queue: str
    lane: Priority
    max_attempts: int
    retention: int
    dedupe: str
    dedupe_ttl: int
    delay: int
    run_at: int
    body: str
    expires: int = 0


@dataclass(frozen=True)
class Ask:
    """A claim."""

    claim_id: str
    worker: str
    lease: int
    limit: int
    queues: tuple[str, ...]
    max_starve: int
    suspects: int
    defer: int


@dataclass
class Job:
    queue: str
    lane: Priority
    max_attempts: int
    retention: int
    dedupe: str
    dedupe_ttl: int
    body: str
    created_at: int
    ready_at: int
    expires: int = 0
    """In how many ms after it was created it must have been claimed; 0 = whenever."""
    status: Status = "waiting"
    attempts: int = 0
    claims: int = 0
    crashes: int = 0
    releases: int = 0
    token: str = ""
    previous: str = ""
    """The token of the lease that ended last, and `outcome`: how."""
    outcome: str = ""
    worker: str = ""
    started_at: int = 0
    finished_at: int = 0
    flagged: bool = False
    replay_id: str = ""
    result: str = ""
    errors: list[tuple[int, int, str]] = field(default_factory=list)
    """Time, attempt and kind."""


@dataclass
class Contents:
    """All that a shard holds."""

    jobs: dict[str, Job] = field(default_factory=dict)
    lanes: dict[Lane, list[str]] = field(default_factory=lambda: defaultdict(list))
    """A job that is cancelled in its lane stays there, as a tombstone, until a claim comes upon it. Where its id was
    enqueued anew before that, the new job stands where the id comes first in its lane."""
    scheduled: dict[str, int] = field(default_factory=dict)
    leases: dict[str, int] = field(default_factory=dict)
    dead: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    dedupe: dict[str, str] = field(default_factory=dict)
    claims: dict[str, list[str]] = field(default_factory=dict)
    queues: set[str] = field(default_factory=set)
    paused: dict[str, str] = field(default_factory=dict)
    guards: dict[Lane, int] = field(default_factory=dict)
    """When the guard against starvation last took a job from this lane."""
    awake: set[str] = field(default_factory=set)
    """Queues with a marker that wakes a replica."""
    counters: Counter[str] = field(default_factory=Counter)
    by_minute: Counter[tuple[int, str]] = field(default_factory=Counter)

    def stands_in(self, lane: Lane, job_id: str) -> bool:
        """Whether a claim may take the job when it finds its id in this lane, so that this is no tombstone."""
        job = self.jobs.get(job_id)
        return (
            job is not None
            and job.status == "waiting"
            and (job.queue, job.lane) == lane
            and job_id not in self.scheduled
        )

    def claimable(self, lane: Lane) -> list[str]:
        """The jobs of a lane, from head to tail."""
        return [job_id for job_id in dict.fromkeys(self.lanes[lane]) if self.stands_in(lane, job_id)]

    def entries(self) -> set[str]:
        """The ids that stand in any lane, also as a tombstone."""
        return {job_id for lane in self.lanes.values() for job_id in lane}

    def of_queue(self, queue: str, place: Mapping[str, int]) -> list[str]:
        """The ids of a queue in `scheduled`, `leases`, `dead` or `done`, first to last."""
        mine = [(score, job_id) for job_id, score in place.items() if self.jobs[job_id].queue == queue]
        return [job_id for _, job_id in sorted(mine)]

    def of_lane(self, lane: Lane) -> list[str]:
        """The scheduled jobs of a lane, first to last."""
        return [job_id for job_id in self.of_queue(lane[0], self.scheduled) if self.jobs[job_id].lane == lane[1]]
