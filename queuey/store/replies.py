"""The replies of the Lua scripts, as the Broker decodes them, and the caps for trim."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from queuey.store.asides import Told

Place = Literal["ready", "scheduled", "running", "dead", "finished"]


class ClaimedJob(Struct, array_like=True):
    """A claimed job. `attempt` counts from 1; `definition` is the stored text, see records.py.

    `checkpoint`: JSON that an earlier attempt has kept, '' = none."""

    id: str
    token: str
    attempt: int
    crashes: int
    definition: str
    checkpoint: str = ""


class Claimed(Struct, array_like=True):
    """The reply to a claim. `due_in_ms` is -1 when nothing is scheduled; `more`: claimable jobs were left.

    `repeated`: the claim id had claimed before, and these are the jobs of that claim. `promoted`, `expired`: ids of the
    jobs that came due and of those that were cancelled since they had expired, only while a subscriber listens.
    `asides`: the names of the lists set aside, of the queues that have some; None if no queue has any, or if the claim
    was repeated. After a claim that was not `wanted`, nothing else was done: claim again with `wanted`.
    `rests`: the worker runs a suspect by itself, or has to hold nothing first, so it gets nothing else for now."""

    jobs: list[ClaimedJob]
    due_in_ms: int
    more: bool
    repeated: bool = False
    promoted: list[str] = []
    expired: list[str] = []
    asides: Told | None = None
    rests: bool = False


class ClaimReply(Struct, array_like=True):
    """The reply to a claim as the script gives it. If all jobs are claimed for the first time, it has the ids and the
    definitions of the jobs instead of `jobs`."""

    jobs: list[ClaimedJob]
    due_in_ms: int
    more: bool
    repeated: bool = False
    promoted: list[str] = []
    expired: list[str] = []
    first_ids: list[str] = []
    first_definitions: list[str] = []
    rests: bool = False
    asides: list[tuple[str, str]] | None = None

    def claimed(self, claim_id: str) -> Claimed:
        """Return the reply with all jobs in `jobs`."""
        if not self.first_ids:
            told = self.promoted, self.expired, self.asides, self.rests
            return Claimed(self.jobs, self.due_in_ms, self.more, self.repeated, *told)
        token = f"1.{claim_id}"
        pairs = zip(self.first_ids, self.first_definitions, strict=True)
        jobs = [ClaimedJob(id, token, 1, 0, text) for id, text in pairs]
        return Claimed(jobs, self.due_in_ms, self.more, asides=self.asides)


class Reaped(Struct, array_like=True):
    """The reply of reap. `outcomes`: id and retry, suspect, dead, cancelled or orphan."""

    outcomes: list[tuple[str, str]]
    more: bool
    now_ms: int
    """The time by the store's clock."""


class Promoted(Struct, array_like=True):
    """The reply of promote. `count`: how many jobs came due. `ids`: theirs, only while a subscriber listens.

    `due_in_ms`: when the next job comes due, -1 = none is scheduled. `tick_in_ms`: when the next tick of a schedule is
    due, -1 = there is none. `ticks_wait`: whether a tick waits for the end of a job."""

    count: int
    due_in_ms: int
    tick_in_ms: int
    ticks_wait: bool
    ids: list[str] = []


class Buried(Struct, array_like=True):
    """The reply of bury_unknown: ids of the jobs that are dead letters now, and of those that had expired.

    `more`: it stopped at the limit."""

    dead: list[str]
    expired: list[str]
    more: bool


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
    """One job of a page, with its place and its bytes. `place`: its number in the list of places, from 1."""

    place: int
    offset: int
    score: int
    id: str
    bytes: int


class Placed(Struct, array_like=True):
    """The place of a job. `before`: entries of its list before it, -1 = not found; `length`: of that list; `queued`:
    jobs of its queue by lane, high first. `paused`: the reason, '' = not paused; `paused_at_ms`: 0 = unknown.

    `aside`: the name of the list set aside that has the job: its type, '*' = types without a name, '!' = suspects; ''
    = its lane.
    `queued` leaves out what was set aside for other types."""

    before: int
    length: int
    queued: list[int]
    paused: str
    paused_by: str
    paused_at_ms: int
    aside: str = ""


class Page(Struct, array_like=True):
    """A page of jobs. `last`: place, offset, score and id of the last entry read. `ended`: nothing is left."""

    jobs: list[Paged]
    looked: int
    last: tuple[int, int, int, str]
    ended: bool


class QueueRow(Struct, array_like=True):
    """The number of jobs in each place of one queue on one shard. `paused` is the reason, '' = not paused.

    `aside`: the entries of the lists set aside, by type, without empty ones; '*' = the lists for types without a name.
    Their jobs are counted in `high`, `default` and `low` too. Cancelled jobs may be among the entries."""

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
    aside: list[tuple[str, int]] = []


class QueueHead(Struct, array_like=True):
    """One queue on one shard. `known`: the shard has it. `paused_by`: '' = unknown; `paused_at_ms`: 0 = not
    paused. `ready_for_ms`: how long the job that has waited longest has been ready, -1 = no job is ready.

    `in_lanes_ms`: the same without the lists set aside. `aside`: the same for each type with ready jobs in these lists;
    '*' = the lists for types without a name. `asked_ms`: see Asides."""

    known: bool
    paused_by: str
    paused_at_ms: int
    ready_for_ms: int
    in_lanes_ms: int = -1
    aside: list[tuple[str, int]] = []
    asked_ms: int = -1


class Asides(Struct, array_like=True):
    """The lists set aside of one queue on one shard, each as (lane, type, length). `asked_ms`: how many ms ago a worker
    that takes every type last asked for its jobs, -1 = not known."""

    asked_ms: int
    lists: list[tuple[str, str, int]]


class NotedTypes(Struct, array_like=True):
    """The notes about one queue on one shard. `asked_ms`: see Asides. `unknown_ms`: for how many ms each of the types
    has been unknown."""

    asked_ms: int
    unknown_ms: list[int]


class Purged(Struct, array_like=True):
    """The reply of purge. `cancelled`: how many jobs. `more`: it stopped at the limit.

    `ids`: those of the cancelled jobs, only while a subscriber listens."""

    cancelled: int
    more: bool
    ids: list[str] = []


class DeadJob(Struct, array_like=True):
    """A dead job. Its place is `died_at_ms` and the id. `error`: the JSON of the last error, '' = none. `bytes`: of
    the definition and the state."""

    id: str
    died_at_ms: int
    queue: str
    type: str
    error: str
    bytes: int


class Dead(Struct, array_like=True):
    """Some dead jobs, in the order in which they died. `ended`: there are no more."""

    jobs: list[DeadJob]
    ended: bool


class Beat(Struct, array_like=True):
    """The reply to a heartbeat: how many replicas are known, and the workers that must be quiet.

    `features`: those in use. `unknown`: those of them that this replica does not know; it was not registered then.
    `strangers`: up to 10 other replicas that do not know all of them. `shards`: those of the store; 0 if it was emptied
    since the last replica registered."""

    known: int
    quiet: list[str]
    features: list[str] = []
    unknown: list[str] = []
    strangers: list[str] = []
    shards: int = 0


class Opening(Struct, array_like=True):
    """The reply of open_feature: its word, and up to 10 replicas that do not know the feature."""

    word: Literal["open", "ready", "settling", "held"]
    held_by: list[str]


class Registered(Struct, array_like=True):
    """The reply of register: the format and the shards of the store, the features in use, and the unknown of them."""

    data_format: int
    shards: int
    features: list[str]
    unknown: list[str]


class Replicas(Struct, array_like=True):
    """The known replicas: name, time of the last heartbeat in ms, and its JSON. `quiet`: workers that must be quiet.

    `now_ms` is the time of the reply. All times are by the store's clock."""

    replicas: list[tuple[str, int, str]]
    quiet: list[str]
    now_ms: int


class TypeReports(Struct, array_like=True):
    """The descriptions of the live replicas, one for each report about types; none if the mark has not changed."""

    mark: str
    descriptions: list[str]


class Stats(Struct, array_like=True):
    """The statistics of a shard. `counters`: name, total, and the sum over the wanted minutes."""

    queues: list[QueueRow]
    counters: list[tuple[str, int, int]]


class About(Struct, array_like=True):
    """A description of a store. `data_format` and `shards` are 0 if no replica has registered yet.

    `now_ms`: the store's clock. `imported`: the id of the export that was imported last, '' = none, and `import_offset`
    its bytes that are imported. `store_id` identifies it; '' = only versions without ids have registered. `features`:
    the features in use."""

    data_format: int
    shards: int
    now_ms: int
    imported: str
    import_offset: int
    store_id: str = ""
    features: list[str] = []


class DumpedJob(Struct, array_like=True):
    """A job as it was at one moment. `score` is the time that belongs to its place, in ms; 0 for `ready`."""

    id: str
    place: Place
    score: int
    definition: str
    state: str
    log: str = ""
    """The lines that its attempts have logged (queuey.protocol.stored.job_log)."""
    again: str = ""
    """The job that is to follow this one, as `dedupe:a:<id>` has it."""


class HeldKey(Struct, array_like=True):
    """A dedupe key as base64url, the job that holds it, and the end of its TTL in ms."""

    key: str
    job_id: str
    until_ms: int


class Dumped(Struct, array_like=True):
    """The reply of dump. `looked_at`: how many of the ids, fewer than all if the script stopped at its bytes."""

    jobs: list[DumpedJob]
    looked_at: int
    held: list[HeldKey]


class Vitals(Struct, frozen=True):
    """The state of the store. `run_id` changes at every start. `uptime`: seconds since then by the store's clock; below
    0 if that was set back. `memory_share`: the share of its memory limit that is in use, 0 without a limit."""

    run_id: str
    uptime: int
    memory_share: float


class Caps(Struct, frozen=True):
    """The limits above which trim deletes jobs of one queue. Ages are in milliseconds."""

    dead_age_ms: int = 7 * 86_400_000
    dead_count: int = 100_000
    dead_bytes: int = 256_000_000
    finished_count: int = 100_000
    finished_bytes: int = 1_000_000_000
    finished_min_age_ms: int = 60_000
