"""Who pulls jobs over HTTP from this replica: in memory, from what they have asked for lately."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from msgspec import Struct, field

REMEMBERED: Final = 60.0
"""Seconds after its last request for which a worker is known."""
MAX_WORKERS: Final = 10_000
MAX_HELD: Final = 200_000
"""Jobs that are kept account of. Those beyond are leased all the same, and not shown."""
MAX_SHOWN: Final = 100
"""Ids of jobs in one row."""


class PullWorker(Struct):
    """`started_at` and `last_seen` are seconds since 1970; `held`: ids of jobs with the time their leases end.

    `crashed`: those of them that have crashes."""

    name: str
    queues: Sequence[str]
    started_at: float
    last_seen: float
    held: dict[str, float]
    crashed: set[str] = field(default_factory=set)


class PullWorkerRow(Struct):
    """What is told of a pull worker: `busy` is how many jobs it holds, `jobs` are at most 100 of their ids."""

    name: str
    queues: list[str]
    busy: int
    jobs: list[str]
    started_at: float
    last_seen: float
    quiet: bool


class PullWorkers:
    """The register. A worker is who gives a name in a request for leases; a quiet one gets no more jobs.

    Above MAX_WORKERS the one that was seen longest ago is forgotten."""

    def __init__(self) -> None:
        self._workers: dict[str, PullWorker] = {}
        """The one that was seen last comes last."""
        self._holder: dict[str, PullWorker] = {}
        self._quiet: frozenset[str] = frozenset()

    def seen(self, name: str, queues: Sequence[str]) -> None:
        """It asks for jobs of these queues."""
        now = time.time()
        worker = self._workers.pop(name, None)
        if worker is None:
            if len(self._workers) >= MAX_WORKERS:
                self._drop(next(iter(self._workers)))
            worker = PullWorker(name, queues, now, now, {})
        worker.queues, worker.last_seen = queues, now
        self._workers[name] = worker

    def leased(self, name: str, job_ids: Iterable[str], lease: float, crashed: Collection[str] = ()) -> None:
        """It got these jobs for so many seconds. `crashed`: those of them with crashes."""
        worker = self._workers.get(name)
        if worker is None:
            return
        until = time.time() + lease
        for job_id in job_ids:
            if len(self._holder) >= MAX_HELD:
                return
            worker.held[job_id] = until
            if job_id in crashed:
                worker.crashed.add(job_id)
            self._holder[job_id] = worker

    def extended(self, job_id: str, lease: float) -> None:
        """The lease of a job is now so many seconds longer."""
        worker = self._holder.get(job_id)
        if worker is not None:
            now = time.time()
            worker.held[job_id] = now + lease
            worker.last_seen = now

    def ended(self, job_id: str) -> None:
        """It holds this job no longer."""
        worker = self._holder.pop(job_id, None)
        if worker is not None:
            worker.held.pop(job_id, None)
            worker.crashed.discard(job_id)

    def holds_crashed(self, name: str) -> bool:
        """Whether it holds a job with crashes, as far as this replica knows: it is to get no other one meanwhile."""
        worker = self._workers.get(name)
        if worker is None or not worker.crashed:
            return False
        now = time.time()
        return any(worker.held[job_id] >= now for job_id in worker.crashed)

    def set_quiet(self, names: Collection[str]) -> None:
        """These get no more jobs, and all others do."""
        self._quiet = frozenset(names)

    def is_quiet(self, name: str) -> bool:
        return name in self._quiet

    def rows(self) -> list[PullWorkerRow]:
        """Those who asked within the last minute, or still hold a job; the one that was seen last comes last."""
        self._forget(time.time())
        return [
            PullWorkerRow(
                worker.name,
                list(worker.queues),
                len(worker.held),
                list(worker.held)[:MAX_SHOWN],
                worker.started_at,
                worker.last_seen,
                worker.name in self._quiet,
            )
            for worker in self._workers.values()
        ]

    def _forget(self, now: float) -> None:
        """Leases that are over, and those of whom nothing was heard."""
        for worker in list(self._workers.values()):
            for job_id in [job_id for job_id, until in worker.held.items() if until < now]:
                self._let_go(worker, job_id)
            if not worker.held and worker.last_seen < now - REMEMBERED:
                del self._workers[worker.name]

    def _drop(self, name: str) -> None:
        worker = self._workers.pop(name)
        for job_id in list(worker.held):
            self._let_go(worker, job_id)

    def _let_go(self, worker: PullWorker, job_id: str) -> None:
        del worker.held[job_id]
        worker.crashed.discard(job_id)
        if self._holder.get(job_id) is worker:
            del self._holder[job_id]
