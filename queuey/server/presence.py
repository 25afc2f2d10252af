"""The workers of a replica, as its heartbeat describes them, and as the answer to it quiets them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence

from msgspec import Struct

from queuey.services.jobs.type_queues import no_queue, queues_by_type, types_mark
from queuey.services.leases.pull_workers import PullWorkerRow, PullWorkers
from queuey.services.workers import (
    MAX_STUCK_SHOWN,
    MAX_TYPES,
    Description,
    WorkerReport,
    bounded,
    report_of_process,
)
from queuey.store.broker.calls import FEATURES
from queuey.version import __version__
from queuey.worker.execution import Execution
from queuey.worker.worker import Worker


class Capacity(Struct, frozen=True):
    """The capacity of a replica: it runs `slots` jobs at a time, of these queues and types, by the App of that name.

    `queue_of` returns the queue of a type's handler.
    """

    slots: int = 0
    queues: Sequence[str] = ()
    types: Collection[str] = ()
    app: str = ""
    queue_of: Callable[[str], str | None] = no_queue


class Presence:
    """The workers of one replica: its own, if it has one, and the programs that pull jobs from it.

    `beat_interval`: the seconds between two heartbeats."""

    def __init__(
        self,
        replica: str,
        roles: Sequence[str],
        beat_interval: float,
        *,
        worker: Worker | None = None,
        execution: Execution | None = None,
        capacity: Capacity | None = None,
        pull_workers: PullWorkers | None = None,
    ) -> None:
        self._replica = replica
        self._roles = list(roles)
        self._beat_ms = round(beat_interval * 1000)
        self._worker = worker
        self._execution = execution
        self._capacity = capacity or Capacity()
        self._pull_workers = pull_workers or PullWorkers()
        self._started_ms = time.time_ns() // 1_000_000

    def describe(self) -> Description:
        """Describe the replica and its workers."""
        workers = []
        if self._worker is not None:
            can = self._capacity
            own = report_of_process(self._replica, can.slots, self._worker.running, can.queues, can.types)
            own.type_queues = queues_by_type(own.types, can.queue_of)
            own.started_ms, own.quiet, own.app = self._started_ms, self._worker.quieted, can.app
            if self._execution is not None:
                stuck = self._execution.stuck_threads()
                own.stuck = [(thread.type, thread.since_ms) for thread in stuck[:MAX_STUCK_SHOWN]]
                own.blocked = sorted(self._execution.blocked_types())[:MAX_TYPES]
            workers.append(own)
        workers += [_report_of_pull_worker(row) for row in reversed(self._pull_workers.rows())]
        workers = bounded(workers)
        return Description(
            __version__, os.getpid(), self._roles, workers, types_mark(workers), self._beat_ms, list(FEATURES)
        )

    def quiet_here(self) -> list[str]:
        """Return the keys of the quieted workers."""
        own = [self._replica] if self._worker is not None and self._worker.quieted else []
        return own + [row.worker_key for row in self._pull_workers.rows() if row.quiet]

    def be_quiet(self, marks: Sequence[str]) -> None:
        """Quiet the workers with these keys. The keys may be those of other replicas' workers too."""
        if self._worker is not None and self._replica in marks:
            self._worker.be_quiet()
        self._pull_workers.set_quiet(marks)


def _report_of_pull_worker(row: PullWorkerRow) -> WorkerReport:
    report = WorkerReport(
        name=row.name,
        kind="pull",
        slots=0,
        busy=row.busy,
        jobs=row.jobs,
        queues=row.queues,
        types=row.types,
        started_ms=round(row.started_at * 1000),
        seen_ms=round(row.last_seen * 1000),
        quiet=row.quiet,
        key=row.key,
        app=row.app,
    )
    if row.type_queues is not None:
        place_of = {name: place for place, name in enumerate(row.types)}
        report.type_queues = {
            queue: [place_of[name] for name in names if name in place_of] for queue, names in row.type_queues.items()
        }
    return report
