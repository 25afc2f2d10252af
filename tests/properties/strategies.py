"""What the state machine draws: small sets of values, so that things meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hypothesis import strategies as st

from queuey.protocol.models import PRIORITIES, Priority
from queuey.store.asides import Room
from queuey.store.replies import Caps

SECOND, MINUTE, LEASE, HOUR = 1_000, 60_000, 600_000, 3_600_000
QUEUES = ("default", "mail")


@dataclass(frozen=True)
class Spec:
    """A job to enqueue. `reuse`: with the id of the job before so many, `key`: which dedupe key of the shard."""

    reuse: int | None
    key: int | None
    queue: str
    lane: Priority
    max_attempts: int
    retention: int
    dedupe_ttl: int
    delay: int
    run_in: int | None
    body: str
    expires: int = 0
    until: str = ""
    do: Literal["", "return", "reject", "replace"] = ""
    """What it does on a conflict, if it is a unique job, with a key of its own kind."""
    wait: int = 0


def _disjoint(rooms: list[Room]) -> list[Room]:
    """Each type needs one executor."""
    return [
        Room(room.jobs, [kind for kind in room.types if not any(kind in other.types for other in rooms[:i])])
        for i, room in enumerate(rooms)
    ]


TYPES = ("t", "text.reverse", "u", "v")
LABELLED = '{"type":"u","tags":["t"],"metadata":{"k":"v"}}'
BODIES = (
    '{"type":"t"}',
    '{"type":"text.reverse","payload":"\u00e4"}',
    LABELLED,
    '{"type":"v"}',
)

specs = st.builds(
    Spec,
    reuse=st.sampled_from([None, None, None, None, 0, 1, 5]),
    key=st.sampled_from([None, 0, 1]),
    queue=st.sampled_from(["default", "default", "mail"]),
    lane=st.sampled_from(["default", "default", "high", "low"]),
    max_attempts=st.sampled_from([1, 2, 5]),
    retention=st.sampled_from([0, MINUTE, HOUR]),
    dedupe_ttl=st.sampled_from([HOUR, 24 * HOUR]),
    delay=st.sampled_from([0, 0, 0, SECOND, LEASE]),
    run_in=st.sampled_from([None, None, None, -SECOND, SECOND]),
    body=st.sampled_from([*BODIES, *BODIES[:2]]),
    expires=st.sampled_from([0, 0, 0, 0, SECOND, MINUTE]),
)

unique_specs = st.builds(
    Spec,
    reuse=st.sampled_from([None, None, None, None, None, 0, 1]),
    key=st.sampled_from([0, 0, 1]),
    queue=st.sampled_from(["default"] * 7 + ["mail"]),
    lane=st.sampled_from(["default", "default", "default", "default", "high"]),
    max_attempts=st.sampled_from([1, 2, 5]),
    retention=st.sampled_from([0, MINUTE, HOUR]),
    dedupe_ttl=st.sampled_from([HOUR, 24 * HOUR]),
    delay=st.sampled_from([0, 0, 0, SECOND]),
    run_in=st.sampled_from([None, None, None, SECOND]),
    body=st.sampled_from(
        ['{"type":"t"}', '{"type":"t","payload":1}', '{"type":"t","payload":"\u00e4"}', '{"type":"u"}']
    ),
    expires=st.sampled_from([0, 0, 0, 0, SECOND, MINUTE]),
    until=st.sampled_from(["f", "f", "f", "s", "s", ""]),
    do=st.sampled_from(["return", "reject", "replace", "replace", "replace"]),
    wait=st.sampled_from([0, 0, SECOND, MINUTE]),
)
spec_lists = st.lists(specs, min_size=1, max_size=4)
shards = st.integers(0, 2)
numbers = st.lists(st.integers(0, 34), min_size=1, max_size=4)
"""Which of the jobs or leases there are."""
few_numbers = st.lists(st.integers(0, 34), min_size=1, max_size=2)
again = st.sampled_from([None, None, None, 0, 1, 2, 4])
"""Which earlier claim or replay is sent again, if any."""
waits = st.sampled_from([0, 0, 0, SECOND, MINUTE, LEASE])
ticks = st.sampled_from([1, SECOND - 1, MINUTE, HOUR, -1, -SECOND, -LEASE])
lease_waits = st.sampled_from([LEASE - 1, LEASE, 2 * LEASE])
leases = st.sampled_from([LEASE, 2 * LEASE])
delays = st.sampled_from([0, SECOND, MINUTE])
delay_lists = st.lists(delays, min_size=1, max_size=2)
limits = st.sampled_from([1, 2, 100])
few = st.sampled_from([1, 2, 2, 100])
sometimes = st.sampled_from([False, False, True])
often = st.sampled_from([True, True, False])
rarely = st.integers(0, 7).map(lambda drawn: drawn == 7)
queues = st.sampled_from(QUEUES)
lanes = st.sampled_from(PRIORITIES)
queue_lists = st.sampled_from([QUEUES, QUEUES[::-1], QUEUES[:1], QUEUES[1:]])
claim_limits = st.lists(st.integers(1, 3), min_size=1, max_size=3)
starves = st.sampled_from([SECOND, SECOND, HOUR])
workers = st.sampled_from(["v", "w"])
types = st.sampled_from(TYPES)
type_lists = st.lists(types, unique=True, max_size=3)
rooms = st.lists(st.builds(Room, jobs=st.integers(0, 2), types=type_lists), max_size=2).map(_disjoint)
wanted_lists = st.sampled_from(["known", "known", "all", "all", "none"])
isolates = st.sampled_from([None, None, -1, 0, 1, 2])
results = st.sampled_from(["", "1", '{"text":"\u00e4"}'])
ends = st.sampled_from(["retry", "snooze", "dead"])
failures = st.lists(st.tuples(st.integers(0, 34), delays, ends), min_size=1, max_size=4)
places = st.sampled_from(["ready", "scheduled", "running", "dead", "finished"])
caps = st.builds(
    Caps,
    dead_age_ms=st.sampled_from([MINUTE, 24 * HOUR, 24 * HOUR]),
    dead_count=st.sampled_from([0, 1, 2, 100]),
    dead_bytes=st.sampled_from([0, 400, 100_000, 100_000]),
    finished_count=st.sampled_from([0, 1, 2, 100]),
    finished_bytes=st.sampled_from([0, 400, 100_000, 100_000]),
    finished_min_age_ms=st.sampled_from([0, 0, MINUTE]),
)
