"""Check that Prometheus scrapes every replica, and answers all queries of the alerts and the dashboard.

    python -m scripts.container.monitoring PROMETHEUS_URL REPLICAS QUEUEY_URL KEY

Run it after jobs with all outcomes, so that each panel has data.
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
"""The variables of the dashboard, which Grafana would replace."""
SECONDS: Final = 90.0
"""The timeout. It is enough for several scrapes and evaluations, one every 5 s."""


def check_targets(prometheus: Server, replicas: int) -> None:
    def are_up() -> bool:
        targets = prometheus.ask("/api/v1/targets?state=active")["data"]["activeTargets"]
        return [target["health"] for target in targets] == ["up"] * replicas

    until(f"{replicas} replicas are scraped", are_up, SECONDS)
    print(f"ok    {replicas} replicas are scraped")


def check_rules(prometheus: Server) -> None:
    """Check that all rules of the file are loaded and evaluated."""
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
    """Check that every query of the dashboard has data."""
    expressions = list(dict.fromkeys(expressions_of(json.loads((DEPLOY / "grafana/queuey.json").read_text()))))
    for name, value in VARIABLES.items():
        expressions = [expression.replace(name, value) for expression in expressions]
    assert len(expressions) > 20
    for expression in expressions:
        until(f"there is data for {expression}", partial(query, prometheus, expression), SECONDS)
    print(f"ok    {len(expressions)} queries of the dashboard have data")


def check_alert(prometheus: Server, queuey: Server) -> None:
    """Check that a job without a worker raises its alert."""
    queuey.ask("/v1/jobs", {"type": "by-hand", "queue": "unserved"})

    def is_pending() -> bool:
        alerts = [alert["labels"] for alert in prometheus.ask("/api/v1/alerts")["data"]["alerts"]]
        return any((each["alertname"], each.get("queue")) == ("QueueyNoConsumers", "unserved") for each in alerts)

    until("the alert QueueyNoConsumers is pending", is_pending, SECONDS)
    print("ok    a job without a worker raises its alert")


def query(prometheus: Server, expression: str) -> list[Any]:
    """Return the current series. Raises AssertionError if Prometheus refuses the query."""
    try:
        result: list[Any] = prometheus.ask("/api/v1/query?" + urlencode({"query": expression}))["data"]["result"]
    except HTTPError as error:
        raise AssertionError(f"{expression}: {error.read().decode()}") from error
    return result


def expressions_of(node: Any) -> Iterator[str]:
    """Yield every `expr` in a dashboard."""
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
