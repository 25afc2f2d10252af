"""The invariants of the design's section 8, held against what the store shows and not against the model.

The numbers are that section's. The ninth is checked where an example ends, the tenth needs a client that errs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.properties.contents import Contents, Job, Lane, Status

MOVES: dict[Status, frozenset[Status]] = {
    "waiting": frozenset({"waiting", "running", "cancelled"}),
    "running": frozenset({"running", "waiting", "succeeded", "dead", "cancelled"}),
    "dead": frozenset({"dead", "waiting"}),
    "succeeded": frozenset({"succeeded"}),
    "cancelled": frozenset({"cancelled"}),
}
"""1, 2: from one step to the next. Only a replay leads out of a terminal state."""


def check_contents(contents: Contents, lapsed: set[str]) -> None:
    """What holds of a shard at any time. `lapsed`: the dedupe keys whose TTL passed once."""
    places: Counter[str] = Counter()
    for lane in contents.lanes:
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
        _check_limits(job_id, job)
        assert job.queue in contents.queues, f"{job_id}: its queue is not known"
        if job.dedupe and job.status in ("waiting", "running") and job.dedupe not in lapsed:
            live[job.dedupe] += 1
            assert contents.dedupe.get(job.dedupe) == job_id, f"5: {job_id} lives and does not hold its key"
    assert not live or max(live.values()) == 1, "5: one live job a dedupe key"
    for key, holder in contents.dedupe.items():
        held_by = contents.jobs.get(holder)
        if held_by and held_by.dedupe == key:
            assert held_by.status not in ("dead", "cancelled"), f"5: {holder} is {held_by.status}, and keeps its key"


def _check_limits(job_id: str, job: Job) -> None:
    assert job.attempts <= job.max_attempts, f"3: {job_id} had {job.attempts} attempts"
    assert job.crashes <= 3, f"3: {job_id} had {job.crashes} crashes"
    if job.status in ("waiting", "running"):
        assert job.attempts < job.max_attempts, f"3: {job_id} has no attempt left, and is not dead"
        assert job.crashes < 3, f"3: {job_id} crashed three times, and is not dead"
    assert len(job.errors) <= 10, f"{job_id} keeps {len(job.errors)} errors"


class History:
    """What must hold from one step to the next, and over all of them."""

    def __init__(self) -> None:
        self.latest = 0
        self.lapsed: set[str] = set()
        self._acknowledged: set[str] = set()
        self._removed: set[str] = set()
        self._arrivals = 0
        self._arrival: dict[str, int] = {}
        self._last_taken: dict[tuple[int, Lane], int] = {}

    def acknowledged(self, job_id: str, at_the_tail: bool) -> None:
        """An enqueue was answered `new` for a job that was not there."""
        self._acknowledged.add(job_id)
        self._removed.discard(job_id)
        self._arrivals += 1
        self._arrival[job_id] = self._arrivals if at_the_tail else 0

    def claimed(self, shard: int, job_id: str, before: Contents) -> None:
        """A claim handed out a job; `before`: the shard before that."""
        job = before.jobs[job_id]
        assert max(job.ready_at, before.scheduled.get(job_id, 0)) <= self.latest, f"7: {job_id} runs before its time"
        lane, arrival = (shard, (job.queue, job.lane)), self._arrival[job_id]
        if job.claims == 0 and arrival:
            assert arrival > self._last_taken.get(lane, 0), f"6: {job_id} came before one that it was behind"
            self._last_taken[lane] = arrival

    def step(self, before: Contents, after: Contents) -> None:
        """Hold the shard against what it was one step ago."""
        for job_id, old in before.jobs.items():
            new = after.jobs.get(job_id)
            if new is None:
                assert old.status in ("succeeded", "dead", "cancelled"), f"1: {job_id} was {old.status}, and is gone"
                self._removed.add(job_id)
                continue
            assert new.status in MOVES[old.status], f"1: {job_id} went from {old.status} to {new.status}"
            assert new.claims >= old.claims, f"4: the claims of {job_id} went down"
            if old.status == "dead" and new.status == "waiting":
                assert new.replay_id != old.replay_id, f"2: {job_id} left the dead-letter queue without a replay"
                assert (new.attempts, new.crashes) == (0, 0), f"2: {job_id} begins a run with what the last one spent"
            else:
                assert 0 <= new.attempts - old.attempts <= 1, f"3: {job_id}"
                assert 0 <= new.crashes - old.crashes <= 1, f"3: {job_id}"

    def all_shards(self, contents: Sequence[Contents]) -> None:
        there = {job_id for shard in contents for job_id in shard.jobs}
        assert there == self._acknowledged - self._removed, "8: the store holds just the acknowledged jobs"
