"""The texts of several replicas as one."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_plain

from queuey.api.routes.exposition import joined, labelled, text_of
from queuey.metrics import Metrics

FORMATS = [("", read_plain), ("application/openmetrics-text; version=1.0.0", read_openmetrics)]


def counted(queue: str, count: int) -> Metrics:
    metrics = Metrics(["mail"])
    metrics.enqueued.add((queue,), count)
    metrics.loop_lag.observe(count / 1000)
    return metrics


def told(number: int, metrics: Metrics, format: str) -> str:
    return text_of(labelled(metrics.collect(), "process", str(number)), format)


@pytest.mark.parametrize(("format", "read"), FORMATS, ids=["plain", "openmetrics"])
def test_every_replica_is_in_each_family_and_a_family_is_there_once(format: str, read: Any) -> None:
    alone = told(1, counted("mail", 3), format)
    text = joined([alone, told(2, counted("mail", 4), format), told(3, counted("other", 5), format)])
    families = {family.name: family for family in read(text)}
    lines = text.splitlines()
    headings = [line for line in lines if line.startswith("#")]
    assert headings == [line for line in alone.splitlines() if line.startswith("#")]
    enqueued = families["queuey_jobs_enqueued"].samples
    assert {(s.labels["queue"], s.labels["process"]): s.value for s in enqueued} == {
        ("mail", "1"): 3, ("mail", "2"): 4, ("mail", "3"): 0, ("other", "3"): 5,
    }  # fmt: skip
    lag = families["queuey_event_loop_lag_seconds"].samples
    assert {s.labels["process"]: s.value for s in lag if s.name.endswith("_sum")} == {
        "1": 0.003,
        "2": 0.004,
        "3": 0.005,
    }
    assert {s.labels["process"] for s in lag if s.labels.get("le") == "+Inf"} == {"1", "2", "3"}


@pytest.mark.parametrize(("format", "read"), FORMATS, ids=["plain", "openmetrics"])
def test_one_text_stays_as_it_is(format: str, read: Any) -> None:
    text = text_of(counted("mail", 3).collect(), format)
    assert joined([text]) == text
    assert "process" not in text


@pytest.mark.parametrize(("format", "read"), FORMATS, ids=["plain", "openmetrics"])
def test_a_label_that_looks_like_a_heading_is_none(format: str, read: Any) -> None:
    name = '\n# HELP evil {"} \\ # TYPE evil counter\n# EOF\n'
    text = joined([told(number, counted(name, number), format) for number in (1, 2)])
    (enqueued,) = (family for family in read(text) if family.name == "queuey_jobs_enqueued")
    values = {s.labels["process"]: s.value for s in enqueued.samples if s.labels["queue"] == name}
    assert values == {"1": 1, "2": 2}


def test_what_one_replica_alone_knows_is_there_too() -> None:
    newer = "# HELP queuey_new_total Of another version.\n# TYPE queuey_new_total counter\nqueuey_new_total 1.0\n"
    assert joined([told(1, counted("mail", 1), ""), newer]).endswith(newer)
