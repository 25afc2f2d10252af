"""PUT /v1/jobs/{id}/payload, over a real store."""

from __future__ import annotations

import json
from typing import Any

import pytest

from queuey.errors import Full
from queuey.protocol import ids
from tests.support.dead import die
from tests.support.http import ApiRig, api_over, problem
from tests.support.store import Rig
from tests.support.stores import SHARDS, one_of

shards = one_of(*SHARDS)
pytestmark = pytest.mark.usefixtures("both_ways")

DEV = {"x-api-key": "dev"}


async def test_a_dead_job_gets_another_payload(rig: Rig, api: ApiRig) -> None:
    job_id = await die(rig, payload='{"to":"adda"}')
    for payload in ({"to": "ada"}, None, [1, {"a": 12345678901234567890}]):
        headers = {**DEV, "content-type": "application/json"}
        response = await api.http.put(f"/v1/jobs/{job_id}/payload", content=json.dumps(payload), headers=headers)
        assert response.json() == {"job_id": job_id, "status": "dead_letter"}
        job = await api.job(job_id)
        assert (job["payload"], job["status"], job["type"]) == (payload, "dead_letter", "t")
    assert (await api.http.post(f"/v1/jobs/{job_id}/retry")).json()["status"] == "queued"
    assert (await api.job(job_id))["payload"] == [1, {"a": 12345678901234567890}]


async def test_and_a_new_run_in_the_same_request(rig: Rig, api: ApiRig) -> None:
    job_id = await die(rig)
    response = await api.http.put(f"/v1/jobs/{job_id}/payload?requeue=true", json={"n": 1}, headers=DEV)
    assert response.json() == {"job_id": job_id, "status": "queued"}
    job = await api.job(job_id)
    assert (job["status"], job["payload"]) == ("queued", {"n": 1})


async def test_one_that_is_not_dead_keeps_its_payload(rig: Rig, api: ApiRig) -> None:
    job_id = await api.submit(payload=1)
    async with rig.unchanged():
        problem(await api.http.put(f"/v1/jobs/{job_id}/payload", json=2, headers=DEV), 409, "wrong-state")
        problem(await api.http.put(f"/v1/jobs/{'0' * 28}/payload", json=2, headers=DEV), 404, "not-found")


async def test_what_is_no_payload_is_refused(rig: Rig) -> None:
    async with api_over(rig.broker, payload_limit=1000) as api:
        job_id = await die(rig)
        path = f"/v1/jobs/{job_id}/payload"
        headers = {**DEV, "content-type": "application/json"}
        async with rig.unchanged():
            for text, status, code in (
                (b"", 400, "malformed"),
                (b"{", 400, "malformed"),
                (b"1e999", 422, "invalid"),
                (b"[" * 200 + b"]" * 200, 400, "malformed"),
                (b'"' + b"x" * 1000 + b'"', 413, "too-large"),
            ):
                problem(await api.http.put(path, content=text, headers=headers), status, code)
            problem(await api.http.put(f"{path}?requeue=yes", content=b"1", headers=headers), 422, "invalid")
            api.producer.set_full(True)
            problem(await api.http.put(path, content=b"1", headers=headers), 429, "full")


async def test_whose_key_another_job_holds_has_the_payload_and_is_still_dead(rig: Rig, api: ApiRig) -> None:
    job_id = await die(rig, id=ids.new_id("k"), key="k")
    await api.submit(dedupe_key="k")
    response = await api.http.put(f"/v1/jobs/{job_id}/payload?requeue=true", json=[2], headers=DEV)
    detail = problem(response, 409, "wrong-state")["detail"]
    assert "The payload was replaced" in detail
    assert "still dead_letter" in detail
    assert "dedupe key" in detail
    job = await api.job(job_id)
    assert (job["payload"], job["status"]) == ([2], "dead_letter")


async def test_a_store_that_has_no_room_for_the_new_run_says_what_was_done(
    rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await die(rig)

    async def refuse(*arguments: Any) -> list[str]:
        raise Full("There is no room.")

    monkeypatch.setattr(rig.broker.dlq, "replay", refuse)
    response = await api.http.put(f"/v1/jobs/{job_id}/payload?requeue=true", json=[2], headers=DEV)
    assert problem(response, 429, "full")["detail"].startswith("The payload was replaced")
    assert (await api.job(job_id))["payload"] == [2]


@pytest.mark.parametrize(
    ("payload", "pointer", "shown"),
    [
        ({}, "", "The payload does not fit jobs of the type typed: object missing required field `to`"),
        ({"to": 7}, "/to", "to does not fit jobs of the type typed: expected `str`, got `int`"),
        (None, "", "The payload does not fit jobs of the type typed: expected `object`, got `null`"),
    ],
)
async def test_one_that_its_handler_cannot_take_is_refused_where_that_is_asked_for(
    rig: Rig, payload: Any, pointer: str, shown: str
) -> None:
    headers = {**DEV, "content-type": "application/json"}
    text = json.dumps(payload)
    typed, other = await die(rig, type="typed"), await die(rig)
    async with api_over(rig.broker, check_payloads="yes") as api:
        async with rig.unchanged():
            response = await api.http.put(f"/v1/jobs/{typed}/payload?requeue=true", content=text, headers=headers)
            found = problem(response, 422, "invalid")
        assert [fault["pointer"] for fault in found["errors"]] == [pointer]
        assert found["detail"] == f"{shown}."
        for job_id, fitting in ((typed, b'{"to":"ada"}'), (other, text)):
            response = await api.http.put(f"/v1/jobs/{job_id}/payload", content=fitting, headers=headers)
            assert response.status_code == 200, response.text
    async with api_over(rig.broker) as api:
        response = await api.http.put(f"/v1/jobs/{typed}/payload", content=text, headers=headers)
        assert response.status_code == 200, "nobody asked for it"
