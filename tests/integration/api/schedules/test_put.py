"""PUT, GET and DELETE of schedules."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from queuey.protocol.models import MAX_EXCLUDED
from queuey.services.schedules.keeping import MAX_TRIES
from tests.integration.api.described import named
from tests.integration.api.schedules.conftest import CRON, JOB, get, made, put
from tests.support.http import ApiRig, api_over, moment, problem
from tests.support.store import Rig


async def test_a_new_schedule(api: ApiRig) -> None:
    response = await put(api)
    assert response.status_code == 201
    answer = response.json()
    assert answer["name"] == "nightly"
    assert (answer["status"], answer["version"], answer["queue"]) == ("active", 1, "reports")
    assert answer["job"] == JOB
    assert {name: answer[name] for name in ("cron", "every", "at", "timezone")} == {
        "cron": "30 2 * * *",
        "every": None,
        "at": None,
        "timezone": "Europe/Berlin",
    }
    times = [moment(time) for time in answer["next"]]
    assert len(times) == 5
    assert all(timedelta(hours=23) <= later - earlier <= timedelta(hours=25) for earlier, later in pairwise(times))
    assert moment(answer["due_at"]) == times[0]
    assert any("has no 02:30: fires 03:00" in warning for warning in answer["warnings"])
    assert answer["detail"] == f"It fires next at {times[0]:%Y-%m-%d %H:%M:%S}Z."
    shown = await get(api)
    assert shown.pop("runs") == []
    del answer["warnings"]
    assert shown == answer


@pytest.mark.parametrize(
    "again",
    [
        {},
        {"exclude": []},
        {"overlap": "skip", "jitter": 0, "catch_up_window": 3600},
        {"job": {"queue": "reports", "type": "report", "payload": None}},
    ],
    ids=str,
)
async def test_the_same_again_changes_nothing(rig: Rig, api: ApiRig, again: dict[str, Any]) -> None:
    first = await put(api)
    async with rig.unchanged():
        response = await put(api, **again)
    assert response.status_code == 200
    assert response.json() == first.json()
    assert response.headers["etag"] == first.headers["etag"]


async def test_what_means_the_same_is_the_same(rig: Rig, api: ApiRig) -> None:
    job = {**JOB, "payload": {"n": 12345678901234567890, "list": [1, 2.5]}, "metadata": {"b": "1", "a": "2"}}
    await made(api, cron=None, every=60, exclude=["2030-12-26", "2030-12-25"], job=job)
    text = (
        '{"exclude": ["2030-12-25", "2030-12-26", "2030-12-25"], "timezone": "Europe/Berlin", "every": 60.0, "job":'
        '{"metadata": {"a": "2", "b": "1"}, "payload": {"n": 12345678901234567890, "list": [1,  2.5]},'
        '"queue": "reports", "type": "report"}}'
    )
    async with rig.unchanged():
        response = await api.http.put("/v1/schedules/nightly", content=text)
    assert (response.status_code, response.json()["version"]) == (200, 1)
    assert b"12345678901234567890" in response.content
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    await made(api, "once", cron=None, at=at.isoformat())
    other = at.astimezone(datetime.now(UTC).astimezone(None).tzinfo).isoformat()
    assert (await put(api, "once", cron=None, at=other)).json()["version"] == 1
    elsewhere = at.isoformat().replace("+00:00", "Z")
    assert (await put(api, "once", cron=None, at=elsewhere)).json()["version"] == 1


async def test_a_replaced_one_keeps_its_history_its_pause_and_the_anchor_of_its_ticks(api: ApiRig) -> None:
    first = await made(api, cron=None, every=3600)
    (await api.http.post("/v1/schedules/nightly/trigger")).raise_for_status()
    (await api.http.post("/v1/schedules/nightly/pause")).raise_for_status()
    answer = await made(api, cron=None, every=3600, overlap="allow")
    assert (answer["version"], answer["status"], answer["overlap"]) == (2, "paused", "allow")
    assert answer["created_at"] == first["created_at"]
    assert moment(answer["replaced_at"]) >= moment(first["created_at"])
    assert [run["kind"] for run in (await get(api))["runs"]] == ["trigger"]
    resumed = (await api.http.post("/v1/schedules/nightly/resume")).json()
    assert (moment(resumed["next"][0]) - moment(first["next"][0])) % timedelta(hours=1) == timedelta(0)


async def test_deleted_and_made_again_it_is_another_one(api: ApiRig) -> None:
    await made(api)
    span = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "overlap": "allow"}
    (await api.http.post("/v1/schedules/nightly/backfill", json=span)).raise_for_status()
    first = (await get(api))["last_job_id"]
    response = await api.http.delete("/v1/schedules/nightly")
    assert (response.status_code, response.content) == (204, b"")
    problem(await api.http.get("/v1/schedules/nightly"), 404, "not-found")
    problem(await api.http.delete("/v1/schedules/nightly"), 404, "not-found")
    assert (await api.job(first))["status"] == "queued"
    response = await put(api)
    assert (response.status_code, response.json()["version"]) == (201, 1)
    assert (await get(api))["runs"] == []
    assert (await api.http.post("/v1/schedules/nightly/backfill", json=span)).json()["fired"] == 1
    second = (await get(api))["last_job_id"]
    assert second != first
    assert second[:2] == first[:2], "both are on the shard of the name"


async def test_two_puts_at_once_and_one_of_them_wins(api: ApiRig) -> None:
    await made(api, cron=None, every=60)
    answers = await asyncio.gather(*(put(api, cron=None, every=61 + number) for number in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert max(answer.json()["version"] for answer in answers) == 9
    last = await get(api)
    assert last["version"] == 9
    assert last["every"] in range(61, 69)


async def test_eight_that_make_one_name_at_once(api: ApiRig) -> None:
    answers = await asyncio.gather(*(put(api) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert {answer.json()["version"] for answer in answers} == {1}


async def test_a_put_that_others_always_overtake_ends(api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    await made(api)
    tries = 0

    async def overtaken(shard: int, items: Any, **_: Any) -> list[tuple[str, str]]:
        nonlocal tries
        tries += 1
        return [("conflict", "other.1")]

    monkeypatch.setattr(api.broker.schedules, "put_schedules", overtaken)
    problem(await put(api, overlap="allow"), 409, "conflict")
    assert tries == MAX_TRIES


async def test_conditions(rig: Rig, api: ApiRig) -> None:
    first = await put(api)
    tag = first.headers["etag"]
    assert (await api.http.get("/v1/schedules/nightly")).headers["etag"] == tag
    path, body = "/v1/schedules/nightly", {**CRON, "overlap": "allow"}
    for headers in (
        {"if-match": '"other.1"'},
        {"if-match": f"W/{tag}"},
        {"if-none-match": "*"},
        {"if-none-match": tag},
    ):
        async with rig.unchanged():
            problem(await api.http.put(path, json=body, headers=headers), 412, "precondition-failed")
    async with rig.unchanged():
        problem(
            await api.http.put("/v1/schedules/other", json=body, headers={"if-match": "*"}), 412, "precondition-failed"
        )
        problem(await api.http.delete(path, headers={"if-match": '"other.1"'}), 412, "precondition-failed")
        same = await api.http.put(path, json=CRON, headers={"if-none-match": "*"})
        assert same.status_code == 200, "a request that was sent again after its answer was lost"
    second = await api.http.put(path, json=body, headers={"if-match": f'"x", {tag}'})
    assert second.status_code == 200
    assert second.headers["etag"] != tag
    problem(await api.http.delete(path, headers={"if-match": tag}), 412, "precondition-failed")
    assert (await api.http.put("/v1/schedules/other", json=body, headers={"if-none-match": "*"})).status_code == 201
    assert (await api.http.delete(path, headers={"if-match": second.headers["etag"]})).status_code == 204


async def test_a_one_off_whose_time_has_passed(rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same again is fine, also after its time; another one in the past is refused."""
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    await made(api, cron=None, at=at.isoformat())
    later = int((at + timedelta(days=1)).timestamp() * 1000)
    monkeypatch.setattr("queuey.api.routes.schedules._now_ms", lambda: later)
    async with rig.unchanged():
        assert (await put(api, cron=None, at=at.isoformat())).status_code == 200
    past = await put(api, cron=None, at="2020-01-01T00:00:00Z")
    assert named(problem(past, 422, "invalid")) == ["/at"]
    assert named(problem(await put(api, "new", cron=None, at="2020-01-01T00:00:00Z"), 422, "invalid")) == ["/at"]
    both = await put(api, cron=None, at="2020-01-01T00:00:00Z", jitter=-1)
    assert named(problem(both, 422, "invalid")) == ["/jitter", "/at"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"job": None}, ["/job"]),
        ({"cron": None}, [""]),
        ({"cron": "0 0 30 2 *"}, ["/cron"]),
        ({"timezone": "Europe"}, ["/timezone"]),
        ({"cron": "60 * * * * *", "every": 5, "job": {"type": "t", "delay": 1}}, ["/job/delay", "/cron", "/every"]),
        ({"exclude": ["2026-12-25"] * (MAX_EXCLUDED + 1)}, ["/exclude"]),
        ({"job": {**JOB, "dedupe_key": "k", "run_at": "2027-01-01T00:00:00Z"}}, ["/job/dedupe_key", "/job/run_at"]),
        ({"next": []}, ["/next"]),
        ({"app": "shop"}, ["/app"]),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_faults(rig: Rig, api: ApiRig, fields: dict[str, Any], expected: list[str]) -> None:
    async with rig.unchanged():
        response = await put(api, **fields)
    assert set(named(problem(response, 422, "invalid"))) == {*expected}


async def test_a_job_that_does_not_fit_its_type(rig: Rig) -> None:
    await rig.broker.replicas.register()
    async with api_over(rig.broker, check_payloads="yes") as api:
        response = await put(api, job={"type": "typed", "payload": {"to": 5}})
        assert named(problem(response, 422, "invalid")) == ["/job/payload/to"]
        assert (await put(api, job={"type": "typed", "payload": {"to": "you"}})).status_code == 201


@pytest.mark.parametrize("name", ["x" * 300, "x" * 129, "a b", "-a", "a%2Fb", "é", "a%00b"])
async def test_a_name_that_no_schedule_can_have(rig: Rig, api: ApiRig, name: str) -> None:
    path = f"/v1/schedules/{name}"
    async with rig.unchanged():
        response = await api.http.put(path, json=CRON)
        if name == "a%2Fb":  # another path
            problem(response, response.status_code, response.json()["type"].rpartition(":")[2])
            assert response.status_code in (404, 405)
        else:
            assert named(problem(response, 422, "invalid")) == ["name"]
            assert len(response.text) < 1000
        for request in ("GET ", "DELETE ", "POST /pause", "POST /resume", "POST /trigger"):
            method, rest = request.split(" ")
            response = await api.http.request(method, path + rest)
            assert response.status_code in (404, 405)
            assert len(response.text) < 1000


async def test_the_longest_name_and_the_path_of_the_preview(api: ApiRig) -> None:
    assert (await put(api, "x" * 128)).status_code == 201
    problem(await put(api, "preview"), 405, "method-not-allowed")


async def test_while_older_servers_use_the_store(rig: Rig, api: ApiRig) -> None:
    for shard in range(rig.broker.shards.count):
        await rig.client.hset(rig.broker.shards.keys[shard].meta, "features", "aside")
    async with rig.unchanged():
        found = problem(await put(api), 409, "upgrade-in-progress")
    assert "older version" in found["detail"]


async def test_too_many_on_a_shard(rig: Rig, api: ApiRig) -> None:
    for shard in range(rig.broker.shards.count):
        names = rig.broker.shards.keys[shard].schedule_names
        await rig.client.zadd(names, {f"x{number}": 0 for number in range(10_000)})
    async with rig.unchanged():
        response = await put(api)
    found = problem(response, 422, "invalid")
    assert named(found) == ["name"]
    assert "10,000" in found["detail"]


async def test_one_that_only_a_newer_version_can_read(rig: Rig, api: ApiRig) -> None:
    await made(api)
    await made(api, "other")
    shard = rig.broker.shards.of_schedule("nightly")
    key = rig.broker.shards.keys[shard].schedule("nightly")
    record = (await rig.client.get(key)).decode()
    await rig.client.set(key, record.replace('"cron":"30 2 * * *"', '"cron":{"any":["30 2 * * *"]}'))
    for response in (await api.http.get("/v1/schedules/nightly"), await api.http.delete("/v1/schedules/nightly")):
        assert "newer version" in problem(response, 409, "upgrade-in-progress")["detail"]
    listed = (await api.http.get("/v1/schedules")).json()
    assert [schedule["name"] for schedule in listed["schedules"]] == ["other"]
    await rig.client.set(key, record.replace('"job":{', '"new":1,"job":{"new":2,'))
    assert (await get(api))["job"] == JOB, "a field that is not known is ignored"


async def test_an_app_changes_only_its_own(rig: Rig, api: ApiRig) -> None:
    by_shop = await api.http.put("/v1/schedules/nightly?app=shop", json=CRON)
    assert (by_shop.status_code, by_shop.json()["app"]) == (201, "shop")
    await made(api, "by-hand")
    changed = {"every": 60, "job": JOB}
    async with rig.unchanged():
        same = await api.http.put("/v1/schedules/nightly?app=shop", json=CRON)
        assert (same.status_code, same.json()["version"]) == (200, 1)
        for name, app, said in (
            ("nightly", "blog", "The schedule nightly is that of the App shop, and the App blog leaves it as it is."),
            ("by-hand", "shop", "The schedule by-hand was put by hand, and the App shop leaves it as it is."),
        ):
            for method, sent in (("PUT", changed), ("DELETE", None)):
                refused = await api.http.request(method, f"/v1/schedules/{name}?app={app}", json=sent)
                assert problem(refused, 412, "precondition-failed")["detail"] == said
    replaced = await api.http.put("/v1/schedules/nightly?app=shop", json=changed)
    assert (replaced.status_code, replaced.json()["version"]) == (200, 2)
    assert (await api.http.delete("/v1/schedules/nightly?app=shop")).status_code == 204


async def test_a_put_by_hand_takes_a_schedule_away_from_its_app(api: ApiRig) -> None:
    assert (await api.http.put("/v1/schedules/nightly?app=shop", json=CRON)).json()["app"] == "shop"
    assert (await put(api)).json()["app"] is None


async def test_the_name_of_an_app_is_a_name(api: ApiRig) -> None:
    refused = await api.http.put("/v1/schedules/nightly?app=a%20b", json=CRON)
    assert problem(refused, 422, "invalid")["errors"][0]["parameter"] == "app"
