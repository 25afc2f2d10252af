"""What a shard is asked, and what it holds: the model keeps one, and the store is read back as one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec

from queuey.protocol.models import PRIORITIES, Priority
from queuey.protocol.records import OnConflict
from queuey.store.asides import ANY, SUSPECTS, Told, Wanted

Status = Literal["waiting", "running", "succeeded", "dead", "cancelled"]
Lane = tuple[str, Priority]
"""A queue and a priority."""
Spot = tuple[str, Priority, str]
"""A queue, a priority, and the type of a list that was set aside there: '' = the lane itself."""


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
    until: str = ""
    unique: OnConflict | None = None
    """What to do on a conflict, if it is a unique job."""


@dataclass(frozen=True)
class Following:
    """A job that is to follow a unique one, in its queue and lane."""

    id: str
    delay: int
    run_at: int
    max_attempts: int
    retention: int
    dedupe: str
    dedupe_ttl: int
    expires: int
    until: str
    body: str


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
    isolates: int | None = None
    """For how many suspects it has a child process free. None: it has no children; -1: and holds jobs elsewhere."""
    wanted: Wanted | None = None

    def typed(self, told: Told) -> Ask:
        """The same claim as a worker that takes every type sends it, once it was told of lists set aside."""
        return replace(self, wanted=Wanted(take={queue: read_names(names) for queue, names in told}))


def read_names(text: str) -> list[tuple[Priority, str]]:
    """The names of a queue's lists set aside, from the field `aside`."""
    lanes: dict[str, Priority] = {lane[0]: lane for lane in PRIORITIES}
    return [(lanes[name[0]], name[2:]) for name in text.split()]


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
    until: str = ""
    """s = its key is free once it has started, f = once it has finished."""
    status: Status = "waiting"
    attempts: int = 0
    claims: int = 0
    crashes: int = 0
    releases: int = 0
    snoozes: int = 0
    mark: str = ""
    """While it runs as a suspect: c = in a child process of its own, a = alone on its worker."""
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
    checkpoint: str = ""
    checkpoint_at: int = 0
    checkpoint_number: int = 0
    """The number of the last checkpoint of the lease, while it runs; 0 = none."""
    errors: list[tuple[int, int, str]] = field(default_factory=list)
    """Time, attempt and kind."""
    log: str = ""

    @property
    def type(self) -> str:
        kind: str = msgspec.json.decode(self.body)["type"]
        return kind


Line = tuple[int, int, str, str, str, int]
"""A line of a schedule's history: tick, time, kind, outcome, job, count."""


@dataclass
class Planned:
    """A schedule. -1 = no time."""

    uid: str
    version: int
    spec: str
    created: int
    anchor: int = -1
    next: int = -1
    due: int = -1
    replaced: int = -1
    last_tick: int = -1
    last_job: str = ""
    pending: tuple[int, str, str] | None = None
    """The tick that waits for the end of the last job, the id of its job, and its kind."""
    pause: str = ""
    paused_at: int = -1
    runs: list[Line] = field(default_factory=list)
    """The last 50, newest first."""

    @property
    def mark(self) -> str:
        return f"{self.uid}.{self.version}"

    @property
    def is_active(self) -> bool:
        return not self.pause


@dataclass
class Contents:
    """All that a shard holds."""

    jobs: dict[str, Job] = field(default_factory=dict)
    lanes: dict[Lane, list[str]] = field(default_factory=lambda: defaultdict(list))
    """A job that is cancelled in its lane stays there, as a tombstone, until a claim comes upon it. Where its id was
    enqueued anew before that, the new job stands where the id comes first in its lane."""
    asides: dict[Spot, list[str]] = field(default_factory=lambda: defaultdict(list))
    """The lists that were set aside from the lanes. Tombstones stand there too."""
    names: dict[str, list[tuple[Priority, str]]] = field(default_factory=lambda: defaultdict(list))
    """The lists set aside that each queue names."""
    features: set[str] = field(default_factory=set)
    scheduled: dict[str, int] = field(default_factory=dict)
    leases: dict[str, int] = field(default_factory=dict)
    dead: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    dedupe: dict[str, str] = field(default_factory=dict)
    again: dict[str, Following] = field(default_factory=dict)
    """By running unique job: the one that is to follow it."""
    replaced: dict[str, str] = field(default_factory=dict)
    """By the id of a request that has replaced another: the answer to it."""
    items: dict[str, str] = field(default_factory=dict)
    """By the id of an item of a batch: the id of its job."""
    batches: dict[str, tuple[str, int, int, int]] = field(default_factory=dict)
    """By name: the open batch: its job, how many items that has, when it is due, and how many fill it."""
    claims: dict[str, list[str]] = field(default_factory=dict)
    queues: set[str] = field(default_factory=set)
    paused: dict[str, str] = field(default_factory=dict)
    guards: dict[Lane, int] = field(default_factory=dict)
    """When the guard against starvation last took a job from this lane."""
    awake: set[str] = field(default_factory=set)
    """Queues with a marker that wakes a replica, and `<queue>:<type>` for lists set aside."""
    alone: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    """By worker: the suspect that it runs alone, the queue of that, and until when."""
    draining: dict[str, tuple[str, int]] = field(default_factory=dict)
    """By queue: the worker that takes nothing until it holds nothing, and until when it is the one."""
    schedules: dict[str, Planned] = field(default_factory=dict)
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

    def fits(self, spot: Spot, job_id: str) -> bool:
        """Whether a claim may take the job when it finds its id in this list."""
        return self.stands_in(spot[:2], job_id) and spot[2] in ("", ANY, SUSPECTS, self.jobs[job_id].type)

    def list_at(self, spot: Spot) -> list[str]:
        return self.asides[spot] if spot[2] else self.lanes[spot[:2]]

    def spots(self, lane: Lane) -> list[Spot]:
        """The lane, and all lists that were set aside from it."""
        return [(*lane, ""), *(spot for spot in self.asides if spot[:2] == lane)]

    def named_spots(self, lane: Lane) -> list[Spot]:
        """The lane, and the lists set aside from it that have a name, in the order of the names."""
        return [(*lane, ""), *((*lane, kind) for priority, kind in self.names.get(lane[0], ()) if priority == lane[1])]

    def entries_of(self, lane: Lane) -> list[str]:
        return [job_id for spot in self.spots(lane) for job_id in self.list_at(spot)]

    def claimable(self, lane: Lane) -> list[str]:
        """The jobs of a lane, from head to tail, then those that were set aside from it."""
        return [job_id for job_id in dict.fromkeys(self.entries_of(lane)) if self.stands_in(lane, job_id)]

    def entries(self) -> set[str]:
        """The ids that stand in any lane or list set aside, also as a tombstone."""
        return {job_id for ids in (*self.lanes.values(), *self.asides.values()) for job_id in ids}

    def told(self, queue: str) -> str:
        """The names of a queue's lists set aside, as the store has them."""
        return "".join(f" {lane[0]}:{kind}" for lane, kind in self.names.get(queue, ()))

    def of_queue(self, queue: str, place: Mapping[str, int]) -> list[str]:
        """The ids of a queue in `scheduled`, `leases`, `dead` or `done`, first to last."""
        mine = [(score, job_id) for job_id, score in place.items() if self.jobs[job_id].queue == queue]
        return [job_id for _, job_id in sorted(mine)]

    def of_lane(self, lane: Lane) -> list[str]:
        """The scheduled jobs of a lane, first to last."""
        return [job_id for job_id in self.of_queue(lane[0], self.scheduled) if self.jobs[job_id].lane == lane[1]]
