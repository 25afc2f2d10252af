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
MAX_QUEUES: Final = 1_000
"""Queues that one worker is known to have asked for. Beyond these, the one asked for longest ago is forgotten."""


class PullWorker(Struct):
    """`key`: name of the API key. Times are seconds since 1970; `asked`: queues with the time of the last request for
    them; `held`: ids of jobs with the time their leases end and their queue; `crashed`: those of them that have
    crashes."""

    key: str
    name: str
    asked: dict[str, float]
    asked_at: float
    started_at: float
    last_seen: float
    held: dict[str, tuple[float, str]]
    crashed: set[str] = field(default_factory=set)

    @property
    def mark(self) -> str:
        return worker_key(self.name, self.key)

    def queues(self) -> list[str]:
        """Those it asked for of late, and those whose jobs it holds: who may not see all of them sees no job of it."""
        return list(dict.fromkeys([*self.asked, *(queue for _, queue in self.held.values())]))


class PullWorkerRow(Struct):
    """What is told of a pull worker: `busy` is how many jobs it holds, `jobs` are at most 100 of their ids."""

    key: str
    name: str
    queues: list[str]
    busy: int
    jobs: list[str]
    started_at: float
    last_seen: float
    quiet: bool

    @property
    def mark(self) -> str:
        return worker_key(self.name, self.key)


def worker_key(name: str, key: str) -> str:
    """What tells a worker from all others. The same name with another API key is another worker; a replica has no key,
    and no name has a slash."""
    return f"{key}/{name}" if key else name


class PullWorkers:
    """The register. A worker is who gives a name in a request for leases; a quiet one gets no more jobs.

    A worker is known by its mark, so that no API key can be taken for another's worker. Above MAX_WORKERS the one that
    was seen longest ago is forgotten."""

    def __init__(self) -> None:
        self._workers: dict[str, PullWorker] = {}
        """The one that was seen last comes last."""
        self._holder: dict[str, PullWorker] = {}
        self._quiet: frozenset[str] = frozenset()

    def seen(self, name: str, key: str, queues: Sequence[str]) -> str:
        """It asks for jobs of these queues. Returns its mark."""
        now, mark = time.time(), worker_key(name, key)
        worker = self._workers.pop(mark, None)
        if worker is None:
            if len(self._workers) >= MAX_WORKERS:
                self._drop(next(iter(self._workers)))
            worker = PullWorker(key, name, {}, now, now, now, {})
        worker.asked_at = worker.last_seen = now
        for queue in queues:
            worker.asked.pop(queue, None)
            worker.asked[queue] = now
        while len(worker.asked) > MAX_QUEUES:
            del worker.asked[next(iter(worker.asked))]
        self._workers[mark] = worker
        return mark

    def leased(self, mark: str, jobs: Iterable[tuple[str, str]], lease: float, crashed: Collection[str] = ()) -> None:
        """It got these jobs, ids with their queues, for so many seconds. `crashed`: ids of those with crashes."""
        worker = self._workers.get(mark)
        if worker is None:
            return
        until = time.time() + lease
        for job_id, queue in jobs:
            if len(self._holder) >= MAX_HELD:
                return
            worker.held[job_id] = until, queue
            if job_id in crashed:
                worker.crashed.add(job_id)
            self._holder[job_id] = worker

    def extended(self, job_id: str, lease: float) -> None:
        """The lease of a job is now so many seconds longer."""
        worker = self._holder.get(job_id)
        if worker is not None:
            now = time.time()
            worker.held[job_id] = now + lease, worker.held[job_id][1]
            worker.last_seen = now

    def ended(self, job_id: str) -> None:
        """It holds this job no longer."""
        worker = self._holder.pop(job_id, None)
        if worker is not None:
            worker.held.pop(job_id, None)
            worker.crashed.discard(job_id)

    def holds_crashed(self, mark: str) -> bool:
        """Whether it holds a job with crashes, as far as this replica knows: it is to get no other one meanwhile."""
        worker = self._workers.get(mark)
        if worker is None or not worker.crashed:
            return False
        now = time.time()
        return any(worker.held[job_id][0] >= now for job_id in worker.crashed)

    def set_quiet(self, marks: Collection[str]) -> None:
        """These get no more jobs, and all others do."""
        self._quiet = frozenset(marks)

    def is_quiet(self, mark: str) -> bool:
        return mark in self._quiet

    def rows(self) -> list[PullWorkerRow]:
        """Those who asked within the last minute, or still hold a job; the one that was seen last comes last."""
        self._forget(time.time())
        return [
            PullWorkerRow(
                worker.key,
                worker.name,
                worker.queues(),
                len(worker.held),
                list(worker.held)[:MAX_SHOWN],
                worker.started_at,
                worker.last_seen,
                mark in self._quiet,
            )
            for mark, worker in self._workers.items()
        ]

    def _forget(self, now: float) -> None:
        """Leases that are over, queues that are asked for no longer, and those of whom nothing was heard."""
        for worker in list(self._workers.values()):
            for job_id in [job_id for job_id, (until, _) in worker.held.items() if until < now]:
                self._let_go(worker, job_id)
            since = min(worker.asked_at, now - REMEMBERED)
            worker.asked = {queue: at for queue, at in worker.asked.items() if at >= since}
            if not worker.held and worker.last_seen < now - REMEMBERED:
                del self._workers[worker.mark]

    def _drop(self, mark: str) -> None:
        worker = self._workers.pop(mark)
        for job_id in list(worker.held):
            self._let_go(worker, job_id)

    def _let_go(self, worker: PullWorker, job_id: str) -> None:
        del worker.held[job_id]
        worker.crashed.discard(job_id)
        if self._holder.get(job_id) is worker:
            del self._holder[job_id]
