"""The header Idempotency-Key of POST /v1/jobs over a real store."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from tests.support.http import ApiRig, api_over, keys, problem
from tests.support.store import Rig
from tests.support.stores import one_of

shards = one_of(3)
pytestmark = pytest.mark.usefixtures("both_ways")

BODY = {"type": "t", "payload": {"n": 1}}


async def post(api: ApiRig, key: str, body: object = BODY, path: str = "/v1/jobs", **headers: str) -> httpx.Response:
    return await api.http.post(path, json=body, headers={"idempotency-key": key, **headers})


async def made(api: ApiRig, key: str, **headers: str) -> str:
    response = await post(api, key, **headers)
    assert response.json()["deduplicated"] is False
    assert "idempotent-replayed" not in response.headers
    return str(response.json()["job_id"])


async def end(rig: Rig, job_id: str, *, dead: bool) -> None:
    shard = rig.broker.shards.of_job(job_id)
    claimed = await rig.broker.leases.claim(
        shard, claim_id="c", worker="w", lease_ms=30_000, limit=1, queues=["default"], now=0
    )
    (job,) = claimed.jobs
    if dead:
        error = '{"attempt":1,"kind":"error","message":"no"}'
        assert await rig.broker.leases.fail(shard, [(job.id, job.token, error, 0, True)]) == ["dead"]
    else:
        assert await rig.broker.leases.complete(shard, [(job.id, job.token, "")]) == ["ok"]


async def test_the_same_request_again_finds_the_job(api: ApiRig) -> None:
    job_id = await made(api, "k")
    again = await post(api, "k")
    assert (again.status_code, again.json()) == (200, {"job_id": job_id, "deduplicated": True})
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == f"/v1/jobs/{job_id}"
    assert int(again.headers["content-length"]) == len(again.content)
    job = await api.job(job_id)
    assert (job["dedupe_key"], job["payload"]) == (None, {"n": 1})
    assert await made(api, "other") != job_id


async def test_requests_at_once_make_one_job(api: ApiRig) -> None:
    responses = await asyncio.gather(*(post(api, "k") for _ in range(20)))
    assert len({response.json()["job_id"] for response in responses}) == 1
    assert sorted(response.json()["deduplicated"] for response in responses) == [False] + [True] * 19


@pytest.mark.parametrize("dead", [False, True])
async def test_also_when_it_has_ended_or_its_record_is_gone(rig: Rig, api: ApiRig, dead: bool) -> None:
    job_id = await made(api, "k")
    await end(rig, job_id, dead=dead)
    assert (await post(api, "k")).json() == {"job_id": job_id, "deduplicated": True}
    assert await rig.broker.jobs.delete(rig.broker.shards.of_job(job_id), [job_id]) == ["ok"]
    assert (await post(api, "k")).json() == {"job_id": job_id, "deduplicated": True}
    problem(await post(api, "k", {**BODY, "priority": "high"}), 422, "idempotency-mismatch")


async def test_also_when_it_was_cancelled(api: ApiRig) -> None:
    job_id = await made(api, "k")
    await api.http.post(f"/v1/jobs/{job_id}/cancel")
    assert (await post(api, "k")).json() == {"job_id": job_id, "deduplicated": True}


async def test_another_body_is_refused_and_makes_nothing(rig: Rig, api: ApiRig) -> None:
    await made(api, "k")
    async with rig.unchanged(but=[keys.stats for keys in rig.broker.shards.keys]):
        found = problem(await post(api, "k", {"type": "t", "payload": {"n": 2}}), 422, "idempotency-mismatch")
    assert "another body" in found["detail"]


async def test_it_holds_for_a_day(rig: Rig, api: ApiRig) -> None:
    job_id = await made(api, "k")
    (name,) = await rig.client.keys("*dedupe:*")
    assert await rig.client.get(name) == job_id.encode()
    assert 86_390_000 < await rig.client.pttl(name) <= 86_400_000
    await rig.client.delete(name)
    assert await made(api, "k") != job_id


async def test_it_is_no_dedupe_key(api: ApiRig) -> None:
    by_header = await made(api, "k")
    by_field = await api.submit(dedupe_key="k")
    assert by_header != by_field


@pytest.mark.parametrize("field", [{"dedupe_key": "k"}, {"id": "4C01M85WK1F481TEH724WFD9NG9Z"}])
async def test_not_beside_another_name_for_the_job(api: ApiRig, field: dict[str, str]) -> None:
    found = problem(await post(api, "k", BODY | field), 422, "invalid")
    assert found["errors"][0]["pointer"] == f"/{next(iter(field))}"


@pytest.mark.parametrize("key", ["", "x" * 257, "caf\xe9", "a\tb"])
async def test_a_bad_key_is_named(api: ApiRig, key: str) -> None:
    headers = httpx.Headers({"idempotency-key": key}, encoding="latin-1")
    found = problem(await api.http.post("/v1/jobs", json=BODY, headers=headers), 422, "invalid")
    assert found["errors"][0]["parameter"] == "Idempotency-Key"


async def test_a_batch_takes_none(rig: Rig, api: ApiRig) -> None:
    async with rig.unchanged():
        found = problem(await post(api, "k", [BODY], "/v1/jobs/batch"), 422, "invalid")
    assert found["errors"][0]["parameter"] == "Idempotency-Key"


async def test_each_api_key_has_names_of_its_own(rig: Rig) -> None:
    async with api_over(rig.broker, keys(shop="submit", mail="submit")) as api:
        ours, theirs = [await made(api, "k", **{"x-api-key": name}) for name in ("shop", "mail")]
        assert ours != theirs
        assert (await post(api, "k", **{"x-api-key": "shop"})).json()["job_id"] == ours


async def test_who_waits_is_told_too(rig: Rig, api: ApiRig) -> None:
    job_id = await made(api, "k")
    await end(rig, job_id, dead=False)
    again = await post(api, "k", path="/v1/jobs?wait=0")
    assert (again.json()["id"], again.json()["status"]) == (job_id, "succeeded")
    assert again.headers["idempotent-replayed"] == "true"


async def test_the_body_is_compared_as_text(api: ApiRig) -> None:
    await made(api, "k")
    spaced = json.dumps(BODY, indent=1).encode()
    headers = {"idempotency-key": "k", "content-type": "application/json"}
    problem(await api.http.post("/v1/jobs", content=spaced, headers=headers), 422, "idempotency-mismatch")
