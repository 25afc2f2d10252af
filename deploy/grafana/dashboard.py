"""Write the dashboard: python deploy/grafana/dashboard.py > deploy/grafana/queuey.json (`make dashboard`).

Depth, age and workers come from the store, and every replica reports the same values: they are joined by max. The
counters of replicas are joined by sum. With `--processes N`, each process has its own series with the label `process`.
"""

from __future__ import annotations

import sys

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import GraphDrawStyle, StackingMode, VisibilityMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

DATA_SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
QUEUES = 'queue=~"$queue"'
HEIGHT, THIRD, HALF = 8, 8, 12


def query(expression: str, legend: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expression).legend_format(legend)


def graph(title: str, unit: str, *queries: tuple[str, str], span: int = THIRD, stacked: bool = False, help: str = ""):
    panel = (
        timeseries.Panel()
        .title(title)
        .description(help)
        .unit(unit)
        .min(0)
        .span(span)
        .height(HEIGHT)
        .datasource(DATA_SOURCE)
        .draw_style(GraphDrawStyle.LINE)
        .show_points(VisibilityMode.NEVER)
        .fill_opacity(30 if stacked else 5)
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    for expression, legend in queries:
        panel = panel.with_target(query(expression, legend))
    return panel


def number(title: str, unit: str, expression: str, help: str = ""):
    return (
        stat.Panel()
        .title(title)
        .description(help)
        .unit(unit)
        .span(4)
        .height(4)
        .datasource(DATA_SOURCE)
        .with_target(query(expression, ""))
    )


def quantiles(metric: str, by: str, selector: str = "") -> list[tuple[str, str]]:
    """Return the median and the 99th percentile of a histogram, with a line for each value of the labels in `by`."""
    labels = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return [
        (
            f"histogram_quantile({share}, sum by (le, {by}) (rate({metric}_bucket{{{selector}}}[$__rate_interval])))",
            f"{labels} p{share * 100:.0f}",
        )
        for share in (0.5, 0.99)
    ]


def depth(states: str) -> str:
    return f'max by (queue, state) (queuey_queue_jobs{{{QUEUES}, state=~"{states}"}})'


def build() -> dashboard.Dashboard:
    rate = "[$__rate_interval]"
    board = (
        dashboard.Dashboard("Queuey")
        .uid("queuey")
        .tags(["queuey"])
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .with_variable(dashboard.DatasourceVariable("source").type("prometheus").label("Source"))
        .with_variable(
            dashboard.QueryVariable("queue")
            .label("Queue")
            .datasource(DATA_SOURCE)
            .query("label_values(queuey_queue_jobs, queue)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".*")  # includes `other`, which is not a queue of the store
        )
    )
    waiting = f"sum({depth('high|default|low')})"
    return (
        board.with_row(dashboard.Row("Now"))
        .with_panel(number("Waiting", "short", waiting))
        .with_panel(number("Oldest", "s", f"max(queuey_queue_claimable_oldest_seconds{{{QUEUES}}})"))
        .with_panel(number("Running", "short", f"sum({depth('running')})"))
        .with_panel(number("Dead letters", "short", f"sum({depth('dead_letter')})"))
        .with_panel(number("Replicas", "short", "count(queuey_build_info)"))
        .with_panel(number("Slots in use", "percentunit", "sum(queuey_slots_busy) / sum(queuey_slots)"))
        .with_row(dashboard.Row("Jobs"))
        .with_panel(
            graph(
                "Enqueued and finished",
                "ops",
                (f"sum(rate(queuey_jobs_enqueued_total{{{QUEUES}}}{rate}))", "enqueued"),
                (f"sum by (outcome) (rate(queuey_jobs_finished_total{{{QUEUES}}}{rate}))", "{{outcome}}"),
                (f"sum(rate(queuey_jobs_deduplicated_total{{{QUEUES}}}{rate}))", "deduplicated"),
                (f"sum(rate(queuey_jobs_replayed_total{rate}))", "replayed"),
                help="Jobs of in-process workers. Replicas count the outcomes that pull workers report to them.",
            )
        )
        .with_panel(graph("Jobs by status", "short", (depth(".*"), "{{queue}} {{state}}"), stacked=True))
        .with_panel(
            graph(
                "Oldest waiting",
                "s",
                (f"max by (queue) (queuey_queue_oldest_seconds{{{QUEUES}}})", "{{queue}}"),
                (f"max by (queue) (queuey_queue_claimable_oldest_seconds{{{QUEUES}}})", "{{queue}} claimable"),
                help="Jobs of a type that no worker of the queue takes wait, but are not claimable.",
            )
        )
        .with_panel(graph("Wait for a worker", "s", *quantiles("queuey_job_wait_seconds", "queue", QUEUES)))
        .with_panel(graph("Run", "s", *quantiles("queuey_job_run_seconds", "type")))
        .with_panel(graph("End to end", "s", *quantiles("queuey_job_end_to_end_seconds", "queue", QUEUES)))
        .with_row(dashboard.Row("Schedules"))
        .with_panel(
            graph(
                "Ticks",
                "ops",
                (f"sum by (outcome) (rate(queuey_schedule_ticks_total{rate}))", "{{outcome}}"),
                help="Ticks that replicas have decided, by outcome.",
            )
        )
        .with_panel(
            graph(
                "From a tick to its job",
                "s",
                *(
                    (
                        f"histogram_quantile({share}, sum by (le) (rate(queuey_schedule_lag_seconds_bucket{rate})))",
                        f"p{share * 100:.0f}",
                    )
                    for share in (0.5, 0.99)
                ),
            )
        )
        .with_panel(
            graph(
                "Late ticks",
                "s",
                ("max(queuey_schedule_late_seconds)", "oldest"),
                (f"sum(increase(queuey_schedules_unreadable_total{rate}))", "schedules that cannot be read"),
                help="The time for which the oldest tick has been due.",
            )
        )
        .with_row(dashboard.Row("Errors"))
        .with_panel(
            graph(
                "Failed attempts",
                "ops",
                (f"sum by (type, kind) (rate(queuey_job_attempts_failed_total{rate}))", "{{type}} {{kind}}"),
            )
        )
        .with_panel(
            graph(
                "Leases",
                "ops",
                (f"sum by (outcome) (rate(queuey_leases_lapsed_total{rate}))", "expired: {{outcome}}"),
                (f"sum(rate(queuey_job_results_refused_total{rate}))", "results refused"),
            )
        )
        .with_panel(
            graph("Store errors", "ops", (f"sum by (code) (rate(queuey_store_errors_total{rate}))", "{{code}}"))
        )
        .with_row(dashboard.Row("Replicas"))
        .with_panel(
            graph(
                "Requests",
                "reqps",
                (f"sum by (route, status) (rate(queuey_http_requests_total{rate}))", "{{route}} {{status}}"),
                span=HALF,
            )
        )
        .with_panel(
            graph("Request duration", "s", *quantiles("queuey_http_request_duration_seconds", "route"), span=HALF)
        )
        .with_panel(graph("Script duration", "s", *quantiles("queuey_store_script_duration_seconds", "script")))
        .with_panel(
            graph(
                "Event loop lag",
                "s",
                *quantiles("queuey_event_loop_lag_seconds", "instance, process"),
                (
                    f"sum by (instance, process, loop) (increase(queuey_event_loop_blocked_seconds_total{rate}))",
                    "{{instance}} {{process}} {{loop}} blocked",
                ),
                help="Blocked: the time in which handlers blocked it, each time longer than blocked_after.",
            )
        )
        .with_panel(
            graph(
                "Slots",
                "short",
                ("sum by (instance) (queuey_slots)", "{{instance}} slots"),
                ("sum by (instance) (queuey_slots_busy)", "{{instance}} busy"),
                (f"sum(rate(queuey_jobs_claimed_total{rate}))", "claims a second"),
            )
        )
        .with_panel(
            graph(
                "Reaper last ran", "s", ("time() - max(queuey_reaper_last_success_timestamp_seconds)", "ago"), span=HALF
            )
        )
        .with_panel(
            graph("Workers", "short", (f"max by (queue) (queuey_queue_workers{{{QUEUES}}})", "{{queue}}"), span=HALF)
        )
    )


if __name__ == "__main__":
    sys.stdout.write(JSONEncoder(sort_keys=True, indent=2).encode(build().build()) + "\n")
