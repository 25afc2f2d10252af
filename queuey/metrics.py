"""The counters and histograms of a replica, and their exposition to Prometheus.

prometheus_client writes the format. Counting is done here, in plain dicts and lists: its own objects take 2.9 to 6.8 µs
for one job, these 0.8, and the worker 5.5 for all else. The counters that alerts read exist from the start, with 0.
What each type, route or script has of its own exists from its first use, since most are not used for long. Label
values come from users (queues, types), so a metric has about MAX_SERIES of them; further ones count as `other`. No id
is ever a label.
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
"""The label value for the queues, or types, above MAX_SERIES."""
OUTCOMES: Final = ("succeeded", "dead_letter", "cancelled")
FAILURES: Final = ("error", "timeout", "worker_died")
"""Kinds of errors for which a type has a series once a job of it has ended; other kinds have one once they occur."""

SCRIPT: Final = (0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 1.0)
"""Buckets in seconds for scripts. They are few, since each of 40 scripts has them."""
FAST: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Buckets in seconds, for what takes milliseconds: a request, a turn of the event loop."""
SLOW: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
"""Buckets in seconds, for what may take hours: a job's wait, its run, its whole life."""

Labels = tuple[str, ...]
Cell = list[float]
"""One count."""
Series = list[float]
"""The count of each bucket, the last one without a bound, and then the sum of the values."""


def _other(labels: Labels) -> Labels:
    """Replace the first label, whose values come from users; the others, an outcome for example, have few."""
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
        """Return the cell that counts these labels."""
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
    """A histogram of seconds for each combination of label values."""

    def __init__(self, name: str, help: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> None:
        self.name = name
        self.help = help
        self.labels = tuple(labels)
        self._bounds = tuple(bounds)
        self._series: dict[Labels, Series] = {}
        if not self.labels:
            self._series[()] = self._empty()

    def _empty(self) -> Series:
        return [0] * (len(self._bounds) + 1) + [0.0]

    def observe(self, seconds: float, labels: Labels = ()) -> None:
        series = self.series(labels)
        series[bisect_left(self._bounds, seconds)] += 1
        series[-1] += seconds

    def series(self, labels: Labels) -> Series:
        """Return the buckets of these labels."""
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
        """Yield the buckets as Prometheus wants them: each includes those below it."""
        sum_so_far = 0.0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), counts, strict=True):
            sum_so_far += count
            yield bound, sum_so_far


class QueueMetrics:
    """The cells and series of one queue's jobs, looked up once, since every job needs them."""

    __slots__ = ("end_to_end", "ends", "wait")

    def __init__(self, metrics: Metrics, queue: str) -> None:
        self.ends = {outcome: metrics.finished.cell((queue, outcome)) for outcome in OUTCOMES}
        self.wait = metrics.wait.series((queue,))
        self.end_to_end = metrics.end_to_end.series((queue,))


class RouteMetrics:
    """The cells and series of one route, looked up once."""

    __slots__ = ("_cells", "_labels", "_requests", "_series", "_spread")

    def __init__(self, metrics: Metrics, method: str, route: str) -> None:
        self._labels = (method, route)
        self._requests = metrics.requests
        self._cells: dict[int, Cell] = {}
        self._series: Series | None = None
        self._spread = metrics.request_time

    def answered(self, status: int, seconds: float) -> None:
        cell = self._cells.get(status)
        if cell is None:
            cell = self._cells[status] = self._requests.cell((*self._labels, str(status)))
        cell[0] += 1
        series = self._series
        if series is None:  # not earlier, so that a route without requests has no series
            series = self._series = self._spread.series(self._labels)
        series[bisect_left(FAST, seconds)] += 1
        series[-1] += seconds


class Metrics(Collector):
    """The counters and histograms of this replica. The gauges, which are read when they are asked for, are in
    api/routes/metrics.py."""

    def __init__(self, queues: Sequence[str] = ("default",)) -> None:
        """`queues`: of the jobs that run here. Their counters exist from the start."""
        self.slots = 0
        self.busy: Callable[[], int] = lambda: 0
        """Number of `slots` in use; the worker sets both, if there is one."""
        self.threads = 0
        self.threads_stuck: Callable[[], int] = lambda: 0
        """Number of `threads` whose handlers do not return; the worker sets both, if it has threads."""
        self.reaped: dict[int, float] = {}
        """When this replica last looked for expired leases on each shard that answered; seconds since the epoch."""
        self.ticks_late: dict[int, Callable[[], float]] = {}
        """The seconds for which the oldest due tick of a schedule has waited, by shard; the firing loops set them."""
        self._all: list[Counter | Histogram] = []
        self._of_queues: dict[str, QueueMetrics] = {}
        self._runs: dict[str, Series] = {}
        """The histogram `run` by type, looked up once."""
        by_queue = [(queue,) for queue in queues]
        self._count_jobs(by_queue)
        self._count_attempts()
        self._count_ticks()
        self._count_calls()
        self._time_jobs()
        self._time_process()

    def _count_jobs(self, by_queue: Sequence[Labels]) -> None:
        outcomes = [(*queue, outcome) for queue in by_queue for outcome in OUTCOMES]
        self.enqueued = self._counter("queuey_jobs_enqueued", "Jobs taken into the store.", ["queue"], by_queue)
        self.deduplicated = self._counter(
            "queuey_jobs_deduplicated", "Enqueues answered with the job that holds the key.", ["queue"], by_queue
        )
        self.claimed = self._counter("queuey_jobs_claimed", "Attempts begun by this replica.")
        self.finished = self._counter(
            "queuey_jobs_finished", "Runs of jobs that came to an end here.", ["queue", "outcome"], outcomes
        )
        self.pulled = self._counter(
            "queuey_pulled_job_outcomes",
            "Outcomes that pull workers reported to this replica, by the store's answer.",
            ["outcome"],
            [("ok",), ("retry",), ("snoozed",), ("dead_letter",), ("cancelled",), ("lost",)],
        )

    def _count_attempts(self) -> None:
        self.failed_attempts = self._counter(
            "queuey_job_attempts_failed", "Attempts that failed, by job type and kind of error.", ["type", "kind"]
        )
        self.lost = self._counter(
            "queuey_job_results_refused", "Outcomes refused because the worker no longer held the lease."
        )
        self.lapsed = self._counter(
            "queuey_leases_lapsed",
            "Leases that expired and were reaped here, by the outcome for the job.",
            ["outcome"],
            [("retry",), ("dead",), ("cancelled",), ("orphan",)],
        )
        self.replayed = self._counter(
            "queuey_jobs_replayed", "Dead jobs that were replayed by a request to this replica."
        )

    def _count_ticks(self) -> None:
        self.schedule_ticks = self._counter(
            "queuey_schedule_ticks",
            "Ticks of schedules that were decided here, by outcome. Missed ones are counted up to 100 a schedule.",
            ["outcome"],
            [("fired",), ("skipped",), ("pending",), ("missed",), ("refused",), ("too_many_queues",)],
        )
        self.schedules_unreadable = self._counter(
            "queuey_schedules_unreadable", "Schedules that were due, and that this replica could not read."
        )
        self.schedule_lag = self._histogram(
            "queuey_schedule_lag_seconds", "From when a tick was due until its job was enqueued.", SLOW
        )

    def _count_calls(self) -> None:
        self.store_errors = self._counter(
            "queuey_store_errors",
            "Calls that the store did not answer as it should, by code.",
            ["code"],
            [("store-unavailable",), ("script-failed",), ("full",)],
        )
        self.requests = self._counter("queuey_http_requests", "Requests answered.", ["method", "route", "status"])
        self.direct = self._counter("queuey_http_direct_requests", "Requests to enqueue that took the direct path.")

    def _time_jobs(self) -> None:
        self.wait = self._histogram(
            "queuey_job_wait_seconds", "From when a job was due until it was claimed.", SLOW, ["queue"]
        )
        self.run = self._histogram("queuey_job_run_seconds", "From the handler's start to its end.", SLOW, ["type"])
        self.end_to_end = self._histogram(
            "queuey_job_end_to_end_seconds", "From when a job was due until the store had its result.", SLOW, ["queue"]
        )

    def _time_process(self) -> None:
        self.request_time = self._histogram(
            "queuey_http_request_duration_seconds", "From a request's head to its reply.", FAST, ["method", "route"]
        )
        self.script_time = self._histogram(
            "queuey_store_script_duration_seconds", "From a script's call to its reply.", SCRIPT, ["script"]
        )
        self.loop_lag = self._histogram(
            "queuey_event_loop_lag_seconds", "How late a timer of the event loop ran.", FAST
        )
        self.loop_blocked = self._counter(
            "queuey_event_loop_blocked_seconds",
            "Time in which something blocked the event loop, each time longer than blocked_after. The log names it.",
            ["loop"],
            [("server",)],
        )

    def _counter(self, name: str, help: str, labels: Sequence[str] = (), known: Iterable[Labels] = ()) -> Counter:
        counter = Counter(name, help, labels, known)
        self._all.append(counter)
        return counter

    def _histogram(self, name: str, help: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
        histogram = Histogram(name, help, bounds, labels)
        self._all.append(histogram)
        return histogram

    def of_route(self, method: str, route: str) -> RouteMetrics:
        """Return the counts of one route. `route` is the path as it is declared, so that it holds no id."""
        return RouteMetrics(self, method, route)

    def job_ended(
        self, queue: str, type: str, outcome: str, due_ms: float, claimed_ms: float, ran: float, now_ms: float
    ) -> None:
        """Count a job whose outcome the store has taken: one call for all its metrics, since every job needs it.

        `outcome` is one of OUTCOMES. Times of day are in ms, 0 for unknown; `ran` is in seconds. `claimed_ms` is 0 for
        a later claim: the job waited for something else than a worker.
        """
        of_queue = self._of_queues.get(queue)
        if of_queue is None:
            of_queue = self._queue_metrics(queue)
        of_queue.ends[outcome][0] += 1
        if due_ms:
            if claimed_ms:
                _put(of_queue.wait, claimed_ms - due_ms)
            _put(of_queue.end_to_end, now_ms - due_ms)
        runs = self._runs.get(type)
        if runs is None:
            runs = self._runs_of(type)
        runs[bisect_left(SLOW, ran)] += 1
        runs[-1] += ran

    def _queue_metrics(self, queue: str) -> QueueMetrics:
        if len(self._of_queues) >= MAX_SERIES:
            queue = OTHER
        return self._of_queues.setdefault(queue, QueueMetrics(self, queue))

    def _runs_of(self, type: str) -> Series:
        if len(self._runs) >= MAX_SERIES:
            type = OTHER
        for kind in FAILURES:
            self.failed_attempts.cell((type, kind))
        return self._runs.setdefault(type, self.run.series((type,)))

    def all(self) -> list[Counter | Histogram]:
        """Return every counter and histogram, in the order of the exposition."""
        return list(self._all)

    def collect(self) -> Iterator[Metric]:
        for each in self._all:
            yield each.collect()


def _put(series: Series, millis: float) -> None:
    """Add a time to a series with the bounds SLOW. The clocks of two machines may differ: never add less than 0."""
    seconds = millis / 1000 if millis > 0 else 0.0
    series[bisect_left(SLOW, seconds)] += 1
    series[-1] += seconds
