"""What a replica's sign of life tells of the workers in it, and what those are told by its answer."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence

from queuey.services.leases.pull_workers import PullWorkerRow
from queuey.services.leases.pulling import Pulling
from queuey.services.workers import Description, WorkerReport, bounded, report_of_process
from queuey.version import __version__
from queuey.worker.worker import Worker


class Presence:
    """The workers of one replica: itself, and the programs that pull from it. Both are set once they are there."""

    def __init__(
        self, replica: str, roles: Collection[str], slots: int, queues: Sequence[str], types: Collection[str]
    ) -> None:
        self.worker: Worker | None = None
        self.pulling: Pulling | None = None
        self._replica = replica
        self._roles = list(roles)
        self._slots = slots
        self._queues = queues
        self._types = types
        self._started_ms = time.time_ns() // 1_000_000

    def describe(self) -> Description:
        workers = []
        if self.worker is not None:
            own = report_of_process(self._replica, self._slots, self.worker.running, self._queues, self._types)
            own.started_ms, own.quiet = self._started_ms, self.worker.quieted
            workers.append(own)
        workers += [_report_of_pull_worker(row) for row in reversed(self._rows())]
        return Description(__version__, os.getpid(), self._roles, bounded(workers))

    def quiet_here(self) -> list[str]:
        """The marks of the quiet ones."""
        own = [self._replica] if self.worker is not None and self.worker.quieted else []
        return own + [row.worker_key for row in self._rows() if row.quiet]

    def be_quiet(self, marks: Sequence[str]) -> None:
        """These workers, of whichever replica, are to claim no more."""
        if self.worker is not None and self._replica in marks:
            self.worker.be_quiet()
        if self.pulling is not None:
            self.pulling.workers.set_quiet(marks)

    def _rows(self) -> list[PullWorkerRow]:
        """The one that was seen last comes last."""
        return self.pulling.workers.rows() if self.pulling is not None else []


def _report_of_pull_worker(row: PullWorkerRow) -> WorkerReport:
    return WorkerReport(
        name=row.name,
        kind="pull",
        slots=0,
        busy=row.busy,
        jobs=row.jobs,
        queues=row.queues,
        started_ms=round(row.started_at * 1000),
        seen_ms=round(row.last_seen * 1000),
        quiet=row.quiet,
        key=row.key,
    )
