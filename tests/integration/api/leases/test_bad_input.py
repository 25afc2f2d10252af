"""Requests of pull workers that are refused change nothing in the store."""

from __future__ import annotations

from typing import Any

import pytest

from queuey.protocol import ids
from tests.support.http import ApiRig, problem
from tests.support.pull.leasing import ACTS, COMPLETE, FAIL, LEASES, failing, held, one
from tests.support.store import Rig

NAMES = [f"q{number}" for number in range(257)]


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({"lease": 0}, "/lease"),
        ({"lease": 31536000}, "/lease"),
        ({"lease": "30"}, "/lease"),
        ({"wait": 3600}, "/wait"),
        ({"wait": -1}, "/wait"),
        ({"max": 0}, "/max"),
        ({"max": 501}, "/max"),
        ({"max": 1.5}, "/max"),
        ({"queues": []}, "/queues"),
        ({"queues": NAMES}, "/queues"),
        ({"queues": ["a b"]}, "/queues/0"),
        ({"claim_id": ""}, "/claim_id"),
        ({"claim_id": "x" * 65}, "/claim_id"),
        ({"claim_id": "a b"}, "/claim_id"),
        ({"worker": "a=b"}, "/worker"),
        ({"quues": ["a"]}, "/quues"),
    ],
)
async def test_a_lease_that_cannot_be_is_refused_by_field(
    rig: Rig, api: ApiRig, asked: dict[str, Any], pointer: str
) -> None:
    async with rig.unchanged():
        found = problem(await api.http.post(LEASES, json=asked), 422, "invalid")
    assert found["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("path", ACTS)
async def test_an_outcome_that_cannot_be_is_refused_by_field(rig: Rig, api: ApiRig, path: str) -> None:
    good = {"id": ids.new_id(), "token": "1.abc"} | failing(path)
    bad: list[tuple[dict[str, Any], str]] = [
        ({"id": good["id"]}, "/token"),
        (good | {"id": "short"}, "/id"),
        (good | {"token": "x" * 100}, "/token"),
        (good | {"token": "1.a b=c"}, "/token"),
        (good | {"sttus": 1}, "/sttus"),
        ({"jobs": []}, "/jobs"),
        ({"jobs": 1}, "/jobs"),
        ({"jobs": [good], "id": good["id"]}, "/id"),
    ]
    async with rig.unchanged():
        for body, pointer in bad:
            found = problem(await api.http.post(path, json=body), 422, "invalid")
            assert found["errors"][0]["pointer"] == pointer
        problem(await api.http.post(path, json={"jobs": [good] * 501}), 413, "too-large")
        problem(await api.http.post(path, json={"jobs": [good] * 20_000}), 413, "too-large")
        problem(await api.http.post(path, content=b"", headers={"content-type": "application/json"}), 400, "malformed")
        problem(await api.http.post(path, content=b"{", headers={"content-type": "application/json"}), 400, "malformed")


async def test_a_result_that_is_no_json_value_is_refused(rig: Rig, api: ApiRig) -> None:
    job = await one(api)
    head = f'{{"id":"{job["id"]}","token":"{job["token"]}","result":'.encode()
    for result, status in ((b"1e999", 422), (b'"\\ud800"', 400), (b"[" * 65 + b"]" * 65, 400), (b"nul", 400)):
        content = head + result + b"}"
        response = await api.http.post(COMPLETE, content=content, headers={"content-type": "application/json"})
        assert response.status_code == status, (result, response.text)
    assert (await api.job(job["id"]))["status"] == "running"


async def test_a_retry_after_two_years_or_an_error_that_is_missing_is_refused(api: ApiRig) -> None:
    job = await one(api)
    for more in ({"error": "e", "retry_after": 2 * 31536000}, {}, {"error": {"kind": "x"}}, {"error": 5}):
        problem(await api.http.post(FAIL, json=held(job) | more), 422, "invalid")
    assert (await api.job(job["id"]))["status"] == "running"
