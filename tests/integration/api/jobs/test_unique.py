"""Unique jobs over HTTP: `unique`, `debounce` and `throttle` of POST /v1/jobs and of a batch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from queuey.protocol import ids
from tests.support.http import ApiRig, api_over, moment, problem
from tests.support.store import Rig
from tests.support.stores import one_of

shards = one_of(1, 4)
pytestmark = pytest.mark.usefixtures("both_ways")

SYNC = {"type": "sync", "payload": 1, "unique": {"key": "customer:42"}}


@pytest.fixture
async def api(rig: Rig) -> AsyncIterator[ApiRig]:
    await rig.broker.replicas.register()
    async with api_over(rig.broker) as api:
        yield api


async def post(api: ApiRig, **fields: Any) -> dict[str, Any]:
    response = await api.http.post("/v1/jobs", json=SYNC | fields)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def start(rig: Rig, job_id: str) -> tuple[str, str]:
    claimed = await rig.broker.leases.claim(
        rig.broker.shards.of_job(job_id), claim_id="c1", worker="w1", lease_ms=30_000, limit=1, queues=["default"]
    )
    return claimed.jobs[0].id, claimed.jobs[0].token


async def test_a_request_finds_the_job_that_holds_its_key(api: ApiRig) -> None:
    first = await post(api)
    assert first == {"job_id": first["job_id"], "deduplicated": False}
    assert ids.bucket_of(first["job_id"]) == ids.bucket_of_key("customer:42")
    assert await post(api) == {"job_id": first["job_id"], "deduplicated": True}
    job = await api.job(first["job_id"])
    assert job["unique"] == {"key": "customer:42", "until": "finished", "ttl": 30 * 24 * 3600}
    assert job["dedupe_key"] is None


async def test_a_request_is_rejected_with_the_job_that_holds_its_key(api: ApiRig) -> None:
    first = await post(api)
    body = SYNC | {"unique": {"key": "customer:42", "on_conflict": "reject"}}
    for _ in range(2):
        found = problem(await api.http.post("/v1/jobs", json=body), 409, "key-held")
        assert found["job_ids"] == [first["job_id"]]


async def test_a_waiting_job_gets_the_payload_and_a_running_one_is_followed(api: ApiRig, rig: Rig) -> None:
    replace = {"unique": {"key": "customer:42", "on_conflict": "replace"}}
    first = await post(api, **replace)
    job_id = first["job_id"]
    assert await post(api, payload=2, **replace) == {"job_id": job_id, "deduplicated": True, "replaced": "payload"}
    assert (await api.job(job_id))["payload"] == 2
    _, token = await start(rig, job_id)
    next_id = ids.new_id("customer:42")
    follows = {"job_id": job_id, "deduplicated": True, "replaced": "follows"}
    assert await post(api, payload=3, id=next_id, **replace) == follows
    explained = (await api.http.get(f"/v1/jobs/{job_id}/explain")).json()
    assert (explained["unique_key"], explained["unique_key_holder"]) == ("customer:42", job_id)
    assert explained["followed_by"] == next_id
    await rig.broker.leases.complete(rig.broker.shards.of_job(job_id), [(job_id, token, "")])
    following = await api.job(next_id)
    assert (following["status"], following["payload"]) == ("queued", 3)
    explained = (await api.http.get(f"/v1/jobs/{job_id}/explain")).json()
    assert explained["unique_key_holder"] == next_id
    assert "followed_by" not in explained


async def test_a_job_of_another_type_is_not_replaced(api: ApiRig) -> None:
    first = await post(api)
    body = SYNC | {"type": "other", "unique": {"key": "customer:42", "on_conflict": "replace"}}
    found = problem(await api.http.post("/v1/jobs", json=body), 409, "key-held")
    assert found["job_ids"] == [first["job_id"]]
    assert "type, queue, priority" in found["detail"]


async def test_a_debounced_job_is_put_off_and_gets_the_last_payload(api: ApiRig) -> None:
    debounce = {"unique": None, "debounce": {"key": "page:7", "wait": 60, "max_wait": 90}}
    fields = {name: value for name, value in debounce.items() if value is not None}
    body = {"type": "page.index", "payload": 1, **fields}
    first = (await api.http.post("/v1/jobs", json=body)).json()
    job = await api.job(first["job_id"])
    assert job["status"] == "scheduled"
    assert moment(job["run_at"]) - moment(job["created_at"]) == timedelta(seconds=60)
    again = (await api.http.post("/v1/jobs", json=body | {"payload": 2})).json()
    assert again == {"job_id": first["job_id"], "deduplicated": True, "replaced": "payload"}
    later = await api.job(first["job_id"])
    assert later["payload"] == 2
    assert timedelta(seconds=60) < moment(later["run_at"]) - moment(job["created_at"]) <= timedelta(seconds=90)
    assert later["unique"]["until"] == "started"


async def test_a_throttled_job_is_found_after_its_end(api: ApiRig, rig: Rig) -> None:
    body = {"type": "mail", "throttle": {"key": "user:5", "per": 3600}}
    first = (await api.http.post("/v1/jobs", json=body)).json()
    job_id, token = await start(rig, first["job_id"])
    await rig.broker.leases.complete(rig.broker.shards.of_job(job_id), [(job_id, token, "")])
    assert (await api.http.post("/v1/jobs", json=body)).json() == {"job_id": job_id, "deduplicated": True}
    assert (await api.job(job_id))["unique"] == {"key": "user:5", "until": "ttl", "ttl": 3600}


async def test_each_item_of_a_batch_has_its_outcome(api: ApiRig) -> None:
    rejected = SYNC | {"unique": {"key": "customer:42", "on_conflict": "reject"}}
    replaced = SYNC | {"payload": 5, "unique": {"key": "customer:42", "on_conflict": "replace"}}
    answer = await api.http.post("/v1/jobs/batch", json=[SYNC, SYNC, rejected, replaced, {"type": "plain"}])
    first, second, third, fourth, fifth = answer.json()["results"]
    job_id = first["job_id"]
    assert first == {"job_id": job_id, "deduplicated": False}
    assert second == {"job_id": job_id, "deduplicated": True}
    assert third["error"]["type"].endswith("key-held")
    assert fourth == {"job_id": job_id, "deduplicated": True, "replaced": "payload"}
    assert fifth["deduplicated"] is False
    assert (await api.job(job_id))["payload"] == 5


async def test_older_replicas_hold_unique_jobs_back(api: ApiRig, rig: Rig) -> None:
    for keys in rig.broker.shards.keys:
        await rig.client.hset(keys.meta, "features", "aside")
    problem(await api.http.post("/v1/jobs", json=SYNC), 409, "upgrade-in-progress")


async def test_a_replay_finds_the_key_taken(api: ApiRig, rig: Rig) -> None:
    first = await post(api)
    job_id, token = await start(rig, first["job_id"])
    error = '{"attempt":1,"kind":"error","message":"m"}'
    await rig.broker.leases.fail(rig.broker.shards.of_job(job_id), [(job_id, token, error, 0, True)])
    second = await post(api)
    assert second["deduplicated"] is False
    assert "key" in problem(await api.http.post(f"/v1/jobs/{job_id}/retry"), 409, "wrong-state")["detail"]


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({"dedupe_key": "k"}, ["/dedupe_key", "/unique"]),
        ({"throttle": {"key": "k", "per": 1}}, ["/unique", "/throttle"]),
        ({"dedupe_ttl": 5}, ["/dedupe_ttl"]),
        ({"dedupe_ttl": 5, "tags": [""]}, ["/tags/0", "/dedupe_ttl"]),
        ({"unique": {"key": ""}}, ["/unique/key"]),
        ({"unique": {"key": "x" * 257}}, ["/unique/key"]),
        ({"unique": {"key": "a\nb"}}, ["/unique/key"]),
        ({"unique": {}}, ["/unique/key"]),
        ({"unique": {"key": "k", "until": "done"}}, ["/unique/until"]),
        ({"unique": {"key": "k", "on_conflict": "ignore"}}, ["/unique/on_conflict"]),
        ({"unique": {"key": "k", "ttl": 0}}, ["/unique/ttl"]),
        ({"unique": {"key": "k", "ttl": 31 * 24 * 3600}}, ["/unique/ttl"]),
        ({"unique": {"key": "k", "until": "ttl", "on_conflict": "replace"}}, ["/unique/on_conflict"]),
        ({"unique": {"key": "k", "ttl": 60}, "delay": 60}, ["/unique/ttl"]),
        ({"id": "4C01M85WK1F481TEH724WFD9NG9Z"}, ["/id"]),
    ],
)
async def test_what_is_wrong_has_a_pointer(api: ApiRig, fields: dict[str, Any], pointers: list[str]) -> None:
    found = problem(await api.http.post("/v1/jobs", json=SYNC | fields), 422, "invalid")
    assert [fault["pointer"] for fault in found["errors"]] == pointers
    assert (await api.http.get("/v1/jobs")).json()["jobs"] == []


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({"debounce": {"key": "k", "wait": 10}, "delay": 5}, ["/delay"]),
        ({"debounce": {"key": "k", "wait": 10}, "dedupe_ttl": 5}, ["/dedupe_ttl"]),
        ({"throttle": {"key": "k", "per": 10}, "dedupe_ttl": 5}, ["/dedupe_ttl"]),
        ({"debounce": {"key": "k", "wait": 10, "max_wait": 9}}, ["/debounce/max_wait"]),
        ({"debounce": {"key": "k", "wait": 10}, "expires_in": 100}, ["/expires_in"]),
        ({"debounce": {"key": "k", "wait": 0}}, ["/debounce/wait"]),
        ({"debounce": {"wait": 1}}, ["/debounce/key"]),
        ({"throttle": {"key": "k"}}, ["/throttle/per"]),
        ({"throttle": {"key": "k", "per": 31 * 24 * 3600}}, ["/throttle/per"]),
    ],
)
async def test_what_is_wrong_with_a_wait_has_a_pointer(
    api: ApiRig, fields: dict[str, Any], pointers: list[str]
) -> None:
    found = problem(await api.http.post("/v1/jobs", json={"type": "t", **fields}), 422, "invalid")
    assert [fault["pointer"] for fault in found["errors"]] == pointers


async def test_an_idempotency_key_is_refused_beside_a_unique_key(api: ApiRig) -> None:
    response = await api.http.post("/v1/jobs", json=SYNC, headers={"idempotency-key": "a"})
    assert [fault["pointer"] for fault in problem(response, 422, "invalid")["errors"]] == ["/unique"]


async def test_the_job_of_a_schedule_is_not_unique(api: ApiRig) -> None:
    body = {"every": 60, "job": SYNC}
    found = problem(await api.http.post("/v1/schedules/preview", json=body), 422, "invalid")
    assert [fault["pointer"] for fault in found["errors"]] == ["/job/unique"]
