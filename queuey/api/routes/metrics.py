"""GET /metrics: what this replica has counted, and what the store holds, for Prometheus.

It costs two script calls a shard and one more, however many jobs there are. Under `--processes` it tells what each of
the replicas has counted, with the label `process`; the store is asked by the one that is asked.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterable, Iterator
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
from queuey.protocol.models import QueueMetrics
from queuey.services.peers import Peers
from queuey.services.queue_lengths import lengths, stats_of
from queuey.services.workers import list_workers
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline
from queuey.version import __version__

EVENTS: Final = ("enqueued", "claimed", "succeeded", "dead", "cancelled", "replayed")
"""Counters of the store that are told from the start."""
STATES: Final = ("high", "default", "low", "scheduled", "running", "dead_letter", "finished")
"""Where a job can be; the first three are the lanes of those that wait."""

SCRAPE: Final = Operation(
    "scrape",
    "What Prometheus scrapes",
    {200: Media("text/plain; version=0.0.4; charset=utf-8", "Prometheus' text format, or OpenMetrics when asked for")},
    description="What this replica has counted since its start, and what the store holds. It wants the scope read over "
    "all queues. Replicas tell the same of the store: join those by max, and the counts by sum. Under `--processes` "
    "all are asked, and what each has counted has the label `process`.",
    group="Operation",
)


class ReplicaMetrics:
    """What this replica has counted, as text. `number`: its place among the replicas of its parent, 0 without one."""

    def __init__(self, metrics: Metrics, number: int) -> None:
        self._metrics = metrics
        self._number = number

    def text(self, content_type: str) -> str:
        """Return all metrics of this replica, with the label `process` where there are others.

        The label is the place and not the process id: a replica that takes the place of one that died continues its
        counters, as a restarted process would.
        """
        families = [*self._metrics.collect(), *self._gauges()]
        return text_of(labelled(families, "process", str(self._number)) if self._number else families, content_type)

    def _gauges(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("queuey_build_info", "1, by what runs here.", labels=["version", "python"])
        info.add_metric([__version__, platform.python_version()], 1)
        yield info
        metrics = self._metrics
        yield _gauge("queuey_slots", "Jobs that this replica runs at a time.", metrics.slots)
        yield _gauge("queuey_slots_busy", "Jobs that it runs now.", metrics.busy())
        yield _gauge(
            "queuey_reaper_last_success_timestamp_seconds",
            "When this replica last looked for lapsed leases; 0: it has not.",
            metrics.reaped_at,
        )


class MetricsRoutes:
    """The endpoint of Prometheus. `request_deadline`: seconds for which calls to the store are sent again."""

    def __init__(self, broker: Broker, own: ReplicaMetrics, peers: Peers, *, request_deadline: float) -> None:
        self._broker = broker
        self._own = own
        self._peers = peers
        self._request_deadline = request_deadline

    async def show(self, request: Request, caller: Principal) -> Response:
        """Also without the store: then it tells that, and what was counted. For who may read every queue."""
        require(caller, "read", None)
        _, content_type = choose_encoder(request.headers.get("accept", ""))
        of_store, others = await asyncio.gather(self._of_store(), self._peers.ask(content_type))
        processes = (
            _gauge("queuey_processes", "Replicas on this port (--processes).", self._peers.count),
            _gauge("queuey_processes_answering", "Those of which this scrape tells.", 1 + len(others)),
        )
        text = joined([self._own.text(content_type), *others, text_of([*processes, *of_store], content_type)])
        return Response(text, headers={"Cache-Control": "no-store", "Content-Type": content_type})

    async def _of_store(self) -> list[Metric]:
        try:
            return [_gauge("queuey_store_up", "Whether the store answered.", 1), *await self._asked_of_store()]
        except StoreError:
            return [_gauge("queuey_store_up", "Whether the store answered.", 0)]

    async def _asked_of_store(self) -> list[Metric]:
        """Raises StoreError."""
        deadline = Deadline(self._request_deadline)
        stats = await stats_of(self._broker, deadline)
        queues = lengths(stats, lambda queue: True).queues
        names = [queue.name for queue in queues]
        oldest = dict.fromkeys(names, 0.0)
        for shard in range(self._broker.shards.count):
            heads = await deadline.call(lambda shard=shard: self._broker.queues.queue_status(shard, names))  # type: ignore[misc]
            for name, head in zip(names, heads, strict=True):
                oldest[name] = max(oldest[name], head.ready_for_ms / 1000)
        counters: dict[str, int] = {}
        for of_shard in stats:
            for name, total, _ in of_shard.counters:
                counters[name] = counters.get(name, 0) + total
        serving = dict.fromkeys(names, 0)
        for worker in await list_workers(self._broker, deadline):
            for name in () if worker.quiet else worker.queues:
                if name in serving:
                    serving[name] += 1
        return [
            _depths(queues),
            _counters(counters),
            _by_queue("queuey_queue_paused", "1 while a queue is paused.", {q.name: q.paused for q in queues}),
            _by_queue(
                "queuey_queue_oldest_seconds",
                "For how long the job has been ready that has waited longest; 0: none waits.",
                oldest,
            ),
            _by_queue("queuey_queue_workers", "Workers that serve a queue and are not quiet.", serving),
        ]


def _gauge(name: str, help: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help, value=value)


def _by_queue(name: str, help: str, values: dict[str, float] | dict[str, int] | dict[str, bool]) -> Metric:
    family = GaugeMetricFamily(name, help, labels=["queue"])
    for queue, value in values.items():
        family.add_metric([queue], value)
    return family


def _counters(counters: dict[str, int]) -> Metric:
    family = CounterMetricFamily(
        "queuey_store_jobs", "What has happened to jobs, by whomever, as the store counts it.", labels=["event"]
    )
    for event in sorted({*EVENTS, *counters}):
        family.add_metric([event], counters.get(event, 0))
    return family


def _depths(queues: Iterable[QueueMetrics]) -> Metric:
    family = GaugeMetricFamily("queuey_queue_jobs", "Jobs in each place.", labels=["queue", "state"])
    for queue in queues:
        for state in STATES:
            family.add_metric([queue.name, state], getattr(queue, state))
    return family
