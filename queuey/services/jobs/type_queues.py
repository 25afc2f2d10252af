"""The queue of a job whose sender names none: that of its type's handler, if the live workers agree on it.

The live workers report their types, and the queues of these, with their heartbeats. Each replica keeps what they say
(services/maintenance/type_watch.py), so that no job costs a call to the store.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET, Struct, field

from queuey import log
from queuey.protocol.models import EnqueueReply
from queuey.protocol.records import DEFAULT_QUEUE
from queuey.services.jobs.plain import MAX_KEPT, are_names
from queuey.services.workers import MAX_TYPES as MAX_REPORTED_TYPES
from queuey.services.workers import WorkerReport

MAX_TYPES: Final = 20_000
"""The maximum number of types that are remembered. If live workers know more, no type counts as unknown."""
MAX_SAID: Final = 4
"""The maximum number of queues that are remembered for one type."""
MAX_LOGGED: Final = 100
"""The maximum number of types in the log within LOG_INTERVAL."""
LOG_INTERVAL: Final = 60.0
"""The seconds between two log lines about one type."""

logger = log.get(__name__)


class Destination(NamedTuple):
    """The queue of a new job, and why it is uncertain. The reply and the log show the warning."""

    queue: str
    warning: str | None = None


def no_queue(job_type: str) -> None:
    """Return None: nothing is known of any type."""


class OwnHandlers(NamedTuple):
    """The handlers of this replica. `queue_of` returns the queue of a type, or None.

    `run_here`: whether this replica is one of the live workers. Otherwise its handlers count only for types that no
    live worker knows. `name_types`: whether they say which types exist, as those of the built-in App do not.
    """

    queue_of: Callable[[str], str | None] = no_queue
    run_here: bool = False
    name_types: bool = False


NO_HANDLERS: Final = OwnHandlers()


class Known(Struct):
    """A type as live workers report it: its queues, and whether one that names none takes it from the default queue."""

    queues: set[str] = field(default_factory=set)
    is_in_default: bool = False


class PlainQueues(dict[str, str]):
    """The queue of each type whose queue is certain, and '' for all others. A queue is found once and kept."""

    def __init__(self, of: Callable[[str], Destination]) -> None:
        self._of = of

    def __missing__(self, job_type: str) -> str:
        if not are_names(job_type, DEFAULT_QUEUE):
            return ""
        queue, warning = self._of(job_type)
        if len(self) >= MAX_KEPT:
            self.clear()
        self[job_type] = queue if warning is None else ""
        return self[job_type]


class TypeQueues:
    """The queues of the types that the live workers know.

    `demo_types`: those of the built-in App. A worker that knows only these does not say which types exist.
    """

    def __init__(self, own: OwnHandlers = NO_HANDLERS, demo_types: Collection[str] = ()) -> None:
        self._own = own
        self._demo_types = frozenset(demo_types)
        self._known: dict[str, Known] = {}
        self._is_named = own.run_here and own.name_types
        """Whether a live worker says which types exist."""
        self._is_open = False
        """Whether a live worker takes jobs of every type from the default queue, or may know types that are not known
        here."""
        self._logged: dict[str, float] = {}
        self.plain: Final = PlainQueues(self.of)

    def of(self, job_type: str) -> Destination:
        """Return where a job of this type goes if its sender names no queue."""
        queues, known = self._queues_of(job_type), self._known.get(job_type)
        if len(queues) == 1:
            return Destination(next(iter(queues)))
        if queues:
            reason, advice = f"The live workers differ on the queue of the type {job_type}", "Name its queue."
        elif known is not None and not known.is_in_default:
            reason, advice = f"No live worker names the queue of the type {job_type}", "Name its queue."
        elif known is None and self._is_named and not self._is_open:
            reason, advice = f"No live worker knows the type {job_type}", "Check the type, or name its queue."
        else:
            return Destination(DEFAULT_QUEUE)
        return Destination(DEFAULT_QUEUE, f"{reason}, so the job went to the queue {DEFAULT_QUEUE}. {advice}")

    def _queues_of(self, job_type: str) -> set[str]:
        """Return the queues that the live workers name for a type, or else the one of the handler here."""
        known, own = self._known.get(job_type), self._own.queue_of(job_type)
        queues = known.queues if known else set()
        return queues | {own} if own is not None and (self._own.run_here or not queues) else queues

    def learn(self, reports: Iterable[WorkerReport]) -> None:
        """Replace what is known by the reports of all live workers."""
        known: dict[str, Known] = {}
        is_named, is_open = self._own.run_here and self._own.name_types, False
        for report in reports:
            is_open = is_open or _takes_all(report) or len(report.types) >= MAX_REPORTED_TYPES
            is_named = is_named or not self._demo_types.issuperset(report.types)
            for job_type, queue in _said(report):
                entry = known.get(job_type)
                if entry is None:
                    if len(known) >= MAX_TYPES:
                        is_open = True
                        continue
                    entry = known[job_type] = Known()
                if queue is None:
                    entry.is_in_default = entry.is_in_default or DEFAULT_QUEUE in report.queues
                elif len(entry.queues) < MAX_SAID:
                    entry.queues.add(queue)
        self._known, self._is_named, self._is_open = known, is_named, is_open
        self.refresh()

    def refresh(self) -> None:
        """Find each queue again, since a handler may have been registered here."""
        self.plain.clear()

    def warn(self, reply: EnqueueReply, job_type: str, warning: str | None) -> None:
        """Add a warning, if there is one, to the reply to a new job, and log it. A duplicate is where it was before."""
        if warning is not None and not reply.deduplicated:
            reply.warnings = [warning]
            self._log(job_type, warning)

    def _log(self, job_type: str, warning: str) -> None:
        """Log a warning about a type, at most once within LOG_INTERVAL."""
        now = time.monotonic()
        if len(self._logged) >= MAX_LOGGED:
            self._logged = {other: at for other, at in self._logged.items() if at > now - LOG_INTERVAL}
        if len(self._logged) >= MAX_LOGGED or self._logged.get(job_type, -LOG_INTERVAL) > now - LOG_INTERVAL:
            return
        self._logged[job_type] = now
        said = sorted(self._queues_of(job_type))
        logger.warning("queue_uncertain", type=job_type, queue=DEFAULT_QUEUE, queues=said, reason=warning)


def queues_by_type(types: Iterable[str], queue_of: Callable[[str], str | None]) -> dict[str, list[int]]:
    """Return the places of those types whose queue is not the default one, by queue, for a WorkerReport."""
    places: dict[str, list[int]] = {}
    for place, job_type in enumerate(types):
        queue = queue_of(job_type) or DEFAULT_QUEUE
        if queue != DEFAULT_QUEUE:
            places.setdefault(queue, []).append(place)
    return places


def types_mark(reports: Iterable[WorkerReport]) -> str:
    """Return a digest of what these workers say of types. Replicas with the same digest say the same."""
    says = set()
    for report in reports:
        if report.types:
            queues: list[object] = [] if report.type_queues is UNSET else [report.type_queues]
            if report.type_queues is UNSET or report.kind == "pull":
                queues.append(report.queues)
            says.add(msgspec.json.encode([report.kind, report.types, *queues]))
        elif _takes_all(report):
            says.add(b"all")
    return hashlib.sha256(b"\n".join(sorted(says))).hexdigest()[:16]


def _said(report: WorkerReport) -> Iterator[tuple[str, str | None]]:
    """Yield each type of a worker and its queue. None: the worker does not name it.

    A pull worker that does not name them knows its types in its queue, if it asks for one only. A replica whose report
    has no queues of types is of an older version.
    """
    types = report.types
    if report.type_queues is UNSET:
        one = report.queues[0] if report.kind == "pull" and len(report.queues) == 1 else None
        yield from ((job_type, one) for job_type in types)
        return
    queue_of = {place: queue for queue, places in report.type_queues.items() for place in places}
    otherwise = None if report.kind == "pull" else DEFAULT_QUEUE
    yield from ((job_type, queue_of.get(place, otherwise)) for place, job_type in enumerate(types))


def _takes_all(report: WorkerReport) -> bool:
    return report.kind == "pull" and not (report.types or report.quiet) and DEFAULT_QUEUE in report.queues
