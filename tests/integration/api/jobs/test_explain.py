"""GET /v1/jobs/{id}/explain over a real store."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from queuey.services.jobs import explain as explaining
from queuey.services.workers import Description, WorkerReport
from queuey.store.asides import SUSPECTS, Wanted
from tests.support.http import ApiRig, api_over, keys, moment, problem
from tests.support.store import Rig


async def serve(rig: Rig, *queues: str, name: str = "w1", types: tuple[str, ...] = ("t",), **more: Any) -> None:
    """A worker gives a sign of life; one without types is a pull worker."""
    kind = "process" if types else "pull"
    worker = WorkerReport(name, kind, 4, 0, [], list(queues), list(types), **more)
    description = Description("1", 1, ["worker"], [worker])
    await rig.broker.replicas.heartbeat(0, name, msgspec.json.encode(description).decode())


async def explain(api: ApiRig, job_id: str) -> dict[str, Any]:
    response = await api.http.get(f"/v1/jobs/{job_id}/explain")
    assert response.status_code == 200, response.text
    told = dict(response.json())
    assert told.pop("job_id") == job_id
    assert told["detail"].endswith((".", "!")) or told["reason"] == "paused"
    assert None not in told.values(), "what there is not is left out"
    return told


async def claim(rig: Rig, job_id: str, *, lease_ms: int = 30_000, now: int = 0) -> tuple[str, str]:
    claimed = await rig.broker.leases.claim(
        rig.broker.shards.of_job(job_id),
        claim_id=f"c{now}", worker="w1", lease_ms=lease_ms, limit=1, queues=["default"], now=now,
    )  # fmt: skip
    return claimed.jobs[0].id, claimed.jobs[0].token


async def fail(rig: Rig, held: tuple[str, str], *, delay_ms: int = 60_000, dead: bool = False) -> None:
    error = '{"attempt":1,"kind":"error","message":"no route to host"}'
    await rig.broker.leases.fail(rig.broker.shards.of_job(held[0]), [(*held, error, delay_ms, dead)])


async def test_it_runs_or_has_finished(rig: Rig, api: ApiRig) -> None:
    job_id = await api.submit()
    held = await claim(rig, job_id)
    told = await explain(api, job_id)
    assert (told["status"], told["reason"], told["worker"]) == ("running", "running", "w1")
    assert told["lease_expires_at"] == (await api.job(job_id))["lease_expires_at"]
    await fail(rig, held, dead=True)
    told = await explain(api, job_id)
    assert (told["status"], told["reason"], told["last_error"]) == ("dead_letter", "finished", "no route to host")
    assert "no route to host" in told["detail"]
    cancelled = await api.submit()
    await api.http.post(f"/v1/jobs/{cancelled}/cancel")
    assert await explain(api, cancelled) == {"status": "cancelled", "reason": "finished", "detail": "It was cancelled."}


async def test_it_is_due_later(api: ApiRig) -> None:
    job_id = await api.submit(delay=60, expires_in=100)
    told, job = await explain(api, job_id), await api.job(job_id)
    assert (told["status"], told["reason"]) == ("scheduled", "due_later")
    assert (told["due_at"], told["expires_at"]) == (job["run_at"], job["expires_at"])
    assert "attempts" not in told


async def test_it_is_retried_later(rig: Rig, api: ApiRig) -> None:
    job_id = await api.submit()
    await fail(rig, await claim(rig, job_id))
    told = await explain(api, job_id)
    assert (told["reason"], told["attempts"], told["last_error"]) == ("retry_later", 1, "no route to host")
    assert told["due_at"] == (await api.job(job_id))["run_at"]
    assert "Attempt 1 of 5" in told["detail"]


async def test_its_worker_was_lost(rig: Rig, api: ApiRig) -> None:
    job_id = await api.submit()
    await claim(rig, job_id, lease_ms=1)
    shard = rig.broker.shards.of_job(job_id)
    await rig.broker.maintenance.reap(shard, 10, [60_000], now=int(4e12))
    told = await explain(api, job_id)
    assert (told["status"], told["reason"], told["crashes"]) == ("scheduled", "crashed", 1)
    await rig.broker.jobs.run_now(shard, "r", [job_id])
    await serve(rig, "default")
    told = await explain(api, job_id)
    assert (told["status"], told["reason"], told["crashes"]) == ("queued", "crashed", 1)


async def test_nobody_serves_its_queue_or_knows_its_type(rig: Rig, api: ApiRig) -> None:
    job_id = await api.submit(queue="mail")
    await serve(rig, "default", types=("other",))
    assert (await explain(api, job_id))["detail"] == "No worker serves the queue mail. No live worker knows the type t."
    await serve(rig, "default")
    told = await explain(api, job_id)
    assert (told["reason"], told["workers"], told["detail"]) == ("no_worker", [], "No worker serves the queue mail.")
    await serve(rig, "mail", types=("other",))
    told = await explain(api, job_id)
    assert (told["reason"], told["workers"]) == ("no_worker", [])
    assert "knows the type t" in told["detail"]
    await serve(rig, "mail", name="puller", types=())
    told = await explain(api, job_id)
    assert (told["reason"], told["workers"]) == ("ready", ["puller"])


async def test_all_threads_that_could_run_it_are_stuck(rig: Rig, api: ApiRig) -> None:
    job_id = await api.submit()
    since_ms = 1_764_000_000_000
    await serve(rig, "default", types=("t", "u"), stuck=[("mail.send", since_ms), ("t", since_ms)], blocked=["t"])
    told = await explain(api, job_id)
    assert (told["reason"], told["workers"]) == ("threads_stuck", ["w1"])
    held = "mail.send (since 2025-11-24T16:00:00Z), t (since 2025-11-24T16:00:00Z)"
    assert told["detail"] == f"All threads of the worker w1 are held by handlers that do not return: {held}."
    await serve(rig, "default", name="w2", stuck=[("t", since_ms)], blocked=["t"])
    assert (await explain(api, job_id))["detail"].endswith("1 more worker is in the same state.")
    await serve(rig, "default", name="w3", stuck=[("t", since_ms)])
    assert (await explain(api, job_id))["reason"] == "ready"


async def test_its_queue_is_paused(rig: Rig, api: ApiRig) -> None:
    job_id, later = await api.submit(), await api.submit(delay=60)
    for shard in range(rig.broker.shards.count):
        await rig.broker.queues.pause(shard, "default", "the mail server is down", "ops")
    for told, reason in ((await explain(api, job_id), "paused"), (await explain(api, later), "due_later")):
        assert (told["reason"], told["pause_reason"], told["paused_by"]) == (reason, "the mail server is down", "ops")
        assert told["paused_at"].endswith("Z")


async def test_its_turn(rig: Rig, api: ApiRig) -> None:
    await serve(rig, "default")
    first = await api.submit()
    assert (await explain(api, first))["reason"] == "ready"
    for priority in ("high", "high", "default", "low"):
        await api.submit(priority=priority)
    last = await api.submit()
    told = await explain(api, last)
    assert (told["reason"], told["position"], told["ahead"]) == ("waiting", 3, {"high": 2, "default": 2, "low": 0})
    assert told["detail"] == "4 jobs of the queue default run before it."
    assert (await explain(api, first))["ahead"] == {"high": 2, "default": 0, "low": 0}
    lowest = await api.submit(priority="low")
    assert (await explain(api, lowest))["ahead"] == {"high": 2, "default": 3, "low": 1}


async def test_a_place_that_is_too_deep_to_be_counted(rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    await serve(rig, "default")
    waiting = [await api.submit() for _ in range(5)]
    monkeypatch.setattr(explaining, "MAX_SEARCHED", 3)
    assert (await explain(api, waiting[2]))["position"] == 3
    told = await explain(api, waiting[4])
    assert (told["reason"], told["position"], told["position_is_at_least"]) == ("waiting", 4, True)
    assert told["detail"].startswith("At least 3 jobs")


async def test_it_has_expired_and_nobody_came(rig: Rig, api: ApiRig) -> None:
    job_id = await api.submit(expires_in=0.001)
    for _ in range(1000):  # each takes a part of a millisecond, by the store's clock
        later = await api.job(await api.submit())
        if moment(later["created_at"]) > moment((await api.job(job_id))["expires_at"]):
            break
    assert (await explain(api, job_id))["reason"] == "expired"


async def test_it_changes_nothing(rig: Rig, api: ApiRig) -> None:
    waiting, scheduled = await api.submit(), await api.submit(delay=60)
    async with rig.unchanged():
        await explain(api, waiting)
        await explain(api, scheduled)


@pytest.mark.parametrize("isolates", [1, None])
async def test_a_suspect_waits_to_be_isolated(rig: Rig, api: ApiRig, isolates: int | None) -> None:
    job_id = await api.submit()
    shard = rig.broker.shards.of_job(job_id)
    await serve(rig, "default", types=("t",))
    await rig.client.hset(rig.broker.shards.keys[shard].meta, "features", "aside")
    for crash in (1, 2):
        await rig.broker.leases.claim(
            shard, claim_id=f"c{crash}", worker="w1", lease_ms=1, limit=1, queues=["default"], now=1_000 * crash
        )
        await rig.broker.maintenance.reap(shard, 10, [0])
        await rig.broker.maintenance.promote(shard, 10)
    told = await explain(api, job_id)
    assert (told["status"], told["reason"], told["crashes"]) == ("queued", "crashed", 2)
    assert told["detail"].startswith("It has crashed 2 times. It waits to run in a child process of its own")
    await rig.broker.leases.claim(
        shard, claim_id="c3", worker="w1", lease_ms=30_000, limit=1, queues=["default"], isolates=isolates,
        wanted=Wanted(take={"default": [("default", SUSPECTS)]}),
    )  # fmt: skip
    told = await explain(api, job_id)
    assert (told["status"], told["reason"]) == ("running", "running")
    assert "It has crashed 2 times" in told["detail"]


async def test_only_of_jobs_that_the_caller_may_see(rig: Rig) -> None:
    async with api_over(rig.broker, keys(mail="read@mail", all="admin")) as api:
        body = {"type": "t", "queue": "web"}
        job_id = (await api.http.post("/v1/jobs", json=body, headers={"x-api-key": "all"})).json()["job_id"]
        path = f"/v1/jobs/{job_id}/explain"
        problem(await api.http.get(path, headers={"x-api-key": "mail"}), 404, "not-found")
        problem(await api.http.get(f"{path}?x=1", headers={"x-api-key": "all"}), 422, "invalid")


async def test_it_was_set_aside(rig: Rig, api: ApiRig) -> None:
    await serve(rig, "default")
    jobs = [await api.submit() for _ in range(3)]
    await rig.set_aside(jobs[:2])
    told = await explain(api, jobs[0])
    assert (told["status"], told["reason"], told["workers"], told["position"]) == ("queued", "waiting", ["w1"], 1)
    assert told["detail"].startswith(
        "It is set aside until a worker with room for t asks (2 wait). 0 jobs of the queue"
    )
    assert (await explain(api, jobs[1]))["position"] == 2
    told = await explain(api, jobs[2])
    assert (told["reason"], told["position"]) == ("ready", 1), "it does not stand behind those that were set aside"
    await serve(rig, "default", types=("other",))
    told = await explain(api, jobs[0])
    assert told["reason"] == "no_worker"
    assert told["detail"] == "No worker that serves the queue default knows the type t (2 wait)."
