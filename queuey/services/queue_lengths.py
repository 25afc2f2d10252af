"""How many jobs are in each place, summed over all shards."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from queuey.protocol.models import Metrics, QueueMetrics
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline
from queuey.store.replies import QueueRow, Stats


async def queue_lengths(
    broker: Broker, visible: Callable[[str], bool], deadline: Deadline, reasons: dict[str, str] | None = None
) -> Metrics:
    """The queues for whose name `visible` holds, by name, and their sums. Raises StoreUnavailable.

    `reasons` is given why each of them is paused.
    """
    return lengths(await stats_of(broker, deadline), visible, reasons)


async def stats_of(broker: Broker, deadline: Deadline) -> list[Stats]:
    """Of each shard. Raises StoreUnavailable."""
    return [await deadline.call(partial(broker.queues.stats, shard)) for shard in range(broker.shards.count)]


def lengths(stats: Iterable[Stats], visible: Callable[[str], bool], reasons: dict[str, str] | None = None) -> Metrics:
    """As `queue_lengths`, of what the shards have told."""
    queues: dict[str, QueueMetrics] = {}
    for of_shard in stats:
        for row in of_shard.queues:
            if visible(row.name):
                _add(queues.setdefault(row.name, QueueMetrics(row.name, False, 0, 0, 0, 0, 0, 0, 0)), row)
                if row.paused and reasons is not None:
                    reasons.setdefault(row.name, row.paused)
    found = [queues[name] for name in sorted(queues)]
    return Metrics(
        queue_high_length=sum(queue.high for queue in found),
        queue_default_length=sum(queue.default for queue in found),
        queue_low_length=sum(queue.low for queue in found),
        queue_dlq_length=sum(queue.dead_letter for queue in found),
        queues=found,
    )


def _add(queue: QueueMetrics, row: QueueRow) -> None:
    queue.paused = queue.paused or row.paused != ""
    queue.high += row.high
    queue.default += row.default
    queue.low += row.low
    queue.scheduled += row.scheduled
    queue.running += row.running
    queue.dead_letter += row.dead
    queue.finished += row.finished
