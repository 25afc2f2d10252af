"""The pull workers of this replica, kept in memory: the queues that they asked for and the jobs that they hold."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from msgspec import UNSET, Struct, UnsetType, field

from queuey.protocol.records import SUSPECT

FIRST_ALONE: Final = 5.0
"""The seconds for which a suspect with two crashes runs by itself. The script that claims has the same."""
REMEMBERED: Final = 60.0
"""The seconds for which a worker is known after its last request."""
MAX_WORKERS: Final = 10_000
MAX_HELD: Final = 200_000
"""The maximum number of jobs in the register. Further jobs are leased too, but not shown."""
MAX_SHOWN: Final = 100
"""The maximum number of job ids in one row."""
MAX_KINDS: Final = 8
"""The maximum number of sets of types of one worker that are remembered. Above it the oldest is forgotten."""
MAX_QUEUES: Final = 1_000
"""The maximum number of queues of one worker. Above it the queue that it asked for longest ago is forgotten."""


class PullWorker(Struct):
    """A pull worker. `key`: the name of its API key. Times are seconds since 1970.

    `asked`: queues with the time of the last request for them. `held`: ids of jobs with the end of the lease and the
    queue. `crashed`: the held jobs that have crashes, each with the time until which it runs by itself. `kinds`: the
    sets of types that it named recently, each with the time of its last request; None = every type. `app` is that of
    its last request. So is `type_queues`, beside what it said of queues that it does not ask for now: they are full.
    """

    key: str
    name: str
    asked: dict[str, float]
    asked_at: float
    started_at: float
    last_seen: float
    held: dict[str, tuple[float, str]]
    crashed: dict[str, float] = field(default_factory=dict)
    kinds: dict[frozenset[str] | None, float] = field(default_factory=dict)
    app: str = ""
    type_queues: Mapping[str, Sequence[str]] | None = None

    @property
    def worker_key(self) -> str:
        return worker_key(self.name, self.key)

    def types(self) -> list[str]:
        """Return the types that it named recently; none if it takes every type."""
        return [] if None in self.kinds else sorted({name for kind in self.kinds for name in kind or ()})

    def queues(self) -> list[str]:
        """Return the queues that it asked for recently or has jobs from. A key that sees all of them sees its jobs."""
        return list(dict.fromkeys([*self.asked, *(queue for _, queue in self.held.values())]))


class PullWorkerRow(Struct):
    """A pull worker as it is shown. `busy` is the number of its jobs, and `jobs` has at most 100 of their ids.

    A worker without `types` takes every type. `type_queues`: the types whose queue it names, by queue; None if it does
    not say.
    """

    key: str
    name: str
    queues: list[str]
    types: list[str]
    busy: int
    jobs: list[str]
    started_at: float
    last_seen: float
    quiet: bool
    app: str = ""
    type_queues: Mapping[str, Sequence[str]] | None = None

    @property
    def worker_key(self) -> str:
        return worker_key(self.name, self.key)


def _merged(
    worker: PullWorker, queues: Sequence[str], type_queues: Mapping[str, Sequence[str]] | UnsetType | None
) -> Mapping[str, Sequence[str]] | None:
    """Return the types by queue that a request names, and those of queues that it does not ask for.

    `worker` is as it was before. A queue is forgotten when it counts no more as one of the worker's.
    """
    if type_queues is UNSET or type_queues is None or not worker.type_queues:
        return None if type_queues is UNSET else type_queues
    left_out = worker.type_queues.keys() - set(queues)
    if not left_out:
        return type_queues
    kept = left_out.intersection(worker.queues())
    return {**{queue: worker.type_queues[queue] for queue in kept}, **type_queues}


def alone_seconds(crashes: int) -> float:
    """Return for how long a worker without child processes runs a job with so many crashes by itself."""
    return FIRST_ALONE * 2.0 ** (crashes - SUSPECT) if crashes >= SUSPECT else 0.0


def worker_key(name: str, key: str) -> str:
    """Return the key that identifies a worker. The same name with another API key is another worker.

    A replica has no API key, and no name contains a slash.
    """
    return f"{key}/{name}" if key else name


class PullWorkers:
    """The register of pull workers. A quiet worker gets no more jobs.

    The register uses worker keys, so that no API key can act as the worker of another. Above MAX_WORKERS the worker
    that was seen longest ago is forgotten.
    """

    def __init__(self) -> None:
        self._workers: dict[str, PullWorker] = {}
        """The workers by worker key, in the order in which they were seen."""
        self._holder: dict[str, PullWorker] = {}
        self._quiet: frozenset[str] = frozenset()

    def seen(
        self,
        name: str,
        key: str,
        queues: Sequence[str],
        types: frozenset[str] | None = None,
        app: str = "",
        type_queues: Mapping[str, Sequence[str]] | UnsetType | None = None,
    ) -> str:
        """Register a request for jobs of these queues and types (None = every type). Returns the worker key."""
        now, its_key = time.time(), worker_key(name, key)
        worker = self._workers.pop(its_key, None)
        if worker is None:
            if len(self._workers) >= MAX_WORKERS:
                self._drop(next(iter(self._workers)))
            worker = PullWorker(key, name, {}, now, now, now, {})
        worker.asked_at = worker.last_seen = now
        worker.app, worker.type_queues = app, _merged(worker, queues, type_queues)
        for queue in queues:
            worker.asked.pop(queue, None)
            worker.asked[queue] = now
        while len(worker.asked) > MAX_QUEUES:
            del worker.asked[next(iter(worker.asked))]
        worker.kinds.pop(types, None)
        worker.kinds[types] = now
        while len(worker.kinds) > MAX_KINDS:
            del worker.kinds[next(iter(worker.kinds))]
        self._workers[its_key] = worker
        return its_key

    def leased(
        self, worker_key: str, jobs: Iterable[tuple[str, str]], lease: float, crashed: Mapping[str, float] = {}
    ) -> None:
        """Register leases of jobs (id, queue) for this many seconds.

        `crashed`: the ids of jobs with crashes, each with the seconds for which it runs by itself.
        """
        worker = self._workers.get(worker_key)
        if worker is None:
            return
        now = time.time()
        until = now + lease
        for job_id, queue in jobs:
            if len(self._holder) >= MAX_HELD:
                return
            worker.held[job_id] = until, queue
            if job_id in crashed:
                worker.crashed[job_id] = now + crashed[job_id]
            self._holder[job_id] = worker

    def extended(self, job_id: str, lease: float) -> None:
        """Register that the lease of a job ends in this many seconds."""
        worker = self._holder.get(job_id)
        if worker is not None:
            now = time.time()
            worker.held[job_id] = now + lease, worker.held[job_id][1]
            worker.last_seen = now

    def ended(self, *job_ids: str) -> None:
        """Register that the leases of jobs have ended."""
        holder_of = self._holder.pop
        for job_id in job_ids:
            worker = holder_of(job_id, None)
            if worker is not None:
                worker.held.pop(job_id, None)
                worker.crashed.pop(job_id, None)

    def holds_crashed(self, worker_key: str) -> bool:
        """Return whether it holds a job with crashes, as far as this replica knows.

        Then it gets no second one while the store may not set suspects aside. After that the store decides.
        """
        worker = self._workers.get(worker_key)
        if worker is None or not worker.crashed:
            return False
        now = time.time()
        return any(worker.held[job_id][0] >= now for job_id in worker.crashed)

    def held_by(self, worker_key: str) -> list[str]:
        """Return the ids of the jobs that it holds, as far as this replica knows."""
        worker, now = self._workers.get(worker_key), time.time()
        return [job_id for job_id, (until, _) in worker.held.items() if until >= now] if worker else []

    def runs_alone(self, worker_key: str) -> str | None:
        """Return the id of the suspect that it has to run by itself, as far as this replica knows."""
        worker, now = self._workers.get(worker_key), time.time()
        if worker is None:
            return None
        alone = (job_id for job_id, until in worker.crashed.items() if until > now)
        return next((job_id for job_id in alone if worker.held[job_id][0] >= now), None)

    def set_quiet(self, worker_keys: Collection[str]) -> None:
        """Make exactly these workers quiet."""
        self._quiet = frozenset(worker_keys)

    def is_quiet(self, worker_key: str) -> bool:
        """Return whether this worker is quiet."""
        return worker_key in self._quiet

    def rows(self) -> list[PullWorkerRow]:
        """Return the workers that asked within the last minute or hold a job. The last one seen is the last row."""
        self._forget(time.time())
        return [
            PullWorkerRow(
                worker.key,
                worker.name,
                worker.queues(),
                worker.types(),
                len(worker.held),
                list(worker.held)[:MAX_SHOWN],
                worker.started_at,
                worker.last_seen,
                key in self._quiet,
                worker.app,
                worker.type_queues,
            )
            for key, worker in self._workers.items()
        ]

    def _forget(self, now: float) -> None:
        """Forget leases that have ended, queues and types not asked for any more, and workers that no longer ask."""
        for worker in list(self._workers.values()):
            for job_id in [job_id for job_id, (until, _) in worker.held.items() if until < now]:
                self._let_go(worker, job_id)
            since = min(worker.asked_at, now - REMEMBERED)
            worker.asked = {queue: at for queue, at in worker.asked.items() if at >= since}
            worker.kinds = {types: at for types, at in worker.kinds.items() if at >= since}
            if not worker.held and worker.last_seen < now - REMEMBERED:
                del self._workers[worker.worker_key]

    def _drop(self, worker_key: str) -> None:
        worker = self._workers.pop(worker_key)
        for job_id in list(worker.held):
            self._let_go(worker, job_id)

    def _let_go(self, worker: PullWorker, job_id: str) -> None:
        del worker.held[job_id]
        worker.crashed.pop(job_id, None)
        if self._holder.get(job_id) is worker:
            del self._holder[job_id]
