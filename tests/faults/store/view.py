"""The whole store, read key by key, for the invariants to be held against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from queuey.protocol.records import parse_definition, parse_fields
from queuey.protocol.stored.schedules import Run, Schedule, to_run, to_schedule

STATUSES = {"w": "waiting", "r": "running", "s": "succeeded", "d": "dead_letter", "c": "cancelled"}
TERMINAL = frozenset({"succeeded", "dead_letter", "cancelled"})
STRINGS = frozenset({"job", "state", "dedupe", "claim", "log", "schedule"})
LISTS = frozenset({"ready", "aside"})
"""The kinds of lists that have the queued jobs of a lane."""
PLACES = LISTS | {"scheduled", "leases", "dead", "done"}
NAMES = frozenset({"ticks", "waiting_ticks", "schedule_names"})
"""The kinds of keys that have names of schedules."""
OTHERS = NAMES | frozenset(
    {"runs", "batch", "queue", "queues", "workers", "meta", "stats", "wake", "poke", "alone", "audit"}
)


@dataclass
class StoredJob:
    """A job as its two strings tell it. Times in ms by the store's clock."""

    shard: int
    head: dict[str, str]
    type: str
    state: dict[str, str] = field(default_factory=dict)
    result: Any = None
    kinds: list[str] = field(default_factory=list)
    """Of its last errors, oldest first."""
    log: str = ""
    """The lines that its attempts have logged."""
    bytes: int = 0
    """Of its strings."""
    metadata: dict[str, str] = field(default_factory=dict)
    items: list[str] | None = None
    """The ids of its items, if it is the job of a batch."""

    @property
    def status(self) -> str:
        return STATUSES.get(self.state.get("s", "w"), "unknown")

    def number(self, letter: str) -> int:
        """A number of the state, 0 when it is absent."""
        return int(self.state.get(letter, 0))

    @property
    def created_at(self) -> int:
        return int(self.head.get("c", self.head["r"]))

    @property
    def ready_at(self) -> int:
        """When it was last due."""
        return int(self.state.get("r", self.head["r"]))

    @property
    def lane(self) -> tuple[int, str, str]:
        """Shard, queue, priority."""
        return self.shard, self.head.get("q", "default"), self.head.get("l", "default")


@dataclass
class StoreView:
    """Every key of the store. Those of places are without the shard's base."""

    jobs: dict[str, StoredJob] = field(default_factory=dict)
    lone_states: set[str] = field(default_factory=set)
    """Ids that have a state or a log, and no definition."""
    places: dict[tuple[int, str], list[str]] = field(default_factory=dict)
    """(shard, key such as `done:default`) -> ids, of lanes and what was set aside, scheduled, leases, dead and done."""
    dedupe: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Encoded key -> holder and TTL in ms, -1 = none."""
    claims: dict[str, int] = field(default_factory=dict)
    """Claim id -> TTL in ms."""
    queues: dict[tuple[int, str], dict[str, str]] = field(default_factory=dict)
    schedules: dict[str, Schedule] = field(default_factory=dict)
    runs: dict[str, list[Run]] = field(default_factory=dict)
    """The history of each schedule, newest first."""
    names: dict[str, set[str]] = field(default_factory=dict)
    """The schedules that are named by `ticks`, `waiting_ticks` and `schedule_names`, of all shards."""
    time_ms: int = 0
    """By the store's clock, before anything was read."""
    counters: dict[str, int] = field(default_factory=dict)
    """Summed over the shards."""
    strangers: list[str] = field(default_factory=list)
    """Keys that no page of the documentation knows."""

    def lists(self) -> Iterator[tuple[tuple[int, str, str], str, list[str]]]:
        """Each list of queued jobs: its lane (shard, queue, priority), its key, and its ids."""
        for (shard, place), members in self.places.items():
            kind, _, rest = place.partition(":")
            if kind in LISTS:
                queue, lane, *_ = rest.split(":")
                yield (shard, queue, lane), place, members

    def unfinished(self) -> list[str]:
        """Ids that are not in a terminal state."""
        return [job_id for job_id, job in self.jobs.items() if job.status not in TERMINAL]


GONE: Final = -2
"""What PTTL says of a key that is not there."""


async def read_store(client: Redis, prefix: str = "queuey") -> StoreView:
    """Read everything. The store must be at rest, or a job may be seen in two places."""
    reader: Any = client
    seconds, micros = await reader.time()
    time_ms = seconds * 1000 + micros // 1000
    keys = sorted([raw.decode() async for raw in reader.scan_iter(count=1000)])
    pipeline = reader.pipeline(transaction=False)
    for key in keys:
        _ask(pipeline, key, prefix)
    replies = iter(await pipeline.execute())
    view = StoreView(time_ms=time_ms)
    states: dict[str, str] = {}
    logs: dict[str, str] = {}
    for key in keys:
        take(view, states, logs, key, prefix, replies)
    for job_id, text in logs.items():
        if job_id in view.jobs:
            view.jobs[job_id].log = text
            view.jobs[job_id].bytes += len(text.encode())
        else:
            view.lone_states.add(job_id)
    for job_id, text in states.items():
        if job_id in view.jobs:
            _add_state(view.jobs[job_id], text)
        else:
            view.lone_states.add(job_id)
    return view


def _parts(key: str, prefix: str) -> tuple[int, str, str]:
    """Shard, kind of key, and the rest; the kind of a stranger is ''."""
    start, _, rest = key.partition("}:")
    shard = start.removeprefix(prefix + ":{")
    kind, _, argument = rest.partition(":")
    known = kind in STRINGS or kind in PLACES or kind in OTHERS
    return (int(shard), kind, argument) if shard.isdecimal() and known else (0, "", key)


def _ask(pipeline: Any, key: str, prefix: str) -> None:
    _, kind, argument = _parts(key, prefix)
    if kind in STRINGS:
        pipeline.get(key)
        pipeline.pttl(key)
    elif kind in LISTS or kind == "runs":
        pipeline.lrange(key, 0, -1)
    elif kind in PLACES or kind in NAMES:
        pipeline.zrange(key, 0, -1)
    elif kind == "queue" or (kind == "stats" and not argument):
        pipeline.hgetall(key)


def take(
    view: StoreView, states: dict[str, str], logs: dict[str, str], key: str, prefix: str, replies: Iterator[Any]
) -> None:
    """Put into the view what the replies to a key's commands say."""
    shard, kind, argument = _parts(key, prefix)
    if kind in STRINGS:
        raw, ttl = next(replies), next(replies)
        if raw is None or ttl == GONE:
            return  # it has lapsed since the scan, or between the two replies
        text = raw.decode()
        if kind in ("state", "log"):
            (states if kind == "state" else logs)[argument] = text
        else:
            _take_string(view, shard, kind, argument, text, ttl)
    elif kind in PLACES:
        view.places[shard, f"{kind}:{argument}"] = [entry.decode() for entry in next(replies)]
    elif kind == "runs":
        view.runs[argument] = [to_run(line.decode()) for line in next(replies)]
    elif kind in NAMES:
        view.names.setdefault(kind, set()).update(name.decode() for name in next(replies))
    elif kind == "queue":
        view.queues[shard, argument] = {field.decode(): value.decode() for field, value in next(replies).items()}
    elif kind == "stats" and not argument:
        for name, value in next(replies).items():
            view.counters[name.decode()] = view.counters.get(name.decode(), 0) + int(value)
    elif not kind:
        view.strangers.append(key)


def _take_string(view: StoreView, shard: int, kind: str, argument: str, text: str, ttl: int) -> None:
    if kind == "job":
        head, definition = parse_definition(text)
        size, metadata = len(text.encode()), definition.metadata or {}
        job = view.jobs[argument] = StoredJob(shard, head, definition.type, bytes=size, metadata=metadata)
        if definition.batch_key is not None:
            job.items = [item["item"] for item in msgspec.json.decode(definition.payload)]
    elif kind == "schedule":
        view.schedules[argument] = to_schedule(argument, text)
    elif kind == "dedupe":
        view.dedupe[argument] = (text, ttl)
    else:
        view.claims[argument] = ttl


def _add_state(job: StoredJob, text: str) -> None:
    job.state = parse_fields(text)
    _, _, rest = text.partition("\n")
    result, *errors = rest.split("\n")
    job.result = msgspec.json.decode(result) if result else None
    job.kinds = [msgspec.json.decode(error.partition(" ")[2]).get("kind", "") for error in errors]
    job.bytes += len(text.encode())
