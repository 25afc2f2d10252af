"""The invariants of the design's section 8, held against what the store shows and not against the model.

The numbers are that section's. The ninth is checked where an example ends, the tenth needs a client that errs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from queuey.store.asides import ANY, SUSPECTS
from tests.properties.model.contents import Ask, Contents, Job, Lane, Spot, Status

MOVES: dict[Status, frozenset[Status]] = {
    "waiting": frozenset({"waiting", "running", "cancelled", "dead"}),
    "running": frozenset({"running", "waiting", "succeeded", "dead", "cancelled"}),
    "dead": frozenset({"dead", "waiting"}),
    "succeeded": frozenset({"succeeded"}),
    "cancelled": frozenset({"cancelled"}),
}
"""1, 2: from one step to the next. Only a replay leads out of a terminal state."""


def check_contents(contents: Contents, lapsed: set[str], reused: set[str]) -> None:
    """What holds of a shard at any time. `lapsed`: the dedupe keys whose TTL passed once. `reused`: ids of two jobs."""
    places: Counter[str] = Counter()
    _check_lists(contents, reused)
    for lane in contents.lanes.keys() | {spot[:2] for spot in contents.asides}:
        places.update(contents.claimable(lane))
        for job_id in contents.claimable(lane):
            job = contents.jobs[job_id]
            assert (job.queue, job.lane) == lane, f"{job_id} stands in the lane {lane}, not its own"
    for place, status in (
        (contents.scheduled, "waiting"),
        (contents.leases, "running"),
        (contents.dead, "dead"),
        (contents.done, "succeeded cancelled"),
    ):
        places.update(place.keys())
        for job_id in place:
            assert contents.jobs[job_id].status in status.split(), f"{job_id} stands where it does not belong"
    assert places == Counter(contents.jobs.keys()), "1, 8: each job stands in one place, and nothing else does"

    tokens = [job_id + job.token for job_id, job in contents.jobs.items() if job.token]
    assert len(tokens) == len(contents.leases), "4: one token a running job"
    live: Counter[str] = Counter()
    for job_id, job in contents.jobs.items():
        _check_limits(job_id, job, 10 if "aside" in contents.features else 3)
        assert job.queue in contents.queues, f"{job_id}: its queue is not known"
        had_started = job.until == "s" and job.claims > 0
        if job.dedupe and job.status in ("waiting", "running") and job.dedupe not in lapsed and not had_started:
            live[job.dedupe] += 1
            assert contents.dedupe.get(job.dedupe) == job_id, f"5: {job_id} lives and does not hold its key"
    assert not live or max(live.values()) == 1, "5: one live job a dedupe key"
    for key, holder in contents.dedupe.items():
        held_by = contents.jobs.get(holder)
        if held_by and held_by.dedupe == key:
            freed = {"f": "succeeded", "s": "succeeded running"}.get(held_by.until, "")
            assert held_by.status not in ("dead", "cancelled", *freed.split()), (
                f"5: {holder} is {held_by.status}, and keeps its key"
            )
    for holder, following in contents.again.items():
        before = contents.jobs[holder]
        assert before.status in ("waiting", "running"), f"{holder} has ended, and {following.id} does not follow"
        assert (following.until, following.dedupe) == ("f", before.dedupe), f"{following.id} has another key"


def _check_lists(contents: Contents, reused: set[str]) -> None:
    """Of jobs in lists set aside."""
    for (queue, priority, kind), ids in contents.asides.items():
        lane = (queue, priority)
        assert (priority, kind) in contents.names.get(queue, ()), f"8: the list {kind} of {lane} has no name"
        for job_id in ids:
            is_suspect = contents.fits((*lane, kind), job_id) and contents.jobs[job_id].crashes >= 2
            assert kind != SUSPECTS or is_suspect or not contents.stands_in(lane, job_id)
    for queue, names in contents.names.items():
        assert len(set(names)) == len(names), f"a list of {queue} is named twice: {names}"
    entries: Counter[str] = Counter()
    for lane in contents.lanes.keys() | {spot[:2] for spot in contents.asides}:
        for spot in contents.spots(lane):
            here = [job_id for job_id in contents.list_at(spot) if contents.stands_in(lane, job_id)]
            entries.update(here)
            strange = [job_id for job_id in here if not contents.fits(spot, job_id) and job_id not in reused]
            assert not strange, f"{strange} stand in {spot}, and are of another type"
    several = [job_id for job_id, count in entries.items() if count > 1 and job_id not in reused]
    assert not several, f"8: {several} stand in several lists"


def check_claim(ask: Ask, jobs: Sequence[Job], gate_is_open: bool) -> None:
    """A claim brings only what its worker can begin. Suspects begin in child processes of their own, or alone."""
    wanted = ask.wanted
    assert len(jobs) <= ask.limit
    suspects = sum(job.crashes >= 2 for job in jobs)
    most = 1 if ask.isolates in (None, -1) else ask.isolates
    assert not gate_is_open or suspects <= (most or 0), f"10: {suspects} suspects, and {ask.isolates} child processes"
    if wanted is None or not wanted.room:
        return
    types = Counter(job.type for job in jobs if job.crashes < 2)
    for room in wanted.room:
        assert sum(types.pop(kind, 0) for kind in room.types) <= room.jobs, f"10: no room for all of {jobs}"
    assert wanted.others or not types, f"10: the worker does not know {types}"


def _check_limits(job_id: str, job: Job, most_crashes: int) -> None:
    assert job.attempts <= job.max_attempts, f"3: {job_id} had {job.attempts} attempts"
    assert job.crashes <= most_crashes, f"3: {job_id} had {job.crashes} crashes"
    if job.status in ("waiting", "running"):
        assert job.attempts < job.max_attempts, f"3: {job_id} has no attempt left, and is not dead"
        assert job.crashes < most_crashes, f"3: {job_id} crashed {job.crashes} times, and is not dead"
    assert len(job.errors) <= 10, f"{job_id} keeps {len(job.errors)} errors"


class History:
    """What must hold from one step to the next, and over all of them."""

    def __init__(self) -> None:
        self.latest = 0
        self.lapsed: set[str] = set()
        self.reused: set[str] = set()
        self._acknowledged: set[str] = set()
        self._removed: set[str] = set()
        self._arrivals = 0
        self._arrival: dict[str, int] = {}
        self._last_taken: dict[tuple[int, Lane], int] = {}
        self._last_of_type: dict[tuple[int, Spot], int] = {}
        self._without_order: set[tuple[int, Spot]] = set()
        """By shard, the types of which jobs stood in a list '*'."""
        self._split: set[tuple[int, str]] = set()
        """By shard, the queues that had lists set aside."""

    def acknowledged(self, job_id: str, at_the_tail: bool) -> None:
        """An enqueue was answered `new` for a job that was not there."""
        if job_id in self._acknowledged:
            self.reused.add(job_id)
        self._acknowledged.add(job_id)
        self._removed.discard(job_id)
        self._arrivals += 1
        self._arrival[job_id] = self._arrivals if at_the_tail else 0

    def claimed(self, shard: int, job_id: str, before: Contents) -> None:
        """A claim handed out a job; `before`: the shard before that."""
        job = before.jobs[job_id]
        assert max(job.ready_at, before.scheduled.get(job_id, 0)) <= self.latest, f"7: {job_id} runs before its time"
        lane, spot, arrival = (job.queue, job.lane), (job.queue, job.lane, job.type), self._arrival[job_id]
        if job.claims == 0 and arrival and (shard, spot) not in self._without_order:
            assert arrival > self._last_of_type.get((shard, spot), 0), f"6: {job_id} came before one of its type"
            self._last_of_type[shard, spot] = arrival
        if job.claims == 0 and arrival and (shard, job.queue) not in self._split:
            assert arrival > self._last_taken.get((shard, lane), 0), f"6: {job_id} came before one that it was behind"
            self._last_taken[shard, lane] = arrival

    def step(self, shard: int, before: Contents, after: Contents) -> None:
        """Hold the shard against what it was one step ago."""
        self._split |= {(shard, queue) for queue in after.names}
        for (queue, lane, kind), ids in after.asides.items():
            types = {after.jobs[job_id].type for job_id in ids if job_id in after.jobs} if kind == ANY else ()
            self._without_order |= {(shard, (queue, lane, name)) for name in types}
        for job_id in after.scheduled.keys() - before.scheduled.keys():
            self._arrival[job_id] = 0
        for job_id, old in before.jobs.items():
            new = after.jobs.get(job_id)
            if new is None:
                assert old.status in ("succeeded", "dead", "cancelled"), f"1: {job_id} was {old.status}, and is gone"
                self._removed.add(job_id)
                continue
            assert new.status in MOVES[old.status], f"1: {job_id} went from {old.status} to {new.status}"
            if (old.status, new.status) == ("waiting", "dead"):
                assert new.errors[-1][2] == "unknown_type", f"2: {job_id} died without a claim"
            assert new.claims >= old.claims, f"4: the claims of {job_id} went down"
            if old.status == "dead" and new.status == "waiting":
                assert new.replay_id != old.replay_id, f"2: {job_id} left the dead-letter queue without a replay"
                assert (new.attempts, new.crashes, new.snoozes) == (0, 0, 0), (
                    f"2: {job_id} begins a run with what the last one spent"
                )
                self._arrival[job_id] = 0  # at the tail again, though it may not have been claimed yet
            else:
                assert 0 <= new.attempts - old.attempts <= 1, f"3: {job_id}"
                assert 0 <= new.crashes - old.crashes <= 1, f"3: {job_id}"
                assert 0 <= new.snoozes - old.snoozes <= 1, f"3: {job_id}"
                if new.snoozes != old.snoozes:
                    assert (new.attempts, new.crashes) == (old.attempts, old.crashes), f"3: {job_id} paid for a snooze"

    def all_shards(self, contents: Sequence[Contents]) -> None:
        there = {job_id for shard in contents for job_id in shard.jobs}
        assert there == self._acknowledged - self._removed, "8: the store holds just the acknowledged jobs"
