"""Counting, and what Prometheus reads of it."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from queuey.metrics import FAILURES, FAST, MAX_SERIES, OTHER, OUTCOMES, Counter, Histogram, Metrics
from queuey.store.scripts import Scripts


def exposed(metrics: Metrics) -> dict[str, float]:
    """Each sample as Prometheus writes it, `name{label="value"}`, to its value."""
    registry = CollectorRegistry()
    registry.register(metrics)
    samples = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}"] = sample.value
    return samples


def test_counters_that_alerts_read_are_there_from_the_start_as_zero() -> None:
    samples = exposed(Metrics(["mail"]))
    for name in (
        'queuey_jobs_enqueued_total{queue="mail"}',
        'queuey_jobs_finished_total{outcome="dead_letter",queue="mail"}',
        'queuey_leases_lapsed_total{outcome="retry"}',
        'queuey_store_errors_total{code="store-unavailable"}',
        'queuey_schedule_ticks_total{outcome="missed"}',
        "queuey_event_loop_lag_seconds_count{}",
    ):
        assert samples[name] == 0, name


def test_a_type_and_a_script_have_series_from_their_first_use() -> None:
    metrics = Metrics(["mail"])
    Scripts(metrics=metrics)
    assert not [name for name in exposed(metrics) if "type=" in name or "script=" in name or "_wait_" in name]
    metrics.job_ended("mail", "send", "succeeded", due_ms=1000, claimed_ms=1500, ran=0.1, now_ms=2000)
    metrics.script_time.observe(0.002, ("claim",))
    samples = exposed(metrics)
    assert samples['queuey_job_run_seconds_count{type="send"}'] == 1
    assert samples['queuey_store_script_duration_seconds_bucket{le="0.0025",script="claim"}'] == 1
    for kind in FAILURES:
        assert samples[f'queuey_job_attempts_failed_total{{kind="{kind}",type="send"}}'] == 0, (
            "before the first failure"
        )


def test_counts_add_up_by_label() -> None:
    metrics = Metrics(["mail"])
    metrics.finished.add(("mail", "succeeded"))
    metrics.finished.add(("mail", "succeeded"), 4)
    metrics.finished.add(("other", "cancelled"))
    samples = exposed(metrics)
    assert samples['queuey_jobs_finished_total{outcome="succeeded",queue="mail"}'] == 5
    assert samples['queuey_jobs_finished_total{outcome="cancelled",queue="other"}'] == 1


def test_a_bucket_holds_all_that_took_no_longer() -> None:
    metrics = Metrics()
    for seconds in (0.0, 0.001, 0.0011, 99.0):
        metrics.loop_lag.observe(seconds)
    samples = exposed(metrics)
    assert samples['queuey_event_loop_lag_seconds_bucket{le="0.0005"}'] == 1
    assert samples['queuey_event_loop_lag_seconds_bucket{le="0.001"}'] == 2, "a bound belongs to its bucket"
    assert samples['queuey_event_loop_lag_seconds_bucket{le="2.5"}'] == 3
    assert samples['queuey_event_loop_lag_seconds_bucket{le="+Inf"}'] == 4
    assert samples["queuey_event_loop_lag_seconds_count{}"] == 4
    assert samples["queuey_event_loop_lag_seconds_sum{}"] == pytest.approx(99.0021)


def test_series_are_bounded() -> None:
    counts = Counter("c", "help", ["queue"], [("first",)])
    spread = Histogram("s", "help", FAST, ["queue"])
    for number in range(2 * MAX_SERIES):
        counts.add((f"q{number}",))
        spread.observe(1.0, (f"q{number}",))
    counts.add(("first",))
    for each, sample in ((counts, "c_total"), (spread, "s_count")):
        values = {s.labels["queue"]: s.value for s in each.collect().samples if s.name == sample}
        assert len(values) == MAX_SERIES + 1
        assert values[OTHER] >= MAX_SERIES
        assert sum(values.values()) == 2 * MAX_SERIES + (1 if each is counts else 0), "none is lost"


def test_of_queues_for_which_there_is_no_room_the_outcomes_are_told_apart() -> None:
    metrics = Metrics([f"q{number}" for number in range(MAX_SERIES)])
    for outcome in OUTCOMES:
        metrics.job_ended("one more", "t", outcome, due_ms=0, claimed_ms=0, ran=0.1, now_ms=1e12)
    metrics.finished.add(("another", "cancelled"))
    samples = exposed(metrics)
    assert samples['queuey_jobs_finished_total{outcome="succeeded",queue="other"}'] == 1
    assert samples['queuey_jobs_finished_total{outcome="cancelled",queue="other"}'] == 2


def test_names_follow_the_conventions() -> None:
    metrics = Metrics()
    found = [each for each in vars(metrics).values() if isinstance(each, (Counter, Histogram))]
    assert metrics.all() == found, "each is registered"
    for each in found:
        assert each.name.startswith("queuey_")
        assert each.help.endswith(".")
        assert not each.name.endswith("_total"), "the format adds it"
        assert isinstance(each, Counter) or each.name.endswith("_seconds")
        assert not {"id", "job_id", "token"} & set(each.labels)


def test_a_job_that_became_due_at_an_unknown_time_counts_and_has_no_wait() -> None:
    metrics = Metrics(["mail"])
    metrics.job_ended("mail", "t", "succeeded", due_ms=0, claimed_ms=0, ran=0.1, now_ms=1e12)
    metrics.job_ended("mail", "t", "dead_letter", due_ms=1000, claimed_ms=0, ran=0.1, now_ms=3000)
    metrics.job_ended("mail", "t", "succeeded", due_ms=1000, claimed_ms=1500, ran=0.1, now_ms=2000)
    samples = exposed(metrics)
    assert samples['queuey_jobs_finished_total{outcome="succeeded",queue="mail"}'] == 2
    assert samples['queuey_job_wait_seconds_count{queue="mail"}'] == 1
    assert samples['queuey_job_wait_seconds_sum{queue="mail"}'] == 0.5
    assert samples['queuey_job_end_to_end_seconds_count{queue="mail"}'] == 2
    assert samples['queuey_job_end_to_end_seconds_sum{queue="mail"}'] == 3
    assert samples['queuey_job_run_seconds_count{type="t"}'] == 3
