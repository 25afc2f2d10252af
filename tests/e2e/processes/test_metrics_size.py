"""GET /metrics of a server that has done nothing is small. All that alerts and the dashboard read is there later."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import QUICK
from tests.e2e.processes import many_types
from tests.support.serving import ROOT, Serving, eventually

LINES: Final = 600
FAILURES: Final = {"status": "5.."}
"""What an alert selects, and a server that works does not have."""
_SELECTOR: Final = re.compile(r"\b(queuey_\w+)(?:\{([^}]*)\})?")
_MATCHER: Final = re.compile(r'(\w+)\s*(=~|=)\s*"([^"]*)"')

Labels = Mapping[str, str]


class Scrapes(NamedTuple):
    """The answer of a server that has done nothing, and of the same one once jobs have ended."""

    idle: str
    used: str


@pytest.fixture(scope="module")
def scrapes() -> Iterator[Scrapes]:
    with ExitStack() as closing:
        folder = closing.enter_context(tempfile.TemporaryDirectory(prefix="queuey-"))
        server = Serving(Path(folder, "data"), *QUICK, "--processes", "2", app=many_types.PATH)
        closing.callback(server.close)
        idle = settled(server)
        server.until(server.submit("good"), "succeeded")
        server.until(server.submit("bad", max_attempts=2), "dead_letter")
        replayed = server.http.post("/v1/replay-dlq", headers={"x-api-key": "dev"})
        assert replayed.json() == {"requeued": 1}
        yield Scrapes(idle, scrape(server))


def settled(server: Serving) -> str:
    """The answer once the loops of both replicas have run."""
    series = 'queuey_store_script_duration_seconds_count{process="%d",script="%s"}'
    texts: list[str] = []

    def have_run() -> bool:
        texts.append(scrape(server))
        return all(series % (process, script) in texts[-1] for process in (1, 2) for script in ("trim", "tidy_asides"))

    eventually(have_run, lambda: texts[-1])
    return texts[-1]


def scrape(server: Serving) -> str:
    """The answer in which both replicas are."""
    texts: list[str] = []

    def both() -> bool:
        texts.append(server.http.get("/metrics").text)
        return "\nqueuey_processes_answering 2.0\n" in texts[-1]

    eventually(both)
    return texts[-1]


def samples(text: str) -> list[tuple[str, Labels]]:
    families: Iterable[Metric] = text_string_to_metric_families(text)
    return [(sample.name, sample.labels) for family in families for sample in family.samples]


def alerts() -> list[str]:
    rules = yaml.safe_load(Path(ROOT, "deploy/prometheus/alerts.yml").read_text())
    return [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


def expressions() -> Iterator[str]:
    """What the alert rules, the dashboard and the autoscaler ask Prometheus for."""
    yield from alerts()
    yield from _expressions_of(json.loads(Path(ROOT, "deploy/grafana/queuey.json").read_text()))
    for document in yaml.safe_load_all(Path(ROOT, "deploy/k8s/keda.yaml").read_text()):
        yield from (trigger["metadata"]["query"] for trigger in document["spec"].get("triggers", ()))


def _expressions_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("expr"), str):
            yield value["expr"]
        for inner in value.values():
            yield from _expressions_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _expressions_of(inner)


def selectors(texts: Iterable[str]) -> set[tuple[str, str]]:
    """Each name with its matchers, without Grafana's variables."""
    found = {(name, matchers) for text in texts for name, matchers in _SELECTOR.findall(text)}
    return {(name, matchers.replace("$queue", ".*")) for name, matchers in found}


def missing(wanted: Iterable[tuple[str, str]], text: str) -> list[tuple[str, str]]:
    """The selectors that no series of a scrape matches."""
    found = samples(text)
    return [
        (name, matchers)
        for name, matchers in sorted(wanted)
        if not any(name == each and matches(labels, matchers) for each, labels in found)
    ]


def matches(labels: Labels, matchers: str) -> bool:
    found = [(name, sign, value) for name, sign, value in _MATCHER.findall(matchers) if FAILURES.get(name) != value]
    return all(
        re.fullmatch(value if sign == "=~" else re.escape(value), labels.get(name, "")) for name, sign, value in found
    )


def test_a_server_that_has_done_nothing_has_few_lines(scrapes: Scrapes) -> None:
    assert len(scrapes.idle.splitlines()) < LINES, scrapes.idle


def test_all_that_alerts_and_the_dashboard_read_is_there_once_jobs_ran(scrapes: Scrapes) -> None:
    wanted = selectors(expressions())
    assert len(wanted) > 30
    assert missing(wanted, scrapes.used) == []


def test_counters_that_alerts_rate_are_there_before_they_count(scrapes: Scrapes) -> None:
    """The first increase of a series that was not there is none to Prometheus, so an alert would miss it.

    Those of requests have a label for the status, and their alert is about a share of many.
    """
    counters = {pair for pair in selectors(alerts()) if pair[0].endswith("_total")}
    wanted = {pair for pair in counters if pair[0] != "queuey_http_requests_total"}
    assert ("queuey_store_jobs_total", 'event="released_often"') in wanted
    assert missing(wanted, scrapes.idle) == []


def test_the_docs_name_no_other_series(scrapes: Scrapes) -> None:
    names = {name for each, _ in samples(scrapes.used) for name in (each, re.sub("_(bucket|sum|count)$", "", each))}
    pages = [*Path(ROOT, "docs").glob("*.md"), Path(ROOT, "README.md")]
    named = {name for page in pages for name in re.findall(r"`(queuey_\w+)", page.read_text())}
    of_the_plugin = set(re.findall(r"\bqueuey_\w+", Path(ROOT, "pytest_queuey.py").read_text()))
    assert len(named & names) > 5
    assert named <= names | of_the_plugin
