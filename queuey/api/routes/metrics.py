"""GET /metrics: the counters of this replica and the contents of the store, for Prometheus.

A scrape costs two script calls for each shard and one more, for any number of jobs. Under `--processes` it has the
counters of every replica, with the label `process`. Only the replica that was scraped asks the store.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from queuey.api.http.auth import require
from queuey.api.http.operations import Media, Operation
from queuey.api.routes.exposition import joined, labelled, text_of
from queuey.errors import StoreError
from queuey.metrics import Metrics
from queuey.protocol.credentials import Principal
from queuey.protocol.models import QueueMetrics, WorkerInfo
from queuey.services.claimable import claimable_ms, taken_by
from queuey.services.peers import Peers
from queuey.services.queues import lengths_of, stats_of
from queuey.services.unknown_types import Waiting, asides_of, knowledge_of
from queuey.services.workers import list_workers
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline
from queuey.store.replies import QueueHead, Stats
from queuey.version import __version__

EVENTS: Final = ("enqueued", "claimed", "succeeded", "dead", "cancelled", "replayed", "released_often", "snoozed")
"""The counters of the store that are shown from the start, even while they are 0."""
STATES: Final = ("high", "default", "low", "scheduled", "running", "dead_letter", "finished")
"""The states that jobs are counted in. The first three are the lanes of queued jobs."""

SCRAPE: Final = Operation(
    "scrape",
    "Metrics for Prometheus",
    {200: Media("text/plain; version=0.0.4; charset=utf-8", "Prometheus' text format, or OpenMetrics when asked for")},
    description="The counters of this replica since its start, and the contents of the store. The scope read must be "
    "over all queues. Every replica shows the same store: aggregate its gauges by max, and the counters by sum. Under "
    "`--processes` the answer has the counters of every replica, with the label `process`.",
    group="Operation",
)


class ReplicaMetrics:
    """The counters of this replica, as text. `number`: its number among the replicas of its parent, 0 without one."""

    def __init__(self, metrics: Metrics, number: int) -> None:
        self._metrics = metrics
        self._number = number

    def text(self, content_type: str) -> str:
        """Return the metrics of this replica only.

        With peers each has a label with its number. It is not the process id, so that the counters continue after a
        replica was restarted.
        """
        families = [*self._metrics.collect(), *self._gauges()]
        return text_of(labelled(families, "process", str(self._number)) if self._number else families, content_type)

    def _gauges(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "queuey_build_info", "Always 1. The labels are versions.", labels=["version", "python"]
        )
        info.add_metric([__version__, platform.python_version()], 1)
        yield info
        metrics = self._metrics
        yield _gauge("queuey_slots", "Jobs that this replica can run at once.", metrics.slots)
        yield _gauge("queuey_slots_busy", "Jobs that this replica runs now.", metrics.busy())
        yield _gauge("queuey_worker_threads", "Threads for handlers of this replica.", metrics.threads)
        yield _gauge(
            "queuey_worker_threads_stuck",
            "Threads of this replica whose handlers do not return, past the job's timeout and the grace.",
            metrics.threads_stuck(),
        )
        yield _gauge(
            "queuey_reaper_last_success_timestamp_seconds",
            "When this replica last looked for expired leases on every shard. 0: not yet.",
            min(metrics.reaped.values(), default=0.0),
        )
        yield _gauge(
            "queuey_schedule_late_seconds",
            "For how long the oldest tick of a schedule has been due that this replica knows of.",
            max((late() for late in metrics.ticks_late.values()), default=0.0),
        )


class MetricsRoutes:
    """Answers GET /metrics. `request_deadline`: the seconds for each call to the store. `unknown_type_ttl`: seconds."""

    def __init__(
        self,
        broker: Broker,
        own: ReplicaMetrics,
        peers: Peers,
        *,
        request_deadline: float,
        unknown_type_ttl: float,
    ) -> None:
        self._broker = broker
        self._own = own
        self._peers = peers
        self._request_deadline = request_deadline
        self._unknown_type_ttl = unknown_type_ttl
        self._counters: dict[int, Stats] = {}
        """The last statistics of each shard. A counter that went down while one is silent would look like a restart."""

    async def show(self, request: Request, caller: Principal) -> Response:
        """Answer a caller that may read every queue. While the store is down, the answer has only the counters."""
        require(caller, "read", None)
        _, content_type = choose_encoder(request.headers.get("accept", ""))
        of_store, others = await asyncio.gather(self._store_metrics(), self._peers.ask(content_type))
        processes = (
            _gauge("queuey_processes", "Replicas on this port (--processes).", self._peers.count),
            _gauge("queuey_processes_answering", "Replicas that are in this scrape.", 1 + len(others)),
        )
        text = joined([self._own.text(content_type), *others, text_of([*processes, *of_store], content_type)])
        return Response(text, headers={"Cache-Control": "no-store", "Content-Type": content_type})

    async def _store_metrics(self) -> list[Metric]:
        try:
            return [_gauge("queuey_store_up", "Whether the store answered.", 1), *await self._read_store()]
        except StoreError:
            shards = _shards_up(self._broker.shards.count, ())
            return [_gauge("queuey_store_up", "Whether the store answered.", 0), shards]

    async def _read_store(self) -> list[Metric]:
        """Return the metrics of the store, as far as its shards answer. Raises StoreError if none does."""
        deadline, count = Deadline(self._request_deadline), self._broker.shards.count
        found = await stats_of(self._broker, deadline)
        stats = found.values()
        self._counters |= found
        workers = await list_workers(self._broker, deadline) if 0 in found else []
        takes = taken_by(workers)
        queues = lengths_of(stats, lambda queue: True, takes).queues
        names = [queue.name for queue in queues]
        oldest, claimable_age = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
        heads_of: dict[str, list[QueueHead]] = {name: [] for name in names}
        for shard in found:
            heads = await deadline.call(self._broker.queues.queue_status, shard, names)
            for name, head in zip(names, heads, strict=True):
                heads_of[name].append(head)
                oldest[name] = max(oldest[name], head.ready_for_ms / 1000)
                claimable_age[name] = max(claimable_age[name], claimable_ms(name, head, takes) / 1000)
        return [
            _shards_up(count, found),
            _depths(queues),
            *([_counters(self._counters.values())] if len(self._counters) == count else []),
            _by_queue("queuey_queue_paused", "1 while a queue is paused.", {q.name: q.paused for q in queues}),
            _by_queue(
                "queuey_queue_oldest_seconds",
                "How long the job that has been ready longest has been waiting. 0: no job waits.",
                oldest,
            ),
            *_claimable(queues, claimable_age),
            _waiting_for_handler(asides_of(stats, heads_of), workers, self._unknown_type_ttl),
            *([_serving(names, workers)] if 0 in found else []),
        ]


def _gauge(name: str, help: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help, value=value)


def _shards_up(count: int, up: Collection[int]) -> Metric:
    family = GaugeMetricFamily("queuey_store_shard_up", "Whether a shard of the store answered.", labels=["shard"])
    for shard in range(count):
        family.add_metric([str(shard)], shard in up)
    return family


def _by_queue(name: str, help: str, values: dict[str, float] | dict[str, int] | dict[str, bool]) -> Metric:
    family = GaugeMetricFamily(name, help, labels=["queue"])
    for queue, value in values.items():
        family.add_metric([queue], value)
    return family


def _claimable(queues: Iterable[QueueMetrics], ages: dict[str, float]) -> Iterator[Metric]:
    yield _by_queue(
        "queuey_queue_claimable_jobs",
        "Queued jobs, without those that wait for a type which no worker of the queue takes.",
        {queue.name: queue.claimable for queue in queues},
    )
    yield _by_queue(
        "queuey_queue_claimable_oldest_seconds",
        "How long the first of the claimable jobs has been ready. 0: no job is claimable.",
        ages,
    )


def _waiting_for_handler(asides: Mapping[str, Waiting], workers: Sequence[WorkerInfo], ttl: float) -> Metric:
    counts = {
        queue: sum(waiting.for_handler(knowledge_of(workers, queue), ttl).values()) for queue, waiting in asides.items()
    }
    help = "Queued jobs of types that no worker of the queue knows."
    return _by_queue("queuey_queue_waiting_for_handler_jobs", help, counts)


def _serving(queues: Iterable[str], workers: Iterable[WorkerInfo]) -> Metric:
    counts = dict.fromkeys(queues, 0)
    for worker in workers:
        for name in worker.queues if worker.claims else ():
            if name in counts:
                counts[name] += 1
    return _by_queue("queuey_queue_workers", "Workers that serve a queue, and are neither quiet nor gone.", counts)


def _counters(stats: Iterable[Stats]) -> Metric:
    counters: dict[str, int] = {}
    for of_shard in stats:
        for name, total, _ in of_shard.counters:
            counters[name] = counters.get(name, 0) + total
    family = CounterMetricFamily(
        "queuey_store_jobs", "Moves of jobs by all replicas and workers, as the store counts them.", labels=["event"]
    )
    for event in sorted({*EVENTS, *counters}):
        family.add_metric([event], counters.get(event, 0))
    return family


def _depths(queues: Iterable[QueueMetrics]) -> Metric:
    family = GaugeMetricFamily("queuey_queue_jobs", "Jobs in each state.", labels=["queue", "state"])
    for queue in queues:
        for state in STATES:
            family.add_metric([queue.name, state], getattr(queue, state))
    return family
