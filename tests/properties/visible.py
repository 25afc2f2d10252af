"""The store read back: raw, and as the contents of its shards. What only the stored form has is checked on the way.

That is: no key that the design does not name, a TTL on just those keys that must have one, tombstones and bytes
counted, headers that repeat the definition, and members that stand in the sets of their own queue.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec

from queuey.protocol.records import DEFAULT_DEDUPE_TTL_MS, DEFAULT_RETENTION_MS, parse_fields
from queuey.store.broker.calls import LOG_TTL_MS
from queuey.store.keys import ShardKeys
from tests.properties.model.contents import Contents, Following, Job, read_names
from tests.properties.model.timetables import read_schedules
from tests.support.scripts.contents import READ_ALL

TYPES = {
    "job": "string",
    "state": "string",
    "log": "string",
    "dedupe": "string",
    "batch": "string",
    "claim": "string",
    "ready": "list",
    "aside": "list",
    "scheduled": "zset",
    "leases": "zset",
    "dead": "zset",
    "done": "zset",
    "wake": "zset",
    "alone": "string",
    "queue": "hash",
    "meta": "hash",
    "stats": "hash",
    "queues": "set",
    "schedule": "string",
    "schedule_names": "zset",
    "ticks": "zset",
    "waiting_ticks": "zset",
    "runs": "list",
}
PLAN_KINDS = ("schedule", "schedule_names", "ticks", "waiting_ticks", "runs")
"""The keys of schedules, which tests.properties.model.timetables reads."""
STATUSES = {"w": "waiting", "r": "running", "s": "succeeded", "d": "dead", "c": "cancelled"}
OUTCOMES = {
    "s": "succeeded",
    "r": "retried",
    "d": "dead",
    "c": "cancelled",
    "l": "released",
    "x": "crashed",
    "n": "snoozed",
}
KNOWN_LETTERS = frozenset("sanxjqlmthpowbfrzyvgRSKLANU")
REPLACED_MS = 300_000
SLOW_RUN_MS = 300_000
"""The longest that an example may take, by the clock that runs TTLs."""


@dataclass
class Visible:
    """`raw`: each key's value; `contents`: of each shard; `sizes`: each job's bytes, definition and state."""

    raw: dict[str, Any]
    contents: list[Contents]
    sizes: dict[str, int] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)


async def read_store(client: Any, shards: list[ShardKeys]) -> Visible:
    """All that the store holds. Raises AssertionError where it does not hang together."""
    found = msgspec.msgpack.decode(await client.eval(READ_ALL, 0))
    for name, kind, _, _ in found:
        _check_name(name, kind, shards)
    raw = {name: _value(kind, value) for name, kind, _, value in found}
    visible = Visible(raw, [])
    for keys in shards:
        own = {name.removeprefix(keys.base): value for name, value in raw.items() if name.startswith(keys.base)}
        visible.contents.append(_Reader(own, visible).read())
    _check_ttls(visible, shards, {name: ttl for name, _, ttl, _ in found})
    return visible


def _check_name(name: str, kind: str, shards: list[ShardKeys]) -> None:
    base = next((keys.base for keys in shards if name.startswith(keys.base)), None)
    assert base is not None, f"a key outside every shard: {name}"
    assert TYPES.get(name.removeprefix(base).partition(":")[0]) == kind, f"an unknown key: {name}, a {kind}"


def _value(kind: str, value: Any) -> Any:
    if kind == "zset":
        return dict(zip(value[::2], map(int, value[1::2]), strict=True))
    if kind == "hash":
        return dict(zip(value[::2], value[1::2], strict=True))
    return value


class _Reader:
    """Reads one shard: `own` are its keys without their base."""

    def __init__(self, own: dict[str, Any], visible: Visible) -> None:
        self.own, self.visible = own, visible
        self.contents = Contents()

    def read(self) -> Contents:
        self._read_jobs()
        for name, value in self.own.items():
            kind, _, rest = name.partition(":")
            if kind not in ("job", "state", "log", *PLAN_KINDS):
                getattr(self, f"_read_{kind}")(rest, value)
        self.contents.schedules = read_schedules(self.own)
        self._check_queue_counts()
        return self.contents

    def _read_jobs(self) -> None:
        for name, definition in self.own.items():
            kind, _, job_id = name.partition(":")
            if kind == "job":
                state = self.own.get(f"state:{job_id}", "")
                log = self.own.get(f"log:{job_id}", "")
                self.contents.jobs[job_id] = _job(definition, state, log)
                self.visible.sizes[job_id] = len(definition.encode()) + len(state.encode()) + len(log.encode())
                self.visible.definitions[job_id] = definition
            if kind in ("state", "log"):
                assert f"job:{job_id}" in self.own, f"a {kind} without its definition: {job_id}"

    def _read_ready(self, lane: str, ids: list[str]) -> None:
        queue, priority = lane.split(":")
        self.contents.lanes[queue, priority] = ids  # type: ignore[index] # a wrong priority fails the comparison

    def _read_aside(self, spot: str, ids: list[str]) -> None:
        queue, priority, kind = spot.split(":")
        self.contents.asides[queue, priority, kind] = ids  # type: ignore[index]

    def _read_alone(self, worker: str, text: str) -> None:
        job_id, queue, until, lease = text.split()
        assert lease == "0", "the leases are too long to be waited for"
        self.contents.alone[worker] = job_id, queue, int(until)

    def _read_meta(self, _: str, fields: dict[str, str]) -> None:
        assert fields.keys() == {"features"}
        self.contents.features = set(fields["features"].split())

    def _read_scheduled(self, lane: str, entries: dict[str, int]) -> None:
        for job_id in entries:
            job = self.contents.jobs[job_id]
            assert lane == f"{job.queue}:{job.lane}", f"{job_id} of {job.queue}:{job.lane} is scheduled in {lane}"
        self.contents.scheduled |= entries

    def _read_leases(self, queue: str, entries: dict[str, int]) -> None:
        self._read_set(queue, entries, self.contents.leases)

    def _read_dead(self, queue: str, entries: dict[str, int]) -> None:
        self._read_set(queue, entries, self.contents.dead)

    def _read_done(self, queue: str, entries: dict[str, int]) -> None:
        self._read_set(queue, entries, self.contents.done)

    def _read_set(self, queue: str, entries: dict[str, int], place: dict[str, int]) -> None:
        for job_id in entries:
            assert job_id in self.contents.jobs, f"{job_id} stands in a set of {queue}, and is gone"
            assert self.contents.jobs[job_id].queue == queue, f"{job_id} stands in a set of {queue}, not its own"
        place.update(entries)

    def _read_dedupe(self, key: str, holder: str) -> None:
        kind, colon, job_id = key.partition(":")
        if colon and kind == "a":
            self.contents.again[job_id] = _following(holder, self.contents.jobs[job_id])
        elif colon and kind == "i":
            self.contents.items[job_id] = holder
        elif colon and kind == "r":
            self.contents.replaced[job_id] = holder
        else:
            self.contents.dedupe[key] = holder

    def _read_batch(self, name: str, text: str) -> None:
        job_id, *numbers = text.split()
        count, due, most = map(int, numbers)
        self.contents.batches[name] = job_id, count, due, most

    def _read_claim(self, claim_id: str, ids: str) -> None:
        self.contents.claims[claim_id] = ids.split()

    def _read_wake(self, queue: str, entries: dict[str, int]) -> None:
        assert entries == {"m": 0}, f"wake:{queue} holds {entries}"
        self.contents.awake.add(queue)

    def _read_queues(self, _: str, names: list[str]) -> None:
        self.contents.queues = set(names)

    def _read_stats(self, minute: str, counters: dict[str, str]) -> None:
        for name, value in counters.items():
            if minute:
                self.contents.by_minute[int(minute), name] = int(value)
            else:
                self.contents.counters[name] = int(value)

    def _read_queue(self, queue: str, fields: dict[str, str]) -> None:
        for name, value in fields.items():
            kind, _, lane = name.partition("_")
            if name == "paused":
                self.contents.paused[queue] = value
            elif name in ("paused_by", "paused_at"):
                assert "paused" in fields, f"queue:{queue} is not paused, and tells who did it"
            elif name == "aside":
                self.contents.names[queue] = read_names(value)
            elif name == "draining":
                worker, until = value.split()
                self.contents.draining[queue] = worker, int(until)
            elif kind == "guard":
                self.contents.guards[queue, lane] = int(value)  # type: ignore[index] # compared, like a lane's
            else:
                assert kind in ("tombstones", "dead", "done"), f"an unknown field of queue:{queue}: {name}"

    def _check_queue_counts(self) -> None:
        """The tombstones and bytes that a queue counts are those that it has."""
        found: Counter[tuple[str, str]] = Counter()
        spots = {spot[:2] for spot in self.contents.asides}
        for queue, priority in self.contents.lanes.keys() | spots:
            entries, jobs = self.contents.entries_of((queue, priority)), self.contents.claimable((queue, priority))
            found[queue, f"tombstones_{priority}"] += len(entries) - len(jobs)
        for place, name in ((self.contents.dead, "dead_bytes"), (self.contents.done, "done_bytes")):
            for job_id in place:
                found[self.contents.jobs[job_id].queue, name] += self.visible.sizes[job_id]
        counted: Counter[tuple[str, str]] = Counter()
        for name, fields in self.own.items():
            kind, _, queue = name.partition(":")
            if kind == "queue":
                for counter in fields:
                    if counter.partition("_")[0] in ("tombstones", "dead", "done"):
                        counted[queue, counter] = int(fields[counter])
        for counter in counted.keys() | found.keys():
            assert counted[counter] == found[counter], f"{counter}: counts {counted[counter]}, has {found[counter]}"


def _job(definition: str, state_text: str, log: str) -> Job:
    head, state = parse_fields(definition), parse_fields(state_text)
    _, _, rest = state_text.partition("\n")
    result, *errors = rest.split("\n")
    assert state.keys() <= KNOWN_LETTERS, f"unknown letters: {state}"
    assert int(state.get("L", 0)) == len(log.encode()), f"the log has other bytes: {state}"
    if state:
        assert int(state["j"]) == len(definition.encode()) + len(log.encode()), f"the bytes are others: {state}"
        assert [state.get(letter) for letter in "qlmtU"] == [head.get(letter) for letter in "qlmtU"], (head, state)
        assert ("p" in state) == ("o" in state), state
        assert "K" not in state or (result and state["s"] != "s"), state
        assert ("h" in state) == (state["s"] == "r"), state
        assert "N" not in state or state["s"] == "r", state
    return Job(
        queue=head.get("q", "default"),
        lane=head.get("l", "default"),  # type: ignore[arg-type] # compared, like a lane's
        max_attempts=int(head.get("m", 5)),
        retention=int(head.get("t", DEFAULT_RETENTION_MS)),
        dedupe=head.get("k", ""),
        dedupe_ttl=int(head.get("e", DEFAULT_DEDUPE_TTL_MS)),
        body=definition.partition("\n")[2],
        created_at=int(head.get("c", head["r"])),
        ready_at=int(state.get("r", head["r"])),
        expires=int(head.get("x", 0)),
        until=head.get("U", ""),
        status=STATUSES[state.get("s", "w")],  # type: ignore[arg-type]
        attempts=int(state.get("a", 0)),
        claims=int(state.get("n", 0)),
        crashes=int(state.get("x", 0)),
        releases=int(state.get("R", 0)),
        snoozes=int(state.get("S", 0)),
        token=f"{state['n']}.{state['h']}" if "h" in state else "",
        previous=state.get("p", ""),
        outcome=OUTCOMES[state["o"]] if "o" in state else "",
        mark=state.get("A", ""),
        worker=state.get("w", ""),
        started_at=int(state.get("b", 0)),
        finished_at=int(state.get("f", 0)),
        flagged=state.get("z") == "1",
        replay_id=state.get("y", ""),
        result="" if "K" in state else result,
        checkpoint=result if "K" in state else "",
        checkpoint_at=int(state.get("K", 0)),
        checkpoint_number=int(state["N"].removeprefix(f"{state['n']}.")) if "N" in state else 0,
        errors=[_error(line) for line in errors],
        log=log,
    )


def _following(text: str, holder: Job) -> Following:
    times, head_text, body = text.split("\n", 2)
    job_id, delay, run_at = times.split()
    head = parse_fields(head_text)
    assert (head.get("q", "default"), head.get("l", "default")) == (holder.queue, holder.lane), f"{text} is elsewhere"
    return Following(
        id=job_id,
        delay=int(delay),
        run_at=int(run_at),
        max_attempts=int(head.get("m", 5)),
        retention=int(head.get("t", DEFAULT_RETENTION_MS)),
        dedupe=head["k"],
        dedupe_ttl=int(head.get("e", DEFAULT_DEDUPE_TTL_MS)),
        expires=int(head.get("x", 0)),
        until=head["U"],
        body=body,
    )


def _error(line: str) -> tuple[int, int, str]:
    at, _, body = line.partition(" ")
    error = msgspec.json.decode(body)
    return int(at), error["attempt"], error["kind"]


def _check_ttls(visible: Visible, shards: list[ShardKeys], ttls: dict[str, int]) -> None:
    """Dedupe keys, items, open batches, logs, records of claims and counters by the minute lapse; nothing else does."""
    for keys, contents in zip(shards, visible.contents, strict=True):
        lapsing: dict[str, tuple[int, int]] = {}
        for key, holder in contents.dedupe.items():
            job = contents.jobs.get(holder)
            # A trimmed job leaves its key behind, and another may have come under its id since.
            asked = job.dedupe_ttl if job and job.dedupe == key else None
            lapsing[keys.dedupe(key)] = (asked, asked) if asked else (1, DEFAULT_DEDUPE_TTL_MS)
        lapsing |= {keys.dedupe(f"r:{job_id}"): (REPLACED_MS, REPLACED_MS) for job_id in contents.replaced}
        lapsing |= {keys.dedupe(f"i:{item}"): (1, DEFAULT_DEDUPE_TTL_MS) for item in contents.items}
        lapsing |= {keys.batch(name): (1, 3_600_000) for name in contents.batches}
        lapsing |= {keys.claim(claim_id): (1, 3_600_000) for claim_id in contents.claims}
        lapsing |= {keys.log(job_id): (LOG_TTL_MS, LOG_TTL_MS) for job_id, job in contents.jobs.items() if job.log}
        lapsing |= {f"{keys.stats}:{minute}": (7_200_000, 7_200_000) for minute, _ in contents.by_minute}
        for name, ttl in ttls.items():
            if name.startswith(keys.base):
                low, high = lapsing.get(name, (-1, -1))
                least = max(1, low - SLOW_RUN_MS) if low > 0 else low
                assert least <= ttl <= high, f"{name} lapses in {ttl} ms, not in {least} to {high}"
