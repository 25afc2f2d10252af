"""What the Lua scripts answer, as the Broker decodes it, and the caps that trim is given."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Place = Literal["ready", "scheduled", "running", "dead", "finished"]


class ClaimedJob(Struct, array_like=True):
    """A job as a worker gets it. `attempt` counts from 1; `definition` is the stored text, see records.py."""

    id: str
    token: str
    attempt: int
    crashes: int
    definition: str


class Claimed(Struct, array_like=True):
    """The reply to a claim. `due_in_ms` is -1 when nothing is scheduled; `more`: claimable jobs were left.

    `repeated`: the claim id had claimed before, and these are the jobs of that claim. `promoted`, `expired`: ids of the
    jobs that came due and of those that were cancelled since they had expired, only while somebody listens."""

    jobs: list[ClaimedJob]
    due_in_ms: int
    more: bool
    repeated: bool = False
    promoted: list[str] = []
    expired: list[str] = []


class Reaped(Struct, array_like=True):
    """`outcomes`: id and retry, dead, cancelled or orphan."""

    outcomes: list[tuple[str, str]]
    more: bool


class Promoted(Struct, array_like=True):
    """How many jobs came due, and when the next one does: -1 = none is scheduled.

    `ids` of these jobs, only while somebody listens."""

    count: int
    due_in_ms: int
    ids: list[str] = []


class Trimmed(Struct, array_like=True):
    dead: int
    finished: int
    queues: int
    more: bool


class Listed(Struct, array_like=True):
    id: str
    score: int
    queue: str


class Paged(Struct, array_like=True):
    """One job of a page: where it stands, and how many bytes it takes. `place`: a number of the list, from 1."""

    place: int
    offset: int
    score: int
    id: str
    bytes: int


class Placed(Struct, array_like=True):
    """Where a job stands. `before`: entries of its lane before it, -1 = not found; `length`: of its lane; `claimable`:
    jobs of its queue by lane, high first. `paused`: the reason, '' = it is not; `paused_at_ms`: 0 = not told."""

    before: int
    length: int
    claimable: list[int]
    paused: str
    paused_by: str
    paused_at_ms: int


class Page(Struct, array_like=True):
    """`last`: place, offset, score and id of the last entry that was looked at. `ended`: nothing is left."""

    jobs: list[Paged]
    looked: int
    last: tuple[int, int, int, str]
    ended: bool


class QueueRow(Struct, array_like=True):
    """One queue on one shard: how many jobs are in each place. `paused` is the reason, '' when it is not."""

    name: str
    paused: str
    high: int
    default: int
    low: int
    scheduled: int
    running: int
    dead: int
    finished: int
    dead_bytes: int
    finished_bytes: int


class QueueHead(Struct, array_like=True):
    """One queue on one shard. `known`: the shard has it. `paused_by`: '' = not told; `paused_at_ms`: 0 = not paused.
    `ready_for_ms`: since the job that has been ready longest became so, -1 = there is none."""

    known: bool
    paused_by: str
    paused_at_ms: int
    ready_for_ms: int


class Purged(Struct, array_like=True):
    """`cancelled`: how many jobs. `more`: stopped at the limit. `ids` of the cancelled jobs, only while
    somebody listens."""

    cancelled: int
    more: bool
    ids: list[str] = []


class DeadJob(Struct, array_like=True):
    """`died_at_ms` and the id are its place among the dead. `error`: the last one's JSON, '' = none. `bytes`: of the
    definition and the state."""

    id: str
    died_at_ms: int
    queue: str
    type: str
    error: str
    bytes: int


class Dead(Struct, array_like=True):
    """Some dead jobs, the longest dead first. `ended`: there are no more."""

    jobs: list[DeadJob]
    ended: bool


class Beat(Struct, array_like=True):
    """The answer to a sign of life: how many replicas are known, and the workers that are to be quiet."""

    known: int
    quiet: list[str]


class Replicas(Struct, array_like=True):
    """`replicas`: name, last sign of life in ms, and the JSON that came with it. `quiet`: workers that are to be."""

    replicas: list[tuple[str, int, str]]
    quiet: list[str]


class Stats(Struct, array_like=True):
    """`counters`: name, total, and the sum over the minutes asked for."""

    queues: list[QueueRow]
    counters: list[tuple[str, int, int]]


class About(Struct, array_like=True):
    """What a store is. `data_format` and `shards` are 0 where nothing has joined yet; `now_ms` is the store's clock.
    `imported`: the id of the export that was read into it last, '' = none, and how many bytes of that are in.
    `store_id` tells it from others; '' = only versions that knew no such id have joined."""

    data_format: int
    shards: int
    now_ms: int
    imported: str
    import_offset: int
    store_id: str = ""


class DumpedJob(Struct, array_like=True):
    """A job as it was at one moment. `score` is the time that belongs to its place, in ms; 0 for `ready`."""

    id: str
    place: Place
    score: int
    definition: str
    state: str


class HeldKey(Struct, array_like=True):
    """A dedupe key as base64url, the job that holds it, and until when, in ms."""

    key: str
    job_id: str
    until_ms: int


class Dumped(Struct, array_like=True):
    """`looked_at`: how many of the ids; less than all where the script stopped at its bytes."""

    jobs: list[DumpedJob]
    looked_at: int
    held: list[HeldKey]


class Vitals(Struct, frozen=True):
    """How the store is. `run_id`: another one after every start. `uptime`: seconds since then, by the store's clock:
    where that was set back, it may be below 0. `memory_share`: of its memory limit in use, 0 without a limit."""

    run_id: str
    uptime: int
    memory_share: float


class Caps(Struct, frozen=True):
    """What trim keeps of one queue. Ages in milliseconds."""

    dead_age_ms: int = 7 * 86_400_000
    dead_count: int = 100_000
    dead_bytes: int = 256_000_000
    finished_count: int = 100_000
    finished_bytes: int = 1_000_000_000
    finished_min_age_ms: int = 60_000
