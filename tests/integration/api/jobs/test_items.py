"""Batches of items: requests become the items of one job, over a real store."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from queuey.protocol import ids
from tests.support.http import ApiRig, api_over, problem
from tests.support.store import Rig
from tests.support.stores import one_of

shards = one_of(1, 4)
pytestmark = pytest.mark.usefixtures("both_ways")

BATCH: dict[str, Any] = {"key": "rows", "max_size": 3, "max_wait": 60}


def request(payload: object = 1, **fields: Any) -> dict[str, Any]:
    given = {name: fields.pop(name) for name in BATCH if name in fields}
    batch: dict[str, Any] = {**BATCH, **given}
    return {"type": "t", "payload": payload, "batch": batch, **fields}


async def post(api: ApiRig, payload: object = 1, **fields: Any) -> httpx.Response:
    return await api.http.post("/v1/jobs", json=request(payload, **fields))


async def add(api: ApiRig, payload: object = 1, **fields: Any) -> dict[str, Any]:
    response = await post(api, payload, **fields)
    assert response.status_code == 200, response.text
    assert response.headers["location"] == f"/v1/jobs/{response.json()['job_id']}"
    assert int(response.headers["content-length"]) == len(response.content)
    return dict(response.json())


async def test_requests_become_the_items_of_one_job(api: ApiRig) -> None:
    first = await add(api, {"n": 1}, priority="high", tags=["search"])
    assert first == {"job_id": first["job_id"], "deduplicated": False, "items": 1}
    second = await add(api, None, priority="high")
    assert second == {"job_id": first["job_id"], "deduplicated": False, "items": 2}
    job = await api.job(first["job_id"])
    assert (job["status"], job["payload"], job["batch_key"]) == ("scheduled", [{"n": 1}, None], "rows")
    assert (job["tags"], job["priority"]) == (["search"], "high")
    third = await add(api, "three", priority="high")
    assert (third["job_id"], third["items"]) == (first["job_id"], 3)
    job = await api.job(first["job_id"])
    assert (job["status"], job["payload"]) == ("queued", [{"n": 1}, None, "three"])
    fourth = await add(api, 4, priority="high")
    assert fourth["job_id"] != first["job_id"]


async def test_a_job_without_a_batch_has_none(api: ApiRig) -> None:
    response = await api.http.post("/v1/jobs", json={"type": "t", "payload": [1]})
    assert response.json().keys() == {"job_id", "deduplicated"}
    assert (await api.job(response.json()["job_id"]))["batch_key"] is None


async def test_many_at_once_are_each_in_one_job(api: ApiRig) -> None:
    replies = await asyncio.gather(*(add(api, number, max_size=7) for number in range(50)))
    jobs = {reply["job_id"] for reply in replies}
    payloads = [(await api.job(job_id))["payload"] for job_id in jobs]
    assert sorted(item for payload in payloads for item in payload) == list(range(50))
    assert sorted(len(payload) for payload in payloads) == [1, 7, 7, 7, 7, 7, 7, 7]


async def test_keys_have_their_batches_and_their_shards(api: ApiRig, rig: Rig) -> None:
    found = {key: (await add(api, key, key=key))["job_id"] for key in ("a", "b", "ü k", "d")}
    assert len(set(found.values())) == 4
    for key, job_id in found.items():
        assert ids.bucket_of(job_id) == ids.bucket_of_key(key)
        assert (await api.job(job_id))["payload"] == [key]


async def test_a_repeated_request_adds_its_item_once(api: ApiRig) -> None:
    item_id = ids.new_id()
    first = await add(api, 1, id=item_id)
    again = await add(api, 1, id=item_id)
    assert again == {"job_id": first["job_id"], "deduplicated": True}
    assert (await api.job(first["job_id"]))["payload"] == [1]
    assert first["job_id"] != item_id


async def test_the_claim_brings_the_list(api: ApiRig) -> None:
    await add(api, 0)
    await add(api, 1)
    reply = await add(api, 2)
    leased = await api.http.post("/v1/leases", json={"worker": "w", "max": 5})
    (job,) = leased.json()["jobs"]
    assert (job["id"], job["payload"], job["batch_key"]) == (reply["job_id"], [0, 1, 2], "rows")
    done = {"id": job["id"], "token": job["token"], "result": "ok"}
    assert (await api.http.post("/v1/leases/complete", json=done)).status_code == 200
    assert (await api.job(job["id"]))["status"] == "succeeded"


async def test_a_plain_job_is_leased_without_the_field(api: ApiRig) -> None:
    await api.http.post("/v1/jobs", json={"type": "t"})
    (job,) = (await api.http.post("/v1/leases", json={"worker": "w"})).json()["jobs"]
    assert "batch_key" not in job


async def test_in_a_request_with_many_jobs(api: ApiRig) -> None:
    jobs = [request(1), {"type": "t", "payload": "plain"}, request(2), request(3, delay=1), request(4), request(5)]
    results = (await api.http.post("/v1/jobs/batch", json=jobs)).json()["results"]
    assert results[3]["error"]["errors"][0]["pointer"] == "/delay"
    assert [result.get("items") for result in results] == [1, None, 2, None, 3, 1]
    assert len({results[place]["job_id"] for place in (0, 2, 4)}) == 1
    assert (await api.job(results[0]["job_id"]))["payload"] == [1, 2, 4]
    assert (await api.job(results[1]["job_id"]))["payload"] == "plain"
    assert (await api.job(results[5]["job_id"]))["payload"] == [5]


async def test_many_requests_of_only_items(api: ApiRig) -> None:
    results = (await api.http.post("/v1/jobs/batch", json=[request(1), request(2)])).json()["results"]
    assert [result["items"] for result in results] == [1, 2]


async def test_it_is_explained(api: ApiRig) -> None:
    job_id = (await add(api))["job_id"]
    found = (await api.http.get(f"/v1/jobs/{job_id}/explain")).json()
    assert found["reason"] == "waits_for_items"
    job = await api.job(job_id)
    assert (
        found["detail"] == f"It is a batch, which waits for more items until {job['run_at']}, unless it is full before."
    )


async def test_run_now_closes_it(api: ApiRig) -> None:
    job_id = (await add(api))["job_id"]
    assert (await api.http.post(f"/v1/jobs/{job_id}/retry")).status_code == 200
    assert (await add(api, 2))["job_id"] != job_id
    assert (await api.job(job_id))["payload"] == [1]


async def test_a_cancelled_batch_keeps_its_items(api: ApiRig) -> None:
    job_id = (await add(api))["job_id"]
    assert (await api.http.post(f"/v1/jobs/{job_id}/cancel")).status_code == 200
    job = await api.job(job_id)
    assert (job["status"], job["payload"]) == ("cancelled", [1])
    assert (await add(api, 2))["job_id"] != job_id


async def test_a_client_may_wait_for_the_batch(api: ApiRig) -> None:
    job_id = (await add(api, 1, max_size=2))["job_id"]
    waiting = asyncio.create_task(api.http.get(f"/v1/jobs/{job_id}?wait=30"))
    await add(api, 2, max_size=2)
    (job,) = (await api.http.post("/v1/leases", json={"worker": "w", "wait": 30})).json()["jobs"]
    assert (job["id"], job["payload"]) == (job_id, [1, 2])
    done = {"id": job["id"], "token": job["token"], "result": "all"}
    await api.http.post("/v1/leases/complete", json=done)
    whole = (await waiting).json()
    assert (whole["id"], whole["status"], whole["result"]) == (job_id, "succeeded", "all")


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "pointer", "detail"),
    [
        ({"dedupe_key": "k"}, "/dedupe_key", "is not for an item of a batch"),
        ({"dedupe_ttl": 5}, "/dedupe_ttl", "is not for an item of a batch"),
        ({"delay": 5}, "/delay", "is not for an item of a batch, which is due with its batch"),
        ({"run_at": "2030-01-01T00:00:00Z"}, "/run_at", "is not for an item of a batch"),
        ({"expires_in": 60}, "/expires_in", "must be longer than the time until the batch is due (max_wait)"),
        ({"key": ""}, "/batch/key", "must be 1 to 256 bytes of printable text"),
        ({"key": "a\nb"}, "/batch/key", "must be 1 to 256 bytes of printable text"),
        ({"key": "ü" * 129}, "/batch/key", "must be 1 to 256 bytes of printable text"),
        ({"max_size": 0}, "/batch/max_size", "must be"),
        ({"max_size": 10_001}, "/batch/max_size", "must be"),
        ({"max_wait": 0}, "/batch/max_wait", "must be"),
        ({"max_wait": 86_401}, "/batch/max_wait", "must be"),
        ({"id": "x"}, "/id", "must be"),
        ({"batch": {"key": "k", "max_size": 2}}, "/batch/max_wait", "is missing"),
        ({"batch": {**BATCH, "size": 2}}, "/batch/size", "is unknown"),
        ({"batch": "k"}, "/batch", "must be"),
    ],
)
async def test_what_is_refused(api: ApiRig, fields: dict[str, Any], pointer: str, detail: str) -> None:
    body = problem(await post(api, **fields), 422, "invalid")
    assert [fault["pointer"] for fault in body["errors"]] == [pointer]
    assert detail in body["errors"][0]["detail"]


async def test_all_faults_are_named(api: ApiRig) -> None:
    body = problem(await post(api, delay=1, dedupe_key="k", priority="no", max_size=0), 422, "invalid")
    assert {"/priority", "/batch/max_size"} <= {fault["pointer"] for fault in body["errors"]}
    body = problem(await post(api, delay=1, dedupe_key="k", expires_in=1), 422, "invalid")
    assert {"/delay", "/dedupe_key"} <= {fault["pointer"] for fault in body["errors"]}


async def test_an_idempotency_key_is_refused(api: ApiRig) -> None:
    response = await api.http.post("/v1/jobs", json=request(), headers={"idempotency-key": "k"})
    (fault,) = problem(response, 422, "invalid")["errors"]
    assert fault["pointer"] == "/batch"
    assert "give the item an id instead" in fault["detail"]


async def test_the_wait_is_within_max_delay(rig: Rig) -> None:
    async with api_over(rig.broker, max_delay=30) as api:
        (fault,) = problem(await post(api), 422, "invalid")["errors"]
    assert fault == {"pointer": "/batch/max_wait", "detail": "must be at most 30s (max_delay)"}


async def test_a_full_store_takes_no_item(api: ApiRig) -> None:
    item_id = ids.new_id()
    job_id = (await add(api, 1, id=item_id))["job_id"]
    api.producer.set_full(True)
    problem(await post(api, 2), 429, "full")
    assert (await add(api, 1, id=item_id)) == {"job_id": job_id, "deduplicated": True}
