"""The list of workers, made from the reports in the heartbeats of the replicas.

A worker is a replica that runs jobs itself (`process`), or a pull worker (`pull`), which may call any replica.
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
from msgspec import UNSET, Struct, UnsetType

from queuey.errors import Full, NotFound, StoreUnavailable
from queuey.protocol.models import StuckThread, WorkerInfo
from queuey.protocol.records import from_ms
from queuey.services.leases.pull_workers import worker_key
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline, outcome

MAX_JOBS_SHOWN: Final = 100
"""The maximum number of job ids in the report of one worker."""
MAX_TYPES: Final = 1_000
MAX_STUCK_SHOWN: Final = 10
"""The maximum number of stuck threads in the report of one worker."""
MAX_REPORTED: Final = 1_000
"""The maximum number of pull workers in one heartbeat. The last ones seen are reported."""
MAX_IDS: Final = 5_000
"""The maximum number of job ids in one heartbeat."""
MISSED_BEATS: Final = 2
"""A replica that sends no heartbeat for so many intervals is gone."""
SHORTEST_MISSED_MS: Final = 1_000
"""A replica with very short intervals is not gone before this time: a busy machine may delay a heartbeat."""
MAX_TYPE_NAMES: Final = 20_000
"""The maximum number of types in one heartbeat. A pull worker whose types do not fit counts as one for every type."""


class WorkerReport(Struct, omit_defaults=True):
    """One worker in a heartbeat. Times are ms since 1970; `seen_ms` 0: now. `key` and `app`: see WorkerInfo."""

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
    app: str = ""
    stuck: list[tuple[str, int]] = []
    """The threads whose handlers do not return: type, and the ms since 1970 at which the handler started."""
    blocked: list[str] = []
    """The types that cannot begin, since all threads are stuck."""
    type_queues: dict[str, list[int]] | UnsetType = UNSET
    """The places in `types` of some types, by queue. A replica has those whose handler's queue is not the default one;
    a replica of an earlier version reports none. A pull worker has those whose queue it names, if it says so at all."""


class Description(Struct):
    """The content of a heartbeat: the description of a replica, its workers, and the features that it knows.

    The features come last, where the scripts look for them."""

    version: str
    pid: int
    roles: list[str]
    workers: list[WorkerReport]
    types_mark: str = ""
    """A digest of what the workers say of types. The script type_reports compares it."""
    beat_ms: int = 0
    """The interval between its heartbeats. 0: an earlier version sent it, and does not say."""
    features: list[str] = []


_decode = msgspec.json.Decoder(Description).decode


def known_features(text: str) -> tuple[str, frozenset[str]]:
    """Return the version of a replica and the features that it knows, from its heartbeat. Older ones know none."""
    try:
        description = _decode(text)
    except (msgspec.DecodeError, UnicodeError):
        return "unknown", frozenset()
    return description.version, frozenset(description.features)


def process_name() -> str:
    """Return a unique name for this process: its host, its pid, and random characters.

    It consists of letters, digits, '.', '-' and '_', and begins with a letter or a digit, so that it can be in a header
    of a stored job.
    """
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).lstrip("._-")[:24] or "worker"
    return f"{host}-{os.getpid()}-{secrets.token_hex(2)}"


def report_of_process(
    name: str, slots: int, running: Collection[str], queues: Iterable[str], types: Iterable[str]
) -> WorkerReport:
    """Return the report of a replica as a worker. `running`: the ids of its jobs."""
    jobs = list(islice(running, MAX_JOBS_SHOWN))
    return WorkerReport(name, "process", slots, len(running), jobs, list(queues), sorted(types)[:MAX_TYPES])


def read_description(text: str) -> Description | None:
    """Return the content of a heartbeat; None if another version wrote it in another format."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeError):
        return None


def bounded(workers: Iterable[WorkerReport]) -> list[WorkerReport]:
    """Return as many reports as fit in a heartbeat, each with the job ids that fit, and with its types if they fit."""
    reports: list[WorkerReport] = []
    room, room_for_types = MAX_IDS, MAX_TYPE_NAMES
    for worker in workers:
        if len(reports) >= MAX_REPORTED:
            break
        jobs = worker.jobs[: min(MAX_JOBS_SHOWN, room)]
        room -= len(jobs)
        types = worker.types if len(worker.types) <= room_for_types else []
        room_for_types -= len(types)
        reports.append(msgspec.structs.replace(worker, jobs=jobs, types=types))
    return reports


async def list_workers(broker: Broker, deadline: Deadline) -> list[WorkerInfo]:
    """Return all workers by name. One name with two API keys is two workers. Raises StoreUnavailable."""
    known = await deadline.call(broker.replicas.workers, 0)
    quiet = set(known.quiet)
    found: dict[str, WorkerInfo] = {}
    for replica, seen_ms, text in known.replicas:
        description = read_description(text)
        if description is None:
            continue
        gone = _is_gone(description, seen_ms, known.now_ms)
        for worker in description.workers:
            key = worker_key(worker.name, worker.key)
            info = _info(worker, replica, seen_ms, description.version, key in quiet, gone)
            found[key] = _joined(found[key], info) if key in found else info
    return sorted(found.values(), key=lambda worker: (worker.name, worker.key))


async def live_replicas(broker: Broker) -> list[str]:
    """Return the names of the replicas that are not gone, in order. Raises StoreUnavailable."""
    known = await broker.replicas.workers(0)
    return sorted(
        replica
        for replica, seen_ms, text in known.replicas
        if not ((description := read_description(text)) and _is_gone(description, seen_ms, known.now_ms))
    )


def _is_gone(description: Description, seen_ms: int, now_ms: int) -> bool:
    """Return whether heartbeats are missing. A replica that does not say its interval is not gone until forgotten."""
    missed_ms = max(MISSED_BEATS * description.beat_ms, SHORTEST_MISSED_MS)
    return bool(description.beat_ms) and now_ms - seen_ms > missed_ms


def serving(workers: Iterable[WorkerInfo], queue: str) -> list[str]:
    """Return the names of the workers that take jobs from a queue."""
    return list(dict.fromkeys(worker.name for worker in workers if queue in worker.queues and worker.claims))


def unknown_worker(name: str) -> NotFound:
    """Return the error for an unknown worker."""
    return NotFound(f"There is no worker {name[:64]!r} with a heartbeat within the last minute.")


async def make_quiet(broker: Broker, worker: WorkerInfo, deadline: Deadline) -> WorkerInfo:
    """Make a worker quiet. It claims no more after the next heartbeat of its replica.

    Raises Full, StoreUnavailable or OutcomeUnknown.
    """
    try:
        word = await deadline.call(broker.replicas.quiet_worker, 0, worker_key(worker.name, worker.key))
    except StoreUnavailable as error:
        raise outcome(error, []) from error
    if word == "too_many":
        raise Full("1,000 workers are quiet already. Stop those that are idle.")
    return msgspec.structs.replace(worker, quiet=True)


def visible_part(worker: WorkerInfo, visible: Callable[[str], bool]) -> WorkerInfo | None:
    """Return a worker as a caller who may see these queues sees it: not at all (None), without its jobs, or whole."""
    queues = [queue for queue in worker.queues if visible(queue)]
    if not queues:
        return None
    if len(queues) == len(worker.queues):
        return worker
    return msgspec.structs.replace(worker, queues=queues, jobs=[])


def _info(worker: WorkerReport, replica: str, seen_ms: int, version: str, quiet: bool, gone: bool) -> WorkerInfo:
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
        app=worker.app,
        stuck_threads=[StuckThread(type, from_ms(since_ms)) for type, since_ms in worker.stuck],
        blocked_types=worker.blocked,
        gone=gone,
    )


def _joined(one: WorkerInfo, other: WorkerInfo) -> WorkerInfo:
    """Merge the reports of two replicas about one pull worker: the later report, with the jobs of both."""
    latest = max(one, other, key=lambda worker: worker.last_seen)
    jobs = list(dict.fromkeys([*one.jobs, *other.jobs]))
    changes: dict[str, Any] = {
        "jobs": jobs[:MAX_JOBS_SHOWN],
        "busy": one.busy + other.busy,
        "queues": list(dict.fromkeys([*one.queues, *other.queues])),
        "started_at": min(one.started_at, other.started_at),
        "quiet": one.quiet or other.quiet,
        "gone": one.gone and other.gone,
    }
    return msgspec.structs.replace(latest, **changes)
