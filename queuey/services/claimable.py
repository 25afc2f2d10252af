"""Claimable jobs: the queued jobs that a worker could take, if it had room.

A job in a list set aside is not claimable while no worker of its queue takes its type. More workers of the same kind
would not run it. So it counts neither for alerts on age nor for scaling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from queuey.protocol.models import WorkerInfo
from queuey.services.workers import MAX_TYPES
from queuey.store.asides import SUSPECTS
from queuey.store.replies import QueueHead, QueueRow

Takes = Callable[[str, str], bool]
"""Returns whether a worker of a queue takes jobs of a type."""


def takes_everything(queue: str, job_type: str) -> bool:
    """Return True, for any queue and type."""
    return True


def taken_by(workers: Iterable[WorkerInfo]) -> Takes:
    """Return whether any of the workers takes jobs of a type from a queue.

    A pull worker that names no types takes every type, and so may one whose list of types was cut. If no worker serves
    the queue, nobody knows what the next one takes: every type counts as taken.
    """
    types_of: dict[str, set[str] | None] = {}
    for worker in workers:
        is_open = (worker.kind == "pull" and not worker.types) or len(worker.types) >= MAX_TYPES
        for queue in worker.queues if worker.claims else ():
            known = types_of.setdefault(queue, set())
            if known is not None:
                types_of[queue] = None if is_open else known.union(worker.types)

    def takes(queue: str, job_type: str) -> bool:
        if job_type == SUSPECTS:  # a worker that knows their types runs them one by one
            return True
        known = types_of.get(queue)
        return known is None or job_type in known

    return takes


def claimable_jobs(row: QueueRow, takes: Takes) -> int:
    """Return the number of claimable jobs of a queue on one shard."""
    waiting = sum(count for job_type, count in row.aside if not takes(row.name, job_type))
    return max(0, row.high + row.default + row.low - waiting)


def claimable_ms(queue: str, head: QueueHead, takes: Takes) -> int:
    """Return for how many ms the first claimable job of a queue has been ready on one shard. It is -1 if none is."""
    return max([head.in_lanes_ms, *(waited for job_type, waited in head.aside if takes(queue, job_type))])
