"""GET /metrics: what the replica has counted, and what the store holds."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from queuey.api.routes.metrics import STATES
from queuey.metrics import Metrics
from queuey.services.maintenance.reaper import Reaper
from queuey.services.maintenance.store_watch import StoreWatch
from queuey.services.workers import Description, WorkerReport
from queuey.store.broker.broker import Broker
from queuey.store.scripts import Scripts
from tests.support.http import ApiRig, api_over, keys
from tests.support.store import Rig
from tests.support.stores import KINDS, SHARDS, StartServer, one_of

kind = one_of(*KINDS)
shards = one_of(*SHARDS)

DEPLOY = Path(__file__).parents[3] / "deploy"


@pytest.fixture
async def api(rig: Rig) -> Any:
    metrics = Metrics()
    async with api_over(Broker(rig.broker.shards, Scripts(metrics=metrics)), metrics=metrics) as api:
        yield api


async def scraped(api: ApiRig, **headers: str) -> dict[str, float]:
    """Each sample, `name{label="value"}`, to its value."""
    response = await api.http.get("/metrics", headers=headers)
    assert response.status_code == 200, response.text
    samples = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return samples


async def test_what_the_store_holds(api: ApiRig, rig: Rig) -> None:
    before = (await scraped(api)).get('queuey_jobs_enqueued_total{queue="mail"}', 0)
    for priority, count in (("high", 1), ("default", 2), ("low", 3)):
        for _ in range(count):
            await api.submit(queue="mail", priority=priority)
    await api.submit(queue="mail", delay=3600)
    await api.submit(queue="other")
    samples = await scraped(api)
    depth = {state: samples[f'queuey_queue_jobs{{queue="mail",state="{state}"}}'] for state in STATES}
    assert depth == {
        "high": 1, "default": 2, "low": 3, "scheduled": 1, "running": 0, "dead_letter": 0, "finished": 0,
    }  # fmt: skip
    assert samples['queuey_queue_jobs{queue="other",state="default"}'] == 1
    assert samples['queuey_queue_oldest_seconds{queue="mail"}'] >= 0
    assert samples['queuey_queue_claimable_jobs{queue="mail"}'] == 6
    assert samples['queuey_queue_claimable_oldest_seconds{queue="mail"}'] >= 0
    assert samples['queuey_queue_workers{queue="mail"}'] == 0
    assert samples["queuey_store_up"] == 1
    assert samples['queuey_jobs_enqueued_total{queue="mail"}'] - before == 7


async def test_the_age_of_the_oldest_is_told_by_the_stores_clock(api: ApiRig, rig: Rig) -> None:
    job_id = await api.submit(queue="mail")
    key = rig.broker.shards.keys[rig.broker.shards.of_job(job_id)].job(job_id)
    text = (await rig.client.get(key)).decode()
    ready = int(re.search(r"r=(\d+)", text)[1])  # type: ignore[index]
    await rig.client.set(key, text.replace(f"r={ready}", f"r={ready - 90_000}"))
    for name in ("queuey_queue_oldest_seconds", "queuey_queue_claimable_oldest_seconds"):
        assert 90 <= (await scraped(api))[f'{name}{{queue="mail"}}'] < 120


async def test_what_waits_for_a_type_that_no_worker_takes_is_not_claimable(api: ApiRig, rig: Rig) -> None:
    job_id = await api.submit(queue="mail", type="letter")
    rig.keys = rig.broker.shards.keys[rig.broker.shards.of_job(job_id)]
    text = (await rig.client.get(rig.keys.job(job_id))).decode()
    await rig.client.set(rig.keys.job(job_id), re.sub(r"r=\d+", "r=1", text, count=1))
    await rig.set_aside([job_id], "letter", queue="mail")
    worker = WorkerReport("a", "process", 1, 0, [], ["mail"], ["other"])
    await rig.broker.replicas.heartbeat(0, "a", msgspec.json.encode(Description("1", 1, [], [worker])).decode())
    samples = await scraped(api)
    assert samples['queuey_queue_jobs{queue="mail",state="default"}'] == 1
    assert samples['queuey_queue_oldest_seconds{queue="mail"}'] > 0
    assert samples['queuey_queue_claimable_jobs{queue="mail"}'] == 0
    assert samples['queuey_queue_claimable_oldest_seconds{queue="mail"}'] == 0


async def test_it_tells_of_all_queues_to_those_who_may_read_all(rig: Rig) -> None:
    async with api_over(rig.broker, keys(reader="read", mail="read@mail")) as api:
        assert await scraped(api, **{"x-api-key": "reader"})
        assert (await api.http.get("/metrics", headers={"x-api-key": "mail"})).status_code == 403
        assert (await api.http.get("/metrics")).status_code == 401


async def test_requests_are_counted_by_route_and_never_by_id(api: ApiRig) -> None:
    before = await scraped(api)
    job_id = await api.submit()
    await api.job(job_id)
    await api.http.get("/v1/jobs/no-such-job")
    await api.http.get("/nothing/here")
    response = await api.http.get("/metrics")
    assert job_id not in response.text
    assert "no-such-job" not in response.text
    after = await scraped(api)
    for name, count in (
        ('queuey_http_requests_total{method="POST",route="/v1/jobs",status="200"}', 1),
        ('queuey_http_requests_total{method="GET",route="/v1/jobs/{id}",status="404"}', 1),
        ('queuey_http_request_duration_seconds_count{method="GET",route="/v1/jobs/{id}"}', 2),
        ('queuey_store_script_duration_seconds_count{script="enqueue"}', 1),
    ):
        assert after[name] - before.get(name, 0) == count, name


async def test_a_scrape_costs_the_same_at_any_depth(api: ApiRig, rig: Rig) -> None:
    async def calls() -> int:
        before = (await rig.client.info("commandstats"))["cmdstat_evalsha"]["calls"]
        await scraped(api)
        return int((await rig.client.info("commandstats"))["cmdstat_evalsha"]["calls"] - before)

    await api.submit()
    few = await calls()
    for _ in range(30):
        await api.submit()
    assert await calls() == few == 2 * rig.broker.shards.count + 1


async def test_without_a_store_it_tells_what_was_counted(start_server: StartServer) -> None:
    from queuey.store.shards import Shards
    from tests.support.store import client_for

    store = start_server()
    client = client_for(store.url, timeout=0.5)
    metrics = Metrics()
    async with api_over(Broker(Shards(client, 1), Scripts(metrics=metrics)), metrics=metrics) as api:
        await api.submit()
        store.process.kill()
        store.process.wait()
        samples = await scraped(api)
    await client.aclose()
    assert samples["queuey_store_up"] == 0
    assert samples['queuey_jobs_enqueued_total{queue="default"}'] == 1
    assert samples['queuey_store_errors_total{code="store-unavailable"}'] >= 1


async def test_openmetrics_is_given_to_who_asks_for_it(api: ApiRig) -> None:
    response = await api.http.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


async def test_the_reaper_tells_when_it_looked(rig: Rig) -> None:
    before, metrics = time.time(), Metrics()
    await Reaper(rig.broker, StoreWatch(rig.broker, 0.01, lambda full: None), 5, 0, metrics=metrics).run_once()
    assert before <= metrics.reaped[0] <= metrics.reaped[rig.shard] <= time.time()
    assert len(metrics.reaped) == rig.broker.shards.count


async def test_names_in_the_dashboard_and_the_alerts_exist(api: ApiRig) -> None:
    """Also those of counters that have no series yet."""
    await api.submit()
    text = (await api.http.get("/metrics")).text
    known = set(re.findall(r"^# TYPE (queuey_\w+)", text, re.MULTILINE))
    known |= {f"{name}_{suffix}" for name in known for suffix in ("bucket", "count", "sum", "total")}
    for path in (DEPLOY / "grafana/queuey.json", DEPLOY / "prometheus/alerts.yml", DEPLOY / "k8s/keda.yaml"):
        used = set(re.findall(r"\bqueuey_\w+", path.read_text()))
        assert used, path
        assert used <= known, path


async def test_what_pull_workers_end_is_in_the_stores_count(api: ApiRig) -> None:
    before = await scraped(api)
    await api.submit()
    (job,) = (await api.http.post("/v1/leases", json={"queues": ["default"]})).json()["jobs"]
    done = {"id": job["id"], "token": job["token"], "result": 1}
    assert (await api.http.post("/v1/leases/complete", json=done)).status_code == 200
    after = await scraped(api)
    for name in ('queuey_store_jobs_total{event="succeeded"}', 'queuey_pulled_job_outcomes_total{outcome="ok"}'):
        assert after[name] - before[name] == 1, name
