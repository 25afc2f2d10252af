"""The types that no worker of a queue knows, by the heartbeats of the replicas and by notes in the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from queuey.protocol.models import WorkerInfo
from queuey.services.workers import MAX_TYPES
from queuey.store.asides import ANY, SUSPECTS
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline
from queuey.store.replies import QueueHead, Stats

MAX_NAMES: Final = 64
"""The maximum number of types that are named for a queue. The jobs of the others are counted under ANY."""
NOTED_EVERY: Final = 60.0
"""The seconds after which it is noted again that a worker that takes every type asks for jobs of a queue."""
LATE_MS: Final = round(2_000 * NOTED_EVERY)
"""The least time for which a note counts, since it is written only so often."""


class Knowledge(Struct, frozen=True):
    """The types that the live workers of a queue take."""

    is_served: bool
    """Whether there is any such worker."""
    takes_all: bool
    types: frozenset[str]

    def lacks(self, job_type: str) -> bool:
        """Return whether workers serve the queue, and none of them takes this type. Crashed jobs have any type."""
        return job_type != SUSPECTS and self.is_served and not self.takes_all and job_type not in self.types


def knowledge_of(workers: Iterable[WorkerInfo], queue: str, *, with_quiet: bool = False) -> Knowledge:
    """Return the types that workers of a queue take. `with_quiet`: count those too that claim no more, or are gone."""
    serving = [worker for worker in workers if queue in worker.queues and (with_quiet or worker.claims)]
    types = frozenset(name for worker in serving for name in worker.types)
    return Knowledge(bool(serving), any(takes_all(worker) for worker in serving), types)


def takes_all(worker: WorkerInfo) -> bool:
    """Return whether a worker takes every type: a pull worker that names none, or one with more than are reported."""
    return (worker.kind == "pull" and not worker.types) or len(worker.types) >= MAX_TYPES


class Waiting(Struct, frozen=True):
    """The jobs of one queue that were set aside, by type, on all shards. ANY: those of further types."""

    counts: Mapping[str, int]
    asked_ms: int
    """The ms since a worker that takes every type last asked for jobs of the queue; -1 = not known."""

    def asked_within(self, seconds: float) -> bool:
        """Return whether such a worker has asked within this time."""
        return 0 <= self.asked_ms < max(seconds * 1000, LATE_MS)

    def for_handler(self, known: Knowledge, ttl: float) -> dict[str, int]:
        """Return the number of jobs by type that no worker of the queue knows. `ttl`: unknown_type_ttl."""
        if self.asked_within(ttl):
            return {}
        found = {name: count for name, count in sorted(self.counts.items()) if known.lacks(name)}
        shown = dict([(name, count) for name, count in found.items() if name != ANY][:MAX_NAMES])
        rest = sum(found.values()) - sum(shown.values())
        return {**shown, ANY: rest} if rest else shown


async def asides_in(broker: Broker, queue: str, deadline: Deadline) -> Waiting:
    """Return the jobs of a queue that were set aside. Raises StoreUnavailable."""
    counts: dict[str, int] = {}
    asked = []
    for shard in range(broker.shards.count):
        (row,) = await deadline.call(broker.queues.list_asides, shard, [queue])
        asked.append(row.asked_ms)
        for _, name, length in row.lists:
            counts[name] = counts.get(name, 0) + length
    return Waiting(counts, _latest(asked))


def asides_of(stats: Iterable[Stats], heads: Mapping[str, Sequence[QueueHead]]) -> dict[str, Waiting]:
    """Return the same for each queue of `heads`, by the statistics of each shard and the queue's status there."""
    counts: dict[str, dict[str, int]] = {queue: {} for queue in heads}
    for row in (row for of_shard in stats for row in of_shard.queues if row.name in counts):
        for name, count in row.aside:
            counts[row.name][name] = counts[row.name].get(name, 0) + count
    return {queue: Waiting(counts[queue], _latest([head.asked_ms for head in heads[queue]])) for queue in heads}


def _latest(asked: Iterable[int]) -> int:
    """Return the shortest of these times, of which -1 = not known."""
    return min((ms for ms in asked if ms >= 0), default=-1)
