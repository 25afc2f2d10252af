"""POST /v1/jobs/batch over a real store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from queuey.errors import StoreUnavailable
from queuey.protocol import ids
from tests.support.http import ApiRig, api_over, problem
from tests.support.store import Rig
from tests.support.stores import one_of

shards = one_of(4)


BATCH = "/v1/jobs/batch"
LINES = {"content-type": "application/x-ndjson"}
ARRAY = {"content-type": "application/json"}


@pytest.fixture
async def api(rig: Rig) -> AsyncIterator[ApiRig]:
    async with api_over(rig.broker, body_limit=200_000, batch_limit=1_000) as api:
        yield api


async def send(api: ApiRig, body: bytes, headers: dict[str, str]) -> list[dict[str, Any]]:
    """Send a batch that is taken apart. Returns its results."""
    response = await api.http.post(BATCH, content=body, headers=headers)
    assert response.status_code == 200, response.text
    assert list(response.json()) == ["results"]
    return list(response.json()["results"])


def codes(results: list[dict[str, Any]]) -> list[str | None]:
    return [item["error"]["type"].rpartition(":")[2] if "error" in item else None for item in results]


async def test_each_item_has_its_outcome_in_order(api: ApiRig) -> None:
    holder = await api.submit(dedupe_key="k")
    own = ids.new_id()
    items: list[Any] = [
        {"type": "a", "payload": 0},
        {"type": "a", "dedupe_key": "k"},
        {"typ": "a"},
        {"type": "a", "id": own},
        7,
        {"type": "a", "payload": "x" * 5},
        {"type": "a", "dedupe_key": "new"},
        {"type": "a", "dedupe_key": "new"},
    ]
    results = await send(api, json.dumps(items).encode(), ARRAY)
    assert codes(results) == [None, None, "invalid", None, "invalid", None, None, None]
    assert results[1] == {"job_id": holder, "deduplicated": True}
    assert results[2]["error"]["status"] == 422
    assert results[2]["error"]["errors"][0] == {"pointer": "/typ", "detail": "is unknown. Did you mean type?"}
    assert [fault["pointer"] for fault in results[2]["error"]["errors"]] == ["/typ", "/type"]
    assert results[3] == {"job_id": own, "deduplicated": False}
    assert results[7] == {"job_id": results[6]["job_id"], "deduplicated": True}
    assert (await api.job(results[0]["job_id"]))["payload"] == 0
    assert (await api.job(results[5]["job_id"]))["payload"] == "xxxxx"


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (b'{"type":"t","payload":' + b"[" * 65 + b"]" * 65 + b"}", "malformed"),
        (b'{"type":"t","payload":"' + b"x" * 120_000 + b'"}', "too-large"),
        (b'{"type":"t","payload":1e999}', "invalid"),
        (b'{"type":"t","max_attempts":' + b"9" * 30 + b"}", "invalid"),
        (b"[]", "invalid"),
        (b"null", "invalid"),
    ],
)
async def test_a_bad_item_fails_alone(rig: Rig, item: bytes, code: str) -> None:
    good = b'{"type":"t"}'
    async with api_over(rig.broker, payload_limit=100_000) as api:
        for body, headers in (
            (b"[" + b",".join([good, item, good]) + b"]", ARRAY),
            (b"\n".join([good, item, good]), LINES),
        ):
            assert codes(await send(api, body, headers)) == [None, code, None]


@pytest.mark.parametrize("line", [b"{", b"nonsense", b'{"type":"t","payload":"\\ud800"}', b'{"type":"t"} {"type":"t"}'])
async def test_a_line_that_is_not_json_fails_alone(api: ApiRig, line: bytes) -> None:
    assert codes(await send(api, b'{"type":"t"}\n' + line + b'\n{"type":"t"}\n', LINES)) == [None, "malformed", None]


async def test_empty_lines_are_passed_over(api: ApiRig) -> None:
    results = await send(api, b'\n{"type":"t"}\r\n \n\n{"type":"t"}', LINES)
    assert codes(results) == [None, None]


@pytest.mark.parametrize(("body", "headers"), [(b"[]", ARRAY), (b"", LINES), (b"\n \n", LINES)])
async def test_an_empty_batch_has_no_outcomes(api: ApiRig, body: bytes, headers: dict[str, str]) -> None:
    assert await send(api, body, headers) == []


GOOD = b'{"type":"t"},'


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", ARRAY, 400, "malformed"),
        (b"[" + GOOD, ARRAY, 400, "malformed"),
        (b"[" + GOOD + b"]", ARRAY, 400, "malformed"),
        (b"[" + GOOD + b'"\xff"]', ARRAY, 400, "malformed"),
        (b'{"type":"t"}\n"\xff"', LINES, 400, "malformed"),
        (b"[" + GOOD + b"[" * 50_000 + b"]" * 50_000 + b"]", ARRAY, 400, "malformed"),
        (b"[" * 100_000, ARRAY, 400, "malformed"),
        (b'{"type":"t"}', ARRAY, 422, "invalid"),
        (b"[" + GOOD * 1_000 + b'{"type":"t"}]', ARRAY, 413, "too-large"),
        (b'{"type":"t"}\n' * 1_001, LINES, 413, "too-large"),
        (b'{"type":"t"}\n' * 20_000, LINES, 413, "too-large"),
        (b'[{"type":"t"}]', {"content-type": "text/csv"}, 415, "unsupported-media-type"),
    ],
)
async def test_a_batch_that_is_malformed_as_a_whole_takes_nothing(
    rig: Rig, api: ApiRig, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    async with rig.unchanged():
        problem(await api.http.post(BATCH, content=body, headers=headers), status, code)


async def test_a_single_job_is_no_batch(api: ApiRig) -> None:
    response = await api.http.post(BATCH, content=b'{"type":"t"}', headers=ARRAY)
    detail = problem(response, 422, "invalid")["detail"]
    assert detail == "The body must be an array of jobs; send a single job to /v1/jobs."


async def test_a_batch_that_is_too_deep_names_the_limit_of_the_settings(api: ApiRig) -> None:
    deep = b'{"type":"t","payload":' + b"[" * 500 + b"]" * 500 + b"}"
    whole = problem(await api.http.post(BATCH, content=b"[" + GOOD + deep + b"]", headers=ARRAY), 400, "malformed")
    single = problem(await api.http.post("/v1/jobs", content=deep, headers=ARRAY), 400, "malformed")
    assert whole["detail"] == single["detail"]


async def test_a_batch_may_be_as_large_as_the_limit(api: ApiRig) -> None:
    items = [{"type": "t", "payload": number} for number in range(1_000)]
    results = await send(api, json.dumps(items).encode(), ARRAY)
    assert codes(results) == [None] * 1_000
    assert len({item["job_id"] for item in results}) == 1_000
    for number in (0, 511, 512, 999):
        assert (await api.job(results[number]["job_id"]))["payload"] == number


async def test_a_batch_that_finds_no_room_is_refused_as_a_whole(rig: Rig, api: ApiRig) -> None:
    known = await api.submit()
    api.producer.set_full(True)
    body = json.dumps([{"type": "t"}, {"typ": "t"}]).encode()
    async with rig.unchanged():
        response = await api.http.post(BATCH, content=body, headers=ARRAY)
    problem(response, 429, "full")
    assert response.headers["retry-after"]
    body = json.dumps([{"type": "t"}, {"type": "t", "id": known}]).encode()
    assert codes(await send(api, body, ARRAY)) == ["full", None]


async def test_a_batch_of_bad_items_is_no_fault_of_the_store(api: ApiRig) -> None:
    assert codes(await send(api, b"[1,2]", ARRAY)) == ["invalid", "invalid"]


async def unanswered(api: ApiRig, monkeypatch: pytest.MonkeyPatch, *, maybe_done: bool) -> httpx.Response:
    async def away(*_: object, **__: object) -> list[str]:
        raise StoreUnavailable("away", maybe_done=maybe_done)

    monkeypatch.setattr(api.broker.jobs, "enqueue", away)
    body = json.dumps([{"type": "t"}, {"typ": "t"}, {"type": "t", "id": OWN}]).encode()
    return await api.http.post(BATCH, content=body, headers=ARRAY)


OWN = ids.new_id()


async def test_a_batch_with_a_store_that_is_away_is_worth_sending_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with api_over(rig.broker, request_deadline=0.1, store_timeout=0.1) as api:
        problem(await unanswered(api, monkeypatch, maybe_done=False), 503, "store-unavailable")
        response = await unanswered(api, monkeypatch, maybe_done=True)
        found = problem(response, 503, "outcome-unknown")
        assert len(found["job_ids"]) == 2
        assert found["job_ids"][1] == OWN
        assert response.headers["retry-after"]


async def test_batches_do_not_cross(api: ApiRig) -> None:
    async def one(number: int) -> list[Any]:
        items = [{"type": "t", "payload": [number, place]} for place in range(20)]
        results = await send(api, json.dumps(items).encode(), ARRAY)
        return [(await api.job(item["job_id"]))["payload"] for item in results]

    for number, payloads in enumerate(await asyncio.gather(*map(one, range(5)))):
        assert payloads == [[number, place] for place in range(20)]
