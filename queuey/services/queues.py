"""Operations on queues: count and show them; pause, resume and purge them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET

from queuey.errors import NotFound, OutcomeUnknown, StoreError, StoreUnavailable
from queuey.protocol.models import Metrics, PurgeReply, Queue, QueueList, QueueMetrics, WorkerInfo
from queuey.protocol.records import from_ms
from queuey.protocol.schema_faults import too_many_queues
from queuey.services.claimable import Takes, claimable_jobs, claimable_ms, taken_by, takes_everything
from queuey.services.unknown_types import asides_of, knowledge_of
from queuey.services.workers import list_workers, serving
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline, outcome, unanswered
from queuey.store.replies import QueueHead, QueueRow, Stats
from queuey.store.shards import on_each

MAX_PURGED: Final = 100_000
"""The maximum number of jobs that one request cancels."""
PURGE_SECONDS: Final = 10.0
_PURGE_STEP: Final = 500
MAX_WORKERS_SHOWN: Final = 1_000

Result = TypeVar("Result")
Visible = Callable[[str], bool]
"""Returns whether the caller may see the queue of this name."""


def unknown_queue(name: str) -> NotFound:
    """Return the error for a queue that does not exist."""
    return NotFound(f"There is no queue {name[:64]!r}.")


async def queue_lengths(
    broker: Broker, visible: Visible, deadline: Deadline, reasons: dict[str, str] | None = None
) -> Metrics:
    """Return the counts of the visible queues, by name, and their sums, on the shards that answer.

    `reasons` is filled with the reason of each pause. Raises StoreUnavailable if no shard answers.
    """
    found = await stats_of(broker, deadline)
    stats = found.values()
    has_asides = any(row.aside for of_shard in stats for row in of_shard.queues)
    takes = taken_by(await _workers_of(broker, found, deadline)) if has_asides else takes_everything
    lengths = lengths_of(stats, visible, takes, reasons)
    lengths.incomplete = missing_of(broker, found) or UNSET
    return lengths


async def stats_of(broker: Broker, deadline: Deadline) -> dict[int, Stats]:
    """Return the counts of each shard that answers. Raises StoreUnavailable if none does."""
    return await broker.on_answering(lambda shard: deadline.call(broker.queues.stats, shard))


def missing_of(broker: Broker, found: Collection[int]) -> list[int]:
    """Return the shards that are not among those found."""
    return [shard for shard in range(broker.shards.count) if shard not in found]


async def _workers_of(broker: Broker, found: Collection[int], deadline: Deadline) -> list[WorkerInfo]:
    """Return the workers, unless the shard that knows them is not among those found."""
    return await list_workers(broker, deadline) if 0 in found else []


def lengths_of(
    stats: Iterable[Stats], visible: Visible, takes: Takes, reasons: dict[str, str] | None = None
) -> Metrics:
    """Return the same as `queue_lengths`, from the counts of each shard. `takes`: for which types there is a worker."""
    queues: dict[str, QueueMetrics] = {}
    for of_shard in stats:
        for row in of_shard.queues:
            if visible(row.name):
                queue = queues.setdefault(row.name, QueueMetrics(row.name, False, 0, 0, 0, 0, 0, 0, 0))
                _add(queue, row)
                queue.claimable += claimable_jobs(row, takes)
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


async def show_queues(broker: Broker, visible: Visible, deadline: Deadline, unknown_type_ttl: float) -> QueueList:
    """Return the visible queues by name, as the shards that answer have them. `unknown_type_ttl`: the setting.

    Raises StoreUnavailable if no shard answers."""
    reasons: dict[str, str] = {}
    found = await stats_of(broker, deadline)
    stats = found.values()
    workers = await _workers_of(broker, found, deadline) if any(of_shard.queues for of_shard in stats) else []
    takes = taken_by(workers)
    lengths = {queue.name: queue for queue in lengths_of(stats, visible, takes, reasons).queues}
    heads = await _heads(broker, found, list(lengths), deadline)
    asides = asides_of(stats, heads)
    queues = []
    for name, counted in lengths.items():
        queue = _queue(counted, reasons.get(name), heads[name], serving(workers, name)[:MAX_WORKERS_SHOWN], takes)
        queue.waiting_for_handler = asides[name].for_handler(knowledge_of(workers, name), unknown_type_ttl)
        queues.append(queue)
    return QueueList(queues, missing_of(broker, found) or UNSET)


async def show_queue(broker: Broker, name: str, deadline: Deadline, unknown_type_ttl: float) -> Queue:
    """Return one queue. `unknown_type_ttl`: the setting. Raises NotFound, or StoreUnavailable if a shard is silent."""
    found = await show_queues(broker, lambda queue: queue == name, deadline, unknown_type_ttl)
    if found.incomplete:
        raise StoreUnavailable("A shard of the store does not answer.", shard=found.incomplete[0])
    if not found.queues:
        raise unknown_queue(name)
    return found.queues[0]


async def check_known(broker: Broker, name: str, deadline: Deadline) -> None:
    """Check that a queue exists. Raises NotFound, or StoreUnavailable if only a silent shard can have it."""
    found = await stats_of(broker, deadline)
    if any(row.name == name for of_shard in found.values() for row in of_shard.queues):
        return
    if missing := missing_of(broker, found):
        raise StoreUnavailable("A shard of the store does not answer.", shard=missing[0])
    raise unknown_queue(name)


async def pause(broker: Broker, name: str, reason: str, by: str, deadline: Deadline) -> None:
    """Pause a queue, so that no job is claimed from it. A queue can be paused before its first job comes.

    Raises Invalid when the store has the maximum number of queues, StoreUnavailable or OutcomeUnknown.
    """
    words = await _on_every(broker, lambda shard: deadline.call(broker.queues.pause, shard, name, reason, by))
    if "too_many_queues" in words:
        raise too_many_queues()


async def resume(broker: Broker, name: str, deadline: Deadline) -> None:
    """Resume a queue. Raises StoreUnavailable or OutcomeUnknown."""
    await _on_every(broker, lambda shard: deadline.call(broker.queues.resume, shard, name))


async def _on_every(broker: Broker, work: Callable[[int], Awaitable[Result]]) -> list[Result]:
    """Do the work on all shards at a time. Raises OutcomeUnknown if it was done, or perhaps done, on some only."""
    done: list[int] = []

    async def noted(shard: int) -> Result:
        result = await work(shard)
        done.append(shard)
        return result

    try:
        return await on_each(range(broker.shards.count), noted)
    except StoreUnavailable as error:
        raise _partly(error, some=bool(done)) from error


def _partly(error: StoreUnavailable, *, some: bool) -> StoreError:
    """Return the error for work that one shard did not answer. `some`: others have done it."""
    if some:
        return OutcomeUnknown(f"{unanswered(error)} Other shards have done it. Send the request again.")
    return outcome(error, [])


async def purge(broker: Broker, name: str, status: Sequence[str], request_deadline: float) -> PurgeReply:
    """Cancel the waiting jobs of a queue, step by step, until none is left or a limit is reached.

    `request_deadline`: seconds for each step. Raises OutcomeUnknown or StoreUnavailable.
    """
    until = time.monotonic() + PURGE_SECONDS
    cancelled, failed = 0, None
    queued, scheduled = "queued" in status, "scheduled" in status
    for shard in sorted(range(broker.shards.count), key=broker.silent.__contains__):
        more = True
        while more:
            if cancelled >= MAX_PURGED or time.monotonic() > until:
                return PurgeReply(cancelled, True)
            try:
                step = await Deadline(request_deadline).call(
                    broker.queues.purge, shard, name, queued=queued, scheduled=scheduled, limit=_PURGE_STEP
                )
            except StoreUnavailable as error:  # the others are purged
                failed = failed or error
                break
            cancelled += step.cancelled
            more = step.more
    if failed is not None:
        raise _partly(failed, some=cancelled > 0) from failed
    return PurgeReply(cancelled, False)


async def _heads(
    broker: Broker, shards: Iterable[int], names: Sequence[str], deadline: Deadline
) -> dict[str, list[QueueHead]]:
    """Return the status of each queue on each of these shards that has it."""
    found: dict[str, list[QueueHead]] = {name: [] for name in names}
    if not names:
        return found
    for shard in shards:
        heads = await deadline.call(broker.queues.queue_status, shard, names)
        for name, head in zip(names, heads, strict=True):
            if head.known:
                found[name].append(head)
    return found


def _queue(
    lengths: QueueMetrics, reason: str | None, heads: Sequence[QueueHead], workers: list[str], takes: Takes
) -> Queue:
    """Return a queue. The earliest pause among its shards counts."""
    pauses = [head for head in heads if head.paused_at_ms]
    paused = min(pauses, key=lambda head: head.paused_at_ms) if pauses else None
    oldest = max((head.ready_for_ms for head in heads), default=-1)
    claimable = max((claimable_ms(lengths.name, head, takes) for head in heads), default=-1)
    return Queue(
        **msgspec.structs.asdict(lengths),
        paused_by=(paused.paused_by or None) if paused and lengths.paused else None,
        pause_reason=reason if lengths.paused else None,
        paused_at=from_ms(paused.paused_at_ms) if paused and lengths.paused else None,
        oldest_age=oldest / 1000 if oldest >= 0 else None,
        workers=workers,
        claimable_age=claimable / 1000 if claimable >= 0 else None,
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
