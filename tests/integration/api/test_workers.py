"""GET /v1/workers and POST /v1/workers/{name}/quiet, over a real store."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from queuey.server.presence import Presence
from queuey.services.maintenance.heartbeat import Heartbeat
from queuey.services.maintenance.type_watch import TypeWatch
from queuey.services.other_apps import OwnApp, clashes
from queuey.services.workers import Description, WorkerReport, list_workers
from queuey.store.deadline import Deadline
from tests.support.http import ApiRig, api_over, keys, problem
from tests.support.store import Rig
from tests.support.working import Stage, eventually, working

DEV = {"x-api-key": "dev"}


def worker(name: str, *queues: str, kind: str = "process", **fields: Any) -> WorkerReport:
    jobs = fields.pop("jobs", [])
    return WorkerReport(name, kind, 4, len(jobs), jobs, list(queues), **fields)


async def beat(rig: Rig, replica: str, *workers: WorkerReport, ago_ms: int = 0, beat_ms: int = 5_000) -> None:
    """A heartbeat of a replica, which came so long ago."""
    text = msgspec.json.encode(Description("1.2", 7, ["worker"], list(workers), beat_ms=beat_ms)).decode()
    now = (await rig.broker.replicas.workers(0)).now_ms
    await rig.broker.replicas.heartbeat(0, replica, text, now=now - ago_ms)


async def listed(api: ApiRig, key: str = "dev") -> list[dict[str, Any]]:
    response = await api.http.get("/v1/workers", headers={"x-api-key": key})
    assert response.status_code == 200, response.text
    return list(response.json()["workers"])


async def test_what_is_told_of_a_worker(rig: Rig, api: ApiRig) -> None:
    assert await listed(api) == []
    await beat(rig, "r1", worker("r1", "mail", jobs=["j1", "j2"], types=["mail.send"], started_ms=1000, app="shop"))
    await beat(rig, "api-only")
    (found,) = await listed(api)
    seen = found.pop("last_seen")
    assert seen.startswith(time.strftime("%Y-", time.gmtime()))
    assert found == {
        "name": "r1",
        "replica": "r1",
        "kind": "process",
        "slots": 4,
        "busy": 2,
        "jobs": ["j1", "j2"],
        "queues": ["mail"],
        "types": ["mail.send"],
        "quiet": False,
        "started_at": "1970-01-01T00:00:01Z",
        "version": "1.2",
        "key": "",
        "app": "shop",
        "stuck_threads": [],
        "blocked_types": [],
        "gone": False,
    }


async def test_a_puller_that_several_replicas_saw_is_one_worker(rig: Rig, api: ApiRig) -> None:
    await beat(rig, "r1", worker("p", "mail", kind="pull", jobs=["j1"], started_ms=2000, seen_ms=9000))
    await beat(rig, "r2", worker("p", "web", kind="pull", jobs=["j2"], started_ms=1000, seen_ms=8000))
    (found,) = await listed(api)
    assert (found["kind"], found["replica"], found["busy"], found["jobs"]) == ("pull", "r1", 2, ["j1", "j2"])
    assert (found["queues"], found["started_at"][-3:], found["last_seen"][-3:]) == (["mail", "web"], "01Z", "09Z")


async def test_a_sign_of_life_of_another_version_is_passed_over(rig: Rig, api: ApiRig) -> None:
    await rig.broker.replicas.heartbeat(0, "new", '{"something":"else"}')
    await rig.broker.replicas.heartbeat(0, "odd", "no json")
    await beat(rig, "r1", worker("r1", "mail"))
    assert [found["name"] for found in await listed(api)] == ["r1"]


async def test_who_may_see_what(rig: Rig) -> None:
    async with api_over(rig.broker, keys(all="read", mail="read@mail", web="read@web")) as api:
        await beat(rig, "both", worker("both", "mail", "web", jobs=["j1"]))
        await beat(rig, "one", worker("one", "mail", jobs=["j2"]))
        assert [(found["name"], found["jobs"]) for found in await listed(api, "all")] == [
            ("both", ["j1"]),
            ("one", ["j2"]),
        ]
        own = await listed(api, "mail")
        assert [(found["name"], found["queues"], found["jobs"]) for found in own] == [
            ("both", ["mail"], []),
            ("one", ["mail"], ["j2"]),
        ]
        assert [found["name"] for found in await listed(api, "web")] == ["both"]


async def test_only_who_rules_all_its_queues_may_quiet_a_worker(rig: Rig) -> None:
    async with api_over(rig.broker, keys(all="admin", mail="admin@mail", web="admin@web")) as api:
        await beat(rig, "both", worker("both", "mail", "web"))
        await beat(rig, "one", worker("one", "mail"))

        async def quiet(name: str, key: str) -> Any:
            return await api.http.post(f"/v1/workers/{name}/quiet", headers={"x-api-key": key})

        problem(await quiet("both", "mail"), 403, "forbidden")
        problem(await quiet("one", "web"), 404, "not-found")
        problem(await quiet("nobody", "all"), 404, "not-found")
        assert (await rig.broker.replicas.workers(0)).quiet == []
        assert (await quiet("one", "mail")).json()["quiet"] is True
        assert [found["quiet"] for found in await listed(api, "all")] == [False, True]


async def test_a_quiet_worker_finishes_what_it_has_and_claims_no_more(rig: Rig, api: ApiRig, server: Any) -> None:
    stage = Stage()
    async with working(server.url, stage.app, worker_id="w1", concurrency=4) as running:

        def be_quiet(names: Any) -> None:
            if "w1" in names:
                running.be_quiet()

        def describe() -> Description:
            return Description("1", 1, ["worker"], [worker("w1", "default", quiet=running.quieted)])

        heart = Heartbeat(rig.broker, "w1", describe, 5.0, lambda: ["w1"] if running.quieted else [], be_quiet)
        await heart.run_once()
        first = await api.submit(type="held")
        assert await stage.next() == first
        assert (await api.http.post("/v1/workers/w1/quiet", headers=DEV)).status_code == 200
        await heart.run_once()
        second = await api.submit(type="held")
        stage.finish(first)

        async def done() -> bool:
            return bool((await api.job(first))["status"] == "succeeded")

        await eventually(done)
        assert (await api.job(second))["status"] == "queued"
        assert not running.may_wait.is_set(), "it waits for no marker"
        await rig.client.delete(rig.keys.quiet)
        await heart.run_once()
        assert running.quieted, "also when the store has forgotten it"
        assert [found["quiet"] for found in await listed(api)] == [True]
    async with working(server.url, stage.app, worker_id="w2") as other:
        assert not other.quieted
        assert await stage.next() == second
        stage.finish(second)


async def test_a_quiet_puller_gets_no_more_jobs(rig: Rig, api: ApiRig) -> None:
    presence = Presence("r1", ["api"], 5.0, pull_workers=api.pulling.workers)
    heart = Heartbeat(rig.broker, "r1", presence.describe, 5.0, presence.quiet_here, presence.be_quiet)
    asked = {"queues": ["mail"], "worker": "puller"}
    first, second = await api.submit(queue="mail"), await api.submit(queue="mail")
    got = (await api.http.post("/v1/leases", json=asked)).json()["jobs"]
    await heart.run_once()
    (found,) = await listed(api)
    assert (found["name"], found["kind"], found["replica"], found["queues"]) == ("puller", "pull", "r1", ["mail"])
    assert (found["busy"], found["jobs"]) == (1, [job["id"] for job in got])
    assert (await api.http.post("/v1/workers/puller/quiet", headers=DEV)).json()["quiet"] is True
    await heart.run_once()
    assert (await api.http.post("/v1/leases", json=asked)).json() == {"jobs": []}
    assert presence.quiet_here() == ["anonymous/puller"]
    (other,) = (await api.http.post("/v1/leases", json={**asked, "worker": "other"})).json()["jobs"]
    assert {other["id"], got[0]["id"]} == {first, second}


async def test_a_puller_says_which_app_it_runs_and_where_its_types_belong(rig: Rig, api: ApiRig) -> None:
    presence = Presence("r1", ["api"], 5.0, pull_workers=api.pulling.workers)
    heart = Heartbeat(rig.broker, "r1", presence.describe, 5.0)
    asked = {"queues": ["mail", "bulk"], "types": ["mail.send", "mail.copy", "odd"], "app": "post", "worker": "puller"}
    type_queues = {"mail": ["mail.send"], "bulk": ["mail.copy"]}
    response = await api.http.post("/v1/leases", json={**asked, "type_queues": type_queues})
    assert response.json() == {"jobs": []}
    await heart.run_once()
    (found,) = await listed(api)
    assert (found["app"], found["types"]) == ("post", ["mail.copy", "mail.send", "odd"])
    await TypeWatch(rig.broker, api.queues, 5.0).run_once()
    assert [api.queues.of(name).queue for name in asked["types"]] == ["mail", "bulk", "default"]
    own = OwnApp("shop", ("mail",), {"order.pay"})
    (clash,) = clashes(own, await list_workers(rig.broker, Deadline(5.0)))
    assert (clash.app, clash.queues, clash.only_there) == ("post", ("mail",), ("mail.copy", "mail.send", "odd"))


async def test_a_key_of_another_queue_neither_sees_nor_quiets_a_puller_by_its_name(rig: Rig) -> None:
    """Nor is that worker in the way of what its own key may see and quiet."""
    mail, web = ({"x-api-key": name} for name in ("mail", "web"))
    async with api_over(rig.broker, keys(mail="admin@mail", web="admin@web")) as api:
        presence = Presence("r1", ["api"], 5.0, pull_workers=api.pulling.workers)
        heart = Heartbeat(rig.broker, "r1", presence.describe, 5.0, presence.quiet_here, presence.be_quiet)

        async def ask(queue: str, headers: dict[str, str]) -> list[str]:
            asked = {"queues": [queue], "worker": "victim"}
            response = await api.http.post("/v1/leases", json=asked, headers=headers)
            return [job["id"] for job in response.json()["jobs"]]

        for _ in range(2):
            await api.http.post("/v1/jobs", json={"type": "t", "queue": "mail"}, headers=mail)
        held = await ask("mail", mail)
        assert await ask("web", web) == []
        await heart.run_once()
        told = [
            [(found["key"], found["queues"], found["jobs"]) for found in await listed(api, key)]
            for key in ("mail", "web")
        ]
        assert told == [[("mail", ["mail"], held)], [("web", ["web"], [])]]
        answer = await api.http.post("/v1/workers/victim/quiet", headers=web)
        assert (answer.json()["key"], answer.json()["quiet"]) == ("web", True)
        await heart.run_once()
        assert [found["quiet"] for found in await listed(api, "mail")] == [False]
        assert len(await ask("mail", mail)) == 1
        await api.http.post("/v1/workers/victim/quiet", headers=mail)
        await heart.run_once()
        assert [found["quiet"] for found in await listed(api, "mail")] == [True]


async def test_a_key_that_has_asked_for_another_queue_since_hides_no_queue_of_its_worker(rig: Rig) -> None:
    async with api_over(rig.broker, keys(both="admin@mail+admin@web", web="admin@web")) as api:
        presence = Presence("r1", ["api"], 5.0, pull_workers=api.pulling.workers)
        heart = Heartbeat(rig.broker, "r1", presence.describe, 5.0, presence.quiet_here, presence.be_quiet)
        both = {"x-api-key": "both"}
        await api.http.post("/v1/jobs", json={"type": "t", "queue": "mail"}, headers=both)
        for queue in ("mail", "web"):
            await api.http.post("/v1/leases", json={"queues": [queue], "worker": "w"}, headers=both)
        await heart.run_once()
        assert [(found["queues"], found["jobs"]) for found in await listed(api, "web")] == [(["web"], [])]
        problem(await api.http.post("/v1/workers/w/quiet", headers={"x-api-key": "web"}), 403, "forbidden")
