"""GET /v1/queues and what can be done to a queue, over a real store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from queuey.protocol import ids
from queuey.services import queues as queue_control
from queuey.services.workers import Description, WorkerReport
from tests.support.http import ApiRig, api_over, keys, problem
from tests.support.store import Rig
from tests.support.stores import SHARDS, one_of

shards = one_of(*SHARDS)

DEV = {"x-api-key": "dev"}


async def post(api: ApiRig, path: str, body: Any = None) -> Any:
    response = await api.http.post(path, json=body, headers=DEV)
    assert response.status_code == 200, response.text
    return response.json()


async def serve(rig: Rig, name: str, *queues: str, quiet: bool = False, types: Sequence[str] = ()) -> None:
    worker = WorkerReport(name, "process", 4, 0, [], list(queues), list(types), quiet=quiet)
    text = msgspec.json.encode(Description("1.0", 1, ["worker"], [worker])).decode()
    await rig.broker.replicas.heartbeat(0, name, text)


# --- looking -------------------------------------------------------------------------------------------------------


async def test_an_empty_store_has_no_queues(api: ApiRig) -> None:
    assert (await api.http.get("/v1/queues")).json() == {"queues": []}
    problem(await api.http.get("/v1/queues/mail"), 404, "not-found")


async def test_what_is_told_of_a_queue(rig: Rig, api: ApiRig) -> None:
    for _ in range(8):
        await api.submit(queue="mail")
    await api.submit(queue="web", delay=60)
    await serve(rig, "b", "mail", "web")
    await serve(rig, "a", "mail")
    await serve(rig, "resting", "mail", quiet=True)
    mail, web = (await api.http.get("/v1/queues")).json()["queues"]
    assert 0 <= mail.pop("claimable_age") <= mail.pop("oldest_age") < 3600
    assert mail == {
        "name": "mail",
        "paused": False,
        "high": 0,
        "default": 8,
        "low": 0,
        "scheduled": 0,
        "running": 0,
        "dead_letter": 0,
        "finished": 0,
        "claimable": 8,
        "paused_by": None,
        "pause_reason": None,
        "paused_at": None,
        "workers": ["a", "b"],
        "waiting_for_handler": {},
    }
    assert (web["claimable"], web["claimable_age"]) == (0, None)
    assert (web["scheduled"], web["oldest_age"], web["workers"]) == (1, None, ["b"])
    assert (await api.http.get("/v1/queues/web")).json() == web


async def test_a_job_of_a_type_that_no_worker_takes_is_not_claimable(rig: Rig, api: ApiRig) -> None:
    aside = [await api.submit(queue="mail", type="letter") for _ in range(3)]
    shard_of = rig.broker.shards.of_job
    for job_id in aside:
        rig.keys = rig.broker.shards.keys[shard_of(job_id)]
        await rig.set_aside([job_id], "letter", queue="mail")

    async def claimable() -> tuple[int, int, bool, bool]:
        (mail,) = (await api.http.get("/v1/queues")).json()["queues"]
        (row,) = (await api.http.get("/v1/queues/metrics")).json()["queues"]
        assert row["claimable"] == mail["claimable"]
        return mail["default"], mail["claimable"], mail["oldest_age"] is None, mail["claimable_age"] is None

    assert await claimable() == (3, 3, False, False), "no worker serves the queue, so nobody knows what the next takes"
    await serve(rig, "a", "mail")
    assert await claimable() == (3, 0, False, True)
    await api.submit(queue="mail")
    assert await claimable() == (4, 1, False, False)
    await serve(rig, "b", "mail", types=["letter"], quiet=True)
    assert (await claimable())[1] == 1
    await serve(rig, "c", "other", types=["letter"])
    assert (await claimable())[1] == 1
    await serve(rig, "d", "mail", types=["letter"])
    assert await claimable() == (4, 4, False, False)


async def test_only_what_the_caller_may_read_is_listed(rig: Rig) -> None:
    async with api_over(rig.broker, keys(all="admin", mail="read@mail")) as api:
        for queue in ("mail", "web"):
            body = {"type": "t", "queue": queue}
            assert (await api.http.post("/v1/jobs", json=body, headers={"x-api-key": "all"})).status_code == 200
        own = {"x-api-key": "mail"}
        assert [queue["name"] for queue in (await api.http.get("/v1/queues", headers=own)).json()["queues"]] == ["mail"]
        problem(await api.http.get("/v1/queues/web", headers=own), 404, "not-found")
        problem(await api.http.post("/v1/queues/mail/pause", json={}, headers=own), 403, "forbidden")


# --- pause and resume ----------------------------------------------------------------------------------------------


async def test_a_paused_queue_gives_out_nothing_until_it_is_resumed(rig: Rig, api: ApiRig) -> None:
    job_id = await api.submit(queue="mail")
    paused = await post(api, "/v1/queues/mail/pause", {"reason": "the relay is down"})
    assert (paused["paused"], paused["paused_by"], paused["pause_reason"]) == (True, "admin", "the relay is down")
    assert paused["paused_at"].endswith("Z")
    rig.shard = rig.broker.shards.of_job(job_id)
    assert (await rig.claim(5, queues=["mail"])).jobs == []
    again = await post(api, "/v1/queues/mail/pause", {"reason": "the relay is down"})
    assert again["paused_at"] == paused["paused_at"]
    resumed = await post(api, "/v1/queues/mail/resume")
    assert [resumed[name] for name in ("paused", "paused_by", "pause_reason", "paused_at")] == [False, None, None, None]
    assert [job.id for job in (await rig.claim(5, queues=["mail"])).jobs] == [job_id]


async def test_a_pause_needs_no_body(rig: Rig, api: ApiRig) -> None:
    for body in (None, b"", b" \n"):
        paused = await api.http.post("/v1/queues/mail/pause", content=body, headers=DEV)
        assert (paused.status_code, paused.json()["pause_reason"]) == (200, "no reason given")
    problem(await api.http.post("/v1/queues/mail/purge", headers=DEV), 400, "malformed")


async def test_a_queue_can_be_paused_before_its_first_job(rig: Rig, api: ApiRig) -> None:
    paused = await api.http.post("/v1/queues/new/pause", json={}, headers=DEV)
    assert (paused.json()["paused"], paused.json()["pause_reason"]) == (True, "no reason given")
    await api.submit(queue="new")
    for shard in range(rig.broker.shards.count):
        rig.shard = shard
        assert (await rig.claim(5, queues=["new"])).jobs == []


async def test_what_is_not_there_is_not_resumed_or_purged(rig: Rig, api: ApiRig) -> None:
    async with rig.unchanged():
        for path in ("resume", "purge"):
            problem(await api.http.post(f"/v1/queues/nowhere/{path}", json={}, headers=DEV), 404, "not-found")
            problem(await api.http.post(f"/v1/queues/no%20name/{path}", json={}, headers=DEV), 404, "not-found")
        problem(await api.http.post("/v1/queues/no%20name/pause", json={}, headers=DEV), 404, "not-found")


@pytest.mark.parametrize(
    ("verb", "body", "pointer"),
    [
        ("pause", {"reason": ""}, "/reason"),
        ("pause", {"reason": "x" * 257}, "/reason"),
        ("pause", {"reason": "a\nb"}, "/reason"),
        ("pause", {"reason": 5}, "/reason"),
        ("pause", {"reasn": "x"}, "/reasn"),
        ("pause", [], ""),
        ("purge", {"status": []}, "/status"),
        ("purge", {"status": ["running"]}, "/status/0"),
        ("purge", {"status": "queued"}, "/status"),
        ("purge", {"states": ["queued"]}, "/states"),
    ],
)
async def test_a_bad_body_is_refused_and_the_field_named(
    rig: Rig, api: ApiRig, verb: str, body: Any, pointer: str
) -> None:
    await api.submit(queue="mail")
    async with rig.unchanged():
        response = await api.http.post(f"/v1/queues/mail/{verb}", json=body, headers=DEV)
    found = problem(response, 422, "invalid")
    assert [error["pointer"] for error in found["errors"]] in ([pointer], [pointer.removesuffix("/0")])


async def test_no_more_than_256_queues(rig: Rig, api: ApiRig) -> None:
    for shard in range(rig.broker.shards.count):
        for number in range(256):
            await rig.broker.queues.pause(shard, f"q{number}", "by hand")
    found = problem(await api.http.post("/v1/queues/more/pause", json={}, headers=DEV), 422, "invalid")
    assert "the maximum number of queues" in found["detail"]


# --- purge ---------------------------------------------------------------------------------------------------------


async def test_what_waits_is_cancelled_on_every_shard(rig: Rig, api: ApiRig) -> None:
    waiting = [await api.submit(queue="mail") for _ in range(8)] + [await api.submit(queue="mail", delay=60)]
    other = await api.submit(queue="web")
    assert await post(api, "/v1/queues/mail/purge", {}) == {"cancelled": 9, "more": False}
    assert {(await api.job(job_id))["status"] for job_id in waiting} == {"cancelled"}
    assert (await api.job(other))["status"] == "queued"
    assert await post(api, "/v1/queues/mail/purge", {}) == {"cancelled": 0, "more": False}


async def test_of_the_wanted_status_alone(api: ApiRig) -> None:
    queued, scheduled = await api.submit(queue="mail"), await api.submit(queue="mail", delay=60)
    assert await post(api, "/v1/queues/mail/purge", {"status": ["scheduled"]}) == {"cancelled": 1, "more": False}
    assert [(await api.job(job_id))["status"] for job_id in (queued, scheduled)] == ["queued", "cancelled"]


async def test_it_stops_at_its_bound_and_says_so(api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_control, "MAX_PURGED", 4)
    monkeypatch.setattr(queue_control, "_PURGE_STEP", 2)
    for _ in range(7):
        await api.submit(queue="mail", id=ids.new_id("k"))
    assert await post(api, "/v1/queues/mail/purge", {}) == {"cancelled": 4, "more": True}
    assert await post(api, "/v1/queues/mail/purge", {}) == {"cancelled": 3, "more": False}


async def test_it_stops_when_its_time_is_over(api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_control, "PURGE_SECONDS", -1.0)
    await api.submit(queue="mail")
    assert await post(api, "/v1/queues/mail/purge", {}) == {"cancelled": 0, "more": True}
