"""What a replica counts and times, and how Prometheus is told of it.

prometheus_client writes the format. Counting is done here, in plain dicts and lists: its own objects take 2.9 to 6.8 µs
for one job, these 0.8, and the worker 5.5 for all else. A series exists from the start, with 0, where its labels are
known. Label values come from users (queues, types), so there are about MAX_SERIES of a metric, and what comes after
them counts as `other`. No id is ever a label.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

MAX_SERIES: Final = 200
OTHER: Final = "other"
"""The queue, or the type, of all for which there is no room."""
OUTCOMES: Final = ("succeeded", "dead_letter", "cancelled")
FAILURES: Final = ("error", "timeout", "worker_died")
"""Kinds of errors that each type has a series of from the start; the other kinds have one once they occur."""

FAST: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds, for what takes milliseconds: a request, a script, a turn of the event loop."""
SLOW: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
"""Seconds, for what may take hours: a job's wait, its run, its whole life."""

Labels = tuple[str, ...]
Cell = list[float]
"""One count."""
Series = list[float]
"""How many fell into each bucket, the last without a bound, and then their sum."""


def _other(labels: Labels) -> Labels:
    """The first label is what users name; of the others (an outcome, a kind of error) there are few."""
    return (OTHER, *labels[1:])


class Counter:
    """A counter for each combination of label values."""

    def __init__(self, name: str, help: str, labels: Sequence[str] = (), known: Iterable[Labels] = ()) -> None:
        self.name = name
        self.help = help
        self.labels = tuple(labels)
        self._cells: dict[Labels, Cell] = {each: [0] for each in known}
        if not self.labels:
            self._cells[()] = [0]

    def add(self, labels: Labels = (), count: float = 1) -> None:
        self.cell(labels)[0] += count

    def cell(self, labels: Labels) -> Cell:
        """Where the count of these labels is kept."""
        cell = self._cells.get(labels)
        if cell is None:
            if len(self._cells) >= MAX_SERIES:
                labels = _other(labels)
            cell = self._cells.setdefault(labels, [0])
        return cell

    def collect(self) -> Metric:
        family = CounterMetricFamily(self.name, self.help, labels=self.labels)
        for labels, (count,) in self._cells.items():
            family.add_metric(labels, count)
        return family


class Histogram:
    """A histogram for each combination of label values, of seconds."""

    def __init__(
        self, name: str, help: str, bounds: Sequence[float], labels: Sequence[str] = (), known: Iterable[Labels] = ()
    ) -> None:
        self.name = name
        self.help = help
        self.labels = tuple(labels)
        self._bounds = tuple(bounds)
        self._series: dict[Labels, Series] = {each: self._empty() for each in known}
        if not self.labels:
            self._series[()] = self._empty()

    def _empty(self) -> Series:
        return [0] * (len(self._bounds) + 1) + [0.0]

    def observe(self, seconds: float, labels: Labels = ()) -> None:
        series = self.series(labels)
        series[bisect_left(self._bounds, seconds)] += 1
        series[-1] += seconds

    def series(self, labels: Labels) -> Series:
        """Where the buckets of these labels are kept."""
        series = self._series.get(labels)
        if series is None:
            if len(self._series) >= MAX_SERIES:
                labels = _other(labels)
            series = self._series.setdefault(labels, self._empty())
        return series

    def collect(self) -> Metric:
        family = HistogramMetricFamily(self.name, self.help, labels=self.labels)
        for labels, (*counts, total) in self._series.items():
            family.add_metric(labels, list(self._buckets(counts)), total)
        return family

    def _buckets(self, counts: Sequence[float]) -> Iterator[tuple[str, float]]:
        """Prometheus wants each bucket to hold those below it too."""
        sum_so_far = 0.0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), counts, strict=True):
            sum_so_far += count
            yield bound, sum_so_far


class _OfQueue:
    """Where the counts of one queue's jobs are kept: found once, since every job comes by."""

    __slots__ = ("end_to_end", "ends", "wait")

    def __init__(self, metrics: Metrics, queue: str) -> None:
        self.ends = {outcome: metrics.finished.cell((queue, outcome)) for outcome in OUTCOMES}
        self.wait = metrics.wait.series((queue,))
        self.end_to_end = metrics.end_to_end.series((queue,))


class OfRoute:
    """Where the counts of one route are kept."""

    __slots__ = ("_cells", "_labels", "_requests", "_series", "_spread")

    def __init__(self, metrics: Metrics, method: str, route: str) -> None:
        self._labels = (method, route)
        self._requests = metrics.requests
        self._cells: dict[int, Cell] = {}
        """By status, of which there are few."""
        self._series: Series | None = None
        self._spread = metrics.request_time

    def answered(self, status: int, seconds: float) -> None:
        cell = self._cells.get(status)
        if cell is None:
            cell = self._cells[status] = self._requests.cell((*self._labels, str(status)))
        cell[0] += 1
        series = self._series
        if series is None:  # not before, so that a route that nobody asks has no series
            series = self._series = self._spread.series(self._labels)
        series[bisect_left(FAST, seconds)] += 1
        series[-1] += seconds


class Metrics(Collector):
    """All that this replica counts. What is read at the time of asking (gauges) is in api/metrics.py."""

    def __init__(self, queues: Sequence[str] = ("default",), types: Iterable[str] = ()) -> None:
        """Whose series are there from the start: the queues and types of jobs that run here."""
        self.slots = 0
        self.busy: Callable[[], int] = lambda: 0
        """How many of `slots` are in use; both of the worker, if there is one."""
        self.reaped_at = 0.0
        """When this replica last looked for lapsed leases and found the store well; seconds since the epoch."""
        each_queue = [(queue,) for queue in queues]
        outcomes = [(queue, outcome) for queue in queues for outcome in OUTCOMES]
        each_type = [(type,) for type in types]
        failures = [(*type, kind) for type in each_type for kind in FAILURES]
        self.enqueued = Counter("queuey_jobs_enqueued", "Jobs taken into the store.", ["queue"], each_queue)
        self.deduplicated = Counter(
            "queuey_jobs_deduplicated", "Enqueues answered with the job that holds the key.", ["queue"], each_queue
        )
        self.claimed = Counter("queuey_jobs_claimed", "Attempts begun by this replica.")
        self.finished = Counter(
            "queuey_jobs_finished", "Runs of jobs that came to an end here.", ["queue", "outcome"], outcomes
        )
        self.pulled = Counter(
            "queuey_pulled_job_outcomes",
            "What pull workers told this replica of their jobs, by what the store made of it.",
            ["outcome"],
            [("ok",), ("retry",), ("dead_letter",), ("cancelled",), ("lost",)],
        )
        self.failed_attempts = Counter(
            "queuey_job_attempts_failed",
            "Attempts that failed, by job type and kind of error.",
            ["type", "kind"],
            failures,
        )
        self.lost = Counter("queuey_job_results_refused", "Outcomes refused, since the lease was another's by then.")
        self.lapsed = Counter(
            "queuey_leases_lapsed",
            "Leases that ran out and were reaped here, by what became of the job.",
            ["outcome"],
            [("retry",), ("dead",), ("cancelled",), ("orphan",)],
        )
        self.replayed = Counter("queuey_jobs_replayed", "Dead jobs that were run anew by a request to this replica.")
        self.store_errors = Counter(
            "queuey_store_errors",
            "Calls that the store did not answer as it should, by code.",
            ["code"],
            [("store-unavailable",), ("script-failed",), ("full",)],
        )
        self.requests = Counter("queuey_http_requests", "Requests answered.", ["method", "route", "status"])
        self.wait = Histogram(
            "queuey_job_wait_seconds", "From when a job was due until it was claimed.", SLOW, ["queue"], each_queue
        )
        self.run = Histogram(
            "queuey_job_run_seconds", "From the handler's start to its end.", SLOW, ["type"], each_type
        )
        self.end_to_end = Histogram(
            "queuey_job_end_to_end_seconds",
            "From when a job was due until the store had its result.",
            SLOW,
            ["queue"],
            each_queue,
        )
        self.request_time = Histogram(
            "queuey_http_request_duration_seconds", "From a request's head to its reply.", FAST, ["method", "route"]
        )
        self.script_time = Histogram(
            "queuey_store_script_duration_seconds",
            "From a script's call to its reply.",
            FAST,
            ["script"],
        )
        self._of_queues: dict[str, _OfQueue] = {}
        self.loop_lag = Histogram("queuey_event_loop_lag_seconds", "How late a timer of the event loop ran.", FAST)

    def of_route(self, method: str, route: str) -> OfRoute:
        """`route` is the path as it is declared, so that no id is in it."""
        return OfRoute(self, method, route)

    def job_ended(
        self, queue: str, type: str, outcome: str, due_ms: float, claimed_ms: float, ran: float, now_ms: float
    ) -> None:
        """The store has taken what came of a job. One call for all that is counted of it, since every job comes by.

        `outcome` is one of OUTCOMES; times of day in ms, 0 = not known, `ran` in seconds. `claimed_ms` is 0 for a later
        claim: it has waited for something else than a worker.
        """
        of_queue = self._of_queues.get(queue)
        if of_queue is None:
            of_queue = self._meet(queue)
        of_queue.ends[outcome][0] += 1
        if due_ms:
            if claimed_ms:
                _put(of_queue.wait, claimed_ms - due_ms)
            _put(of_queue.end_to_end, now_ms - due_ms)
        self.run.observe(ran, (type,))

    def _meet(self, queue: str) -> _OfQueue:
        if len(self._of_queues) >= MAX_SERIES:
            queue = OTHER
        return self._of_queues.setdefault(queue, _OfQueue(self, queue))

    def all(self) -> list[Counter | Histogram]:
        return [each for each in vars(self).values() if isinstance(each, (Counter, Histogram))]

    def collect(self) -> Iterator[Metric]:
        for each in self.all():
            yield each.collect()


def _put(series: Series, millis: float) -> None:
    """A time into a series of the bounds SLOW. Two machines' clocks may differ: never below 0."""
    seconds = millis / 1000 if millis > 0 else 0.0
    series[bisect_left(SLOW, seconds)] += 1
    series[-1] += seconds
