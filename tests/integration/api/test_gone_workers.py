"""A worker whose replica misses two heartbeats is gone: it is shown so, and counts as a worker of no queue."""

from __future__ import annotations

from typing import Any

import pytest

from queuey.services.workers import live_replicas
from tests.integration.api.test_metrics import scraped
from tests.integration.api.test_workers import beat, listed, worker
from tests.support.http import ApiRig
from tests.support.store import Rig

INTERVAL = 5_000
LATE = 2 * INTERVAL + 1_000


async def gone(api: ApiRig) -> dict[str, bool]:
    return {found["name"]: found["gone"] for found in await listed(api)}


@pytest.mark.parametrize(
    ("ago_ms", "beat_ms", "is_gone"),
    [
        (LATE, INTERVAL, True),
        (2 * INTERVAL - 1_000, INTERVAL, False),
        (LATE, 4 * INTERVAL, False),
        pytest.param(50_000, 0, False, id="an earlier version, which does not say its interval"),
        pytest.param(500, 50, False, id="short intervals on a busy machine"),
    ],
)
async def test_it_has_missed_two_heartbeats(rig: Rig, api: ApiRig, ago_ms: int, beat_ms: int, is_gone: bool) -> None:
    await beat(rig, "r1", worker("r1", "mail", jobs=["j1"]), ago_ms=ago_ms, beat_ms=beat_ms)
    await beat(rig, "r2", worker("r2", "mail"))
    assert await gone(api) == {"r1": is_gone, "r2": False}
    assert await live_replicas(rig.broker) == ["r2"] if is_gone else ["r1", "r2"]


async def test_a_heartbeat_brings_it_back(rig: Rig, api: ApiRig) -> None:
    await beat(rig, "r1", worker("r1", "mail"), ago_ms=LATE)
    assert await gone(api) == {"r1": True}
    await beat(rig, "r1", worker("r1", "mail"))
    assert await gone(api) == {"r1": False}


async def test_a_pull_worker_is_gone_with_the_last_replica_that_knew_it(rig: Rig, api: ApiRig) -> None:
    await beat(rig, "r1", worker("p", "mail", kind="pull"), ago_ms=LATE)
    assert await gone(api) == {"p": True}
    await beat(rig, "r2", worker("p", "mail", kind="pull"))
    assert await gone(api) == {"p": False}


async def test_it_is_no_worker_of_its_queue(rig: Rig, api: ApiRig) -> None:
    job_id = await api.submit(queue="mail", type="letter")

    async def seen() -> list[Any]:
        explanation = (await api.http.get(f"/v1/jobs/{job_id}/explain")).json()
        queue = (await api.http.get("/v1/queues/mail")).json()
        metrics = await scraped(api)
        workers = metrics['queuey_queue_workers{queue="mail"}']
        return [explanation["reason"], explanation.get("workers"), queue["workers"], workers]

    await beat(rig, "r1", worker("r1", "mail", types=["letter"]))
    assert await seen() == ["ready", ["r1"], ["r1"], 1]
    await beat(rig, "r1", worker("r1", "mail", types=["letter"]), ago_ms=LATE)
    assert await seen() == ["no_worker", [], [], 0]


async def test_its_types_wait_for_a_worker_that_is_there(rig: Rig, api: ApiRig) -> None:
    job_id = await api.submit(queue="mail", type="letter")
    await rig.set_aside([job_id], "letter", queue="mail")
    await beat(rig, "r1", worker("r1", "mail", types=["letter"]), ago_ms=LATE)
    await beat(rig, "r2", worker("r2", "mail", types=["parcel"]))
    assert (await api.http.get("/v1/queues/mail")).json()["waiting_for_handler"] == {"letter": 1}
    assert (await scraped(api))['queuey_queue_claimable_jobs{queue="mail"}'] == 0


async def test_no_live_worker_knows_its_types(rig: Rig, api: ApiRig) -> None:
    job_id = await api.submit(queue="mail", type="letter")
    await beat(rig, "r1", worker("r1", "mail", types=["letter"]), ago_ms=LATE)
    await beat(rig, "r2", worker("r2", "web", types=["page"]))
    explanation = (await api.http.get(f"/v1/jobs/{job_id}/explain")).json()
    assert explanation["detail"].endswith("No live worker knows the type letter.")
