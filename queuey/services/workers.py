"""Who works: what each replica tells of its workers with its sign of life, and the list that all of them make.

A worker is a replica that runs jobs itself (`process`), or a program that pulls them over HTTP (`pull`), which any
replica may see.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from typing import Any, Final

import msgspec
from msgspec import Struct

from queuey.errors import Full, NotFound, StoreUnavailable
from queuey.protocol.models import WorkerInfo
from queuey.protocol.records import from_ms
from queuey.services.leases.pull_workers import worker_key
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline, outcome

MAX_JOBS_SHOWN: Final = 100
"""Ids of jobs that are told of one worker."""
MAX_TYPES_TOLD: Final = 1_000
MAX_TOLD: Final = 1_000
"""Pull workers that one replica tells of, those that were seen last."""
MAX_IDS_TOLD: Final = 5_000
"""Ids of jobs in one sign of life."""


class TellsWorker(Struct, omit_defaults=True):
    """One worker in a sign of life. Times are ms since 1970; `seen_ms` 0: now. `key`: see WorkerInfo."""

    name: str
    kind: str
    slots: int
    busy: int
    jobs: list[str]
    queues: list[str]
    types: list[str] = []
    started_ms: int = 0
    seen_ms: int = 0
    quiet: bool = False
    key: str = ""


class Description(Struct):
    """A sign of life: what a replica is, and the workers in it."""

    version: str
    pid: int
    roles: list[str]
    workers: list[TellsWorker]


_decode = msgspec.json.Decoder(Description).decode


def process_name() -> str:
    """A name for this process that no other has: its host, its pid, and chance.

    It consists of letters, digits, '.', '-' and '_', and begins with a letter or a digit, so that a header of the
    store may hold it.
    """
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).lstrip("._-")[:24] or "worker"
    return f"{host}-{os.getpid()}-{secrets.token_hex(2)}"


def tells_process(
    name: str, slots: int, running: Collection[str], queues: Iterable[str], types: Iterable[str]
) -> TellsWorker:
    """A replica as a worker; `running`: the ids of all that it holds."""
    jobs = list(islice(running, MAX_JOBS_SHOWN))
    return TellsWorker(name, "process", slots, len(running), jobs, list(queues), sorted(types)[:MAX_TYPES_TOLD])


def bounded(workers: Iterable[TellsWorker]) -> list[TellsWorker]:
    """As many as a sign of life may hold, each with as many ids of its jobs as there is room for."""
    told: list[TellsWorker] = []
    room = MAX_IDS_TOLD
    for worker in workers:
        if len(told) >= MAX_TOLD:
            break
        jobs = worker.jobs[: min(MAX_JOBS_SHOWN, room)]
        room -= len(jobs)
        told.append(msgspec.structs.replace(worker, jobs=jobs))
    return told


async def list_workers(broker: Broker, deadline: Deadline) -> list[WorkerInfo]:
    """All that are known, by name; one name with two API keys is two workers. Raises StoreUnavailable."""
    known = await deadline.call(broker.replicas.workers, 0)
    quiet = set(known.quiet)
    found: dict[str, WorkerInfo] = {}
    for replica, seen_ms, text in known.replicas:
        try:
            description = _decode(text)
        except (msgspec.DecodeError, UnicodeError):
            continue  # of a version that tells something else
        for worker in description.workers:
            mark = worker_key(worker.name, worker.key)
            info = _info(worker, replica, seen_ms, description.version, mark in quiet)
            found[mark] = _joined(found[mark], info) if mark in found else info
    return sorted(found.values(), key=lambda worker: (worker.name, worker.key))


def serving(workers: Iterable[WorkerInfo], queue: str) -> list[str]:
    """The names of those who take jobs from a queue."""
    return list(dict.fromkeys(worker.name for worker in workers if queue in worker.queues and not worker.quiet))


def unknown_worker(name: str) -> NotFound:
    return NotFound(f"There is no worker {name[:64]!r}, or none that gave a sign of life within the last minute.")


async def make_quiet(broker: Broker, worker: WorkerInfo, deadline: Deadline) -> WorkerInfo:
    """It claims no more once its replica has been told, with its next sign of life. Raises Full, StoreUnavailable or
    OutcomeUnknown."""
    try:
        word = await deadline.call(broker.replicas.quiet_worker, 0, worker_key(worker.name, worker.key))
    except StoreUnavailable as error:
        raise outcome(error, []) from error
    if word == "too_many":
        raise Full("1,000 workers are quiet already; stop those that are done.")
    return msgspec.structs.replace(worker, quiet=True)


def visible_part(worker: WorkerInfo, visible: Callable[[str], bool]) -> WorkerInfo | None:
    """The worker as somebody may see it who may see these queues: nothing, without its jobs, or the whole."""
    queues = [queue for queue in worker.queues if visible(queue)]
    if not queues:
        return None
    if len(queues) == len(worker.queues):
        return worker
    return msgspec.structs.replace(worker, queues=queues, jobs=[])


def _info(worker: TellsWorker, replica: str, seen_ms: int, version: str, quiet: bool) -> WorkerInfo:
    return WorkerInfo(
        name=worker.name,
        replica=replica,
        kind="pull" if worker.kind == "pull" else "process",
        slots=worker.slots,
        busy=worker.busy,
        jobs=worker.jobs,
        queues=worker.queues,
        types=worker.types,
        last_seen=from_ms(worker.seen_ms or seen_ms),
        quiet=quiet or worker.quiet,
        started_at=from_ms(worker.started_ms or seen_ms),
        version=version,
        key=worker.key,
    )


def _joined(one: WorkerInfo, other: WorkerInfo) -> WorkerInfo:
    """A pull worker that several replicas have seen: as the last of them saw it, with the jobs of all."""
    latest = max(one, other, key=lambda worker: worker.last_seen)
    jobs = list(dict.fromkeys([*one.jobs, *other.jobs]))
    changes: dict[str, Any] = {
        "jobs": jobs[:MAX_JOBS_SHOWN],
        "busy": one.busy + other.busy,
        "queues": list(dict.fromkeys([*one.queues, *other.queues])),
        "started_at": min(one.started_at, other.started_at),
        "quiet": one.quiet or other.quiet,
    }
    return msgspec.structs.replace(latest, **changes)
