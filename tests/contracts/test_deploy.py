"""compose.yaml and deploy/ keep what they promise, as far as their text tells; `make docker-test` runs compose.yaml."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from queuey.api.http.waiting import MAX_WAIT
from queuey.settings.settings import Settings
from tests.contracts.test_docs import anchors

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
GRAFANA: Final = DEPLOY / "grafana"


class CloudFormation(yaml.SafeLoader):  # type: ignore[misc]
    """Reads !Ref and the like as what stands behind them."""


CloudFormation.add_multi_constructor("!", lambda loader, _, node: getattr(node, "value", None))


def read(path: Path, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> list[Any]:
    return list(yaml.load_all(path.read_text(), loader))


SERVICES: Final[dict[str, dict[str, Any]]] = read(ROOT / "compose.yaml")[0]["services"]
ECS: Final[dict[str, Any]] = read(DEPLOY / "ecs/queuey.yaml", CloudFormation)[0]["Resources"]


def named(key: str, node: Any) -> Iterator[Any]:
    """What stands under this key, wherever it is."""
    if isinstance(node, dict):
        if key in node:
            yield node[key]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from named(key, child)


def test_whoever_stops_queuey_waits_for_longer_than_it_drains() -> None:
    graces = [float(SERVICES["queuey"]["stop_grace_period"].removesuffix("s"))]
    graces += named("terminationGracePeriodSeconds", read(DEPLOY / "k8s/queuey.yaml"))
    graces += named("StopTimeout", ECS)
    assert len(graces) == 5
    assert min(graces) >= Settings().drain_timeout + 5, "time to give jobs back, and to end"


def test_a_pod_answers_until_nobody_sends_it_requests_any_more() -> None:
    pods = [
        each["spec"]["template"]["spec"] for each in read(DEPLOY / "k8s/queuey.yaml") if each["kind"] == "Deployment"
    ]
    (waits,) = [list(named("preStop", pod)) for pod in pods if "api,reaper" in str(pod)]
    (command,) = [wait["exec"]["command"] for wait in waits]
    assert command == ["sleep", "5"]
    assert all(pod["terminationGracePeriodSeconds"] >= Settings().drain_timeout + 5 + 5 for pod in pods)


def test_ecs_ends_no_task_because_the_store_is_away() -> None:
    assert list(named("HealthCheckPath", ECS)) == ["/healthz"]
    (check,) = named("HealthCheck", ECS)
    assert "/healthz" in check["Command"][-1]


def test_balancers_let_the_longest_wait_pass() -> None:
    haproxy = (DEPLOY / "haproxy/haproxy.cfg").read_text()
    timeouts = [int(seconds) for seconds in re.findall(r"timeout (?:client|server) (\d+)s", haproxy)]
    attributes = [pair for pairs in named("LoadBalancerAttributes", ECS) for pair in pairs]
    timeouts += [int(pair["Value"]) for pair in attributes if pair["Key"] == "idle_timeout.timeout_seconds"]
    (targets,) = named("TargetGroupAttributes", ECS)
    timeouts += [int(pair["Value"]) for pair in targets if pair["Key"] == "deregistration_delay.timeout_seconds"]
    assert len(timeouts) == 4
    assert min(timeouts) > MAX_WAIT + 5


def test_the_store_of_compose_syncs_every_write_and_evicts_nothing() -> None:
    command = SERVICES["valkey"]["command"]
    for flag in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"):
        assert flag in command
    assert SERVICES["valkey"]["volumes"] == ["store:/data"]


def test_compose_opens_its_ports_on_this_machine_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports), ports


def mounts(service: str) -> dict[str, Path]:
    """Files and folders of ours that a service sees, by where it sees them."""
    found = [volume.split(":") for volume in SERVICES[service]["volumes"]]
    return {parts[1]: ROOT / parts[0] for parts in found if parts[0].startswith(".")}


@pytest.mark.parametrize("service", [name for name, service in SERVICES.items() if "volumes" in service])
def test_what_compose_mounts_is_there_and_only_read(service: str) -> None:
    assert all(path.exists() for path in mounts(service).values())
    assert all(volume.endswith(":ro") for volume in SERVICES[service]["volumes"] if volume.startswith("."))


def test_prometheus_loads_the_alerts_that_are_mounted() -> None:
    command = " ".join(SERVICES["prometheus"]["command"])
    config = re.search(r"--config.file=(\S+)", command)
    assert config
    folder = mounts("prometheus")[str(Path(config[1]).parent)]
    (settings,) = read(folder / Path(config[1]).name)
    assert [(folder / name).is_file() for name in settings["rule_files"]] == [True]
    (scrape,) = settings["scrape_configs"]
    (by_name,) = scrape["dns_sd_configs"]
    assert set(by_name["names"]) <= SERVICES.keys()


def test_each_alert_has_a_chapter_in_the_operators_page() -> None:
    (rules,) = named("rules", read(DEPLOY / "prometheus/alerts.yml"))
    for rule in rules:
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert anchor in anchors(ROOT / page), rule["alert"]


# Grafana is nowhere run by our tests: what it is given is held against its documentation here.


def test_grafana_is_given_the_prometheus_of_compose() -> None:
    assert mounts("grafana")["/etc/grafana/provisioning"] == GRAFANA / "provisioning", "where its image looks"
    (file,) = read(GRAFANA / "provisioning/datasources/prometheus.yml")
    assert file["apiVersion"] == 1
    (source,) = file["datasources"]
    assert source.keys() == {"name", "uid", "type", "access", "url", "isDefault", "jsonData"}
    assert (source["type"], source["access"], source["isDefault"]) == ("prometheus", "proxy", True)
    host, port = re.fullmatch(r"http://(\w+):(\d+)", source["url"]).groups()  # type: ignore[union-attr]
    assert SERVICES[host]["ports"][0].endswith(f":{port}")
    (settings,) = read(DEPLOY / "prometheus/prometheus.yml")
    assert source["jsonData"] == {"timeInterval": settings["global"]["scrape_interval"]}


def test_grafana_finds_the_dashboard_where_it_looks() -> None:
    (file,) = read(GRAFANA / "provisioning/dashboards/queuey.yml")
    assert file["apiVersion"] == 1
    (provider,) = file["providers"]
    assert provider.keys() == {"name", "type", "allowUiUpdates", "options"}
    assert provider["type"] == "file"
    folder = provider["options"]["path"]
    assert mounts("grafana")[f"{folder}/queuey.json"] == GRAFANA / "queuey.json"


def test_every_panel_asks_the_source_that_is_chosen_above_them() -> None:
    """A variable offers all sources of a type and begins with the default one, which is the one provisioned."""
    board = json.loads((GRAFANA / "queuey.json").read_text())
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert (variables["source"]["type"], variables["source"]["query"]) == ("datasource", "prometheus")
    sources = [panel["datasource"] for panel in board["panels"] if panel["type"] != "row"]
    sources.append(variables["queue"]["datasource"])
    assert sources
    assert all(source == {"type": "prometheus", "uid": "${source}"} for source in sources)
