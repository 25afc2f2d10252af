"""Prometheus sees every replica, and answers all that the alerts and the dashboard ask.

    python -m scripts.container.monitoring PROMETHEUS_URL REPLICAS QUEUEY_URL KEY

To be run after jobs of all fates: then each panel has something to show.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlencode

from scripts.container.asking import Server, until

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
VARIABLES: Final = {"$queue": ".*", "$__rate_interval": "1m"}
"""Of the dashboard; Grafana would put these in."""
SECONDS: Final = 90.0
"""Enough for several scrapes and evaluations, each every 5 s."""


def check_targets(prometheus: Server, replicas: int) -> None:
    def are_up() -> bool:
        targets = prometheus.ask("/api/v1/targets?state=active")["data"]["activeTargets"]
        return [target["health"] for target in targets] == ["up"] * replicas

    until(f"{replicas} replicas are scraped", are_up, SECONDS)
    print(f"ok    {replicas} replicas are scraped")


def check_rules(prometheus: Server) -> None:
    """All that the file names are loaded, and have been evaluated."""
    names = re.findall(r"- alert: (\w+)", (DEPLOY / "prometheus/alerts.yml").read_text())

    def rules() -> list[dict[str, Any]]:
        groups = prometheus.ask("/api/v1/rules?type=alert")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    until("each rule is evaluated", lambda: all(rule["health"] != "unknown" for rule in rules()), SECONDS)
    assert names
    assert [rule["name"] for rule in rules()] == names
    bad = [(rule["name"], rule.get("lastError")) for rule in rules() if rule["health"] != "ok"]
    assert not bad, bad
    for rule in rules():
        query(prometheus, rule["query"])
    print(f"ok    {len(names)} alert rules are evaluated")


def check_dashboard(prometheus: Server) -> None:
    """No query of it fails, and each shows something."""
    expressions = list(dict.fromkeys(expressions_of(json.loads((DEPLOY / "grafana/queuey.json").read_text()))))
    for name, value in VARIABLES.items():
        expressions = [expression.replace(name, value) for expression in expressions]
    assert len(expressions) > 20
    for expression in expressions:
        until(f"there is data for {expression}", partial(query, prometheus, expression), SECONDS)
    print(f"ok    {len(expressions)} queries of the dashboard have data")


def check_alert(prometheus: Server, queuey: Server) -> None:
    """A job that nobody serves starts the alert that is for it, seen from the store to Prometheus."""
    queuey.ask("/v1/jobs", {"type": "by-hand", "queue": "unserved"})

    def is_pending() -> bool:
        alerts = [alert["labels"] for alert in prometheus.ask("/api/v1/alerts")["data"]["alerts"]]
        return any((each["alertname"], each.get("queue")) == ("QueueyNoConsumers", "unserved") for each in alerts)

    until("the alert QueueyNoConsumers is pending", is_pending, SECONDS)
    print("ok    a job that nobody serves starts its alert")


def query(prometheus: Server, expression: str) -> list[Any]:
    """The series that it yields now. Raises AssertionError when Prometheus refuses it."""
    try:
        result: list[Any] = prometheus.ask("/api/v1/query?" + urlencode({"query": expression}))["data"]["result"]
    except HTTPError as error:
        raise AssertionError(f"{expression}: {error.read().decode()}") from error
    return result


def expressions_of(node: Any) -> Iterator[str]:
    """Every `expr` in a dashboard."""
    if isinstance(node, dict):
        if "expr" in node:
            yield node["expr"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from expressions_of(child)


def main() -> None:
    prometheus, queuey = Server(sys.argv[1]), Server(*sys.argv[3:])
    check_targets(prometheus, int(sys.argv[2]))
    check_rules(prometheus)
    check_dashboard(prometheus)
    check_alert(prometheus, queuey)


if __name__ == "__main__":
    main()
