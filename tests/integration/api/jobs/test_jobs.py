"""POST /v1/jobs, GET /v1/jobs/{id} and POST /v1/jobs/{id}/cancel over a real store."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import pytest

from queuey.protocol import ids
from tests.support.http import UNKNOWN_ID, ApiRig, api_over, moment, problem
from tests.support.store import Rig
from tests.support.stores import one_of

shards = one_of(4)
pytestmark = pytest.mark.usefixtures("both_ways")


JSON = {"content-type": "application/json"}
DEV = {"x-api-key": "dev"}


@pytest.fixture
async def api(rig: Rig) -> AsyncIterator[ApiRig]:
    async with api_over(rig.broker, body_limit=10_000, payload_limit=5_000) as api:
        yield api


async def claim(rig: Rig, job_id: str) -> tuple[str, str]:
    """Run the job, which is the only one. Returns its id and token."""
    claimed = await rig.broker.leases.claim(
        rig.broker.shards.of_job(job_id), claim_id="c", worker="w1", lease_ms=30_000, limit=1, queues=["default"]
    )
    return claimed.jobs[0].id, claimed.jobs[0].token


# --- submit --------------------------------------------------------------------------------------------------------


async def test_the_first_queueys_request_is_answered_as_it_was(api: ApiRig) -> None:
    body = {
        "type": "text.reverse",
        "payload": {"text": "hello"},
        "dedupe_key": "file123:200x200",
        "max_attempts": 5,
        "priority": "high",
    }
    response = await api.http.post("/v1/jobs", json=body)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    job_id = response.json()["job_id"]
    assert response.json() == {"job_id": job_id, "deduplicated": False}
    assert response.headers["location"] == f"/v1/jobs/{job_id}"
    assert len(response.content) == int(response.headers["content-length"])

    job = await api.job(job_id)
    first = [
        *("id", "type", "queue", "priority", "status", "payload", "dedupe_key", "attempts", "max_attempts", "crashes"),
        *("timeout", "created_at", "run_at", "started_at", "finished_at", "lease_expires_at", "last_error", "errors"),
        "result",
    ]
    assert list(job)[: len(first)] == first
    assert (job["id"], job["status"], job["attempts"]) == (job_id, "queued", 0)
    assert {name: job[name] for name in body} == body
    assert job["created_at"].endswith("Z")
    assert (job["started_at"], job["finished_at"], job["last_error"], job["result"]) == (None, None, None, None)


async def test_a_duplicate_is_answered_with_the_holder(api: ApiRig) -> None:
    holder = await api.submit(dedupe_key="k", type="a")
    response = await api.http.post("/v1/jobs", json={"type": "b", "dedupe_key": "k"})
    assert response.json() == {"job_id": holder, "deduplicated": True}
    assert response.headers["location"] == f"/v1/jobs/{holder}"
    assert len(response.content) == int(response.headers["content-length"])
    assert (await api.job(holder))["type"] == "a"


async def test_a_request_with_an_id_may_be_sent_twice(api: ApiRig) -> None:
    job_id = ids.new_id()
    for _ in range(2):
        response = await api.http.post("/v1/jobs", json={"type": "t", "id": job_id})
        assert response.json() == {"job_id": job_id, "deduplicated": False}
    metrics = (await api.http.get("/v1/queues/metrics")).json()
    assert metrics["queue_default_length"] == 1


@pytest.mark.parametrize(
    "payload",
    ["null", "[]", '{\n "s=r": [1,  2],\n\t"k": {}}', "12345678901234567890123", "1.10", '"\\u0000 \\ud83d\\ude00 ä"'],
)
async def test_a_payload_comes_back_as_the_text_that_went_in(api: ApiRig, payload: str) -> None:
    response = await api.http.post("/v1/jobs", content=f'{{"type":"t","payload":{payload}}}'.encode(), headers=JSON)
    shown = await api.http.get(response.headers["location"])
    assert f'"payload":{payload},"dedupe_key"' in shown.text
    assert shown.headers["cache-control"] == "no-store"


async def test_every_field_is_kept(api: ApiRig) -> None:
    job = await api.job(
        await api.submit(type="patient", queue="mail", priority="low", dedupe_key="ä", timeout=2.5, delay=60)
    )
    assert (job["queue"], job["priority"], job["dedupe_key"], job["timeout"]) == ("mail", "low", "ä", 2.5)
    assert job["max_attempts"] == 9
    assert job["status"] == "scheduled"
    assert moment(job["run_at"]) > moment(job["created_at"])


async def test_a_time_in_the_past_means_now(api: ApiRig) -> None:
    job = await api.job(await api.submit(run_at="2001-01-01T00:00:00Z"))
    assert (job["status"], job["run_at"]) == ("queued", None)


@pytest.mark.parametrize("content_type", [None, "application/json; charset=utf-8", "application/vnd.example+json"])
async def test_json_is_taken_under_its_names(api: ApiRig, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    assert (await api.http.post("/v1/jobs", content=b'{"type":"t"}', headers=headers)).status_code == 200


BAD_BODIES: list[tuple[bytes, int, str, list[str]]] = [
    (b"", 400, "malformed", []),
    (b"{", 400, "malformed", []),
    (b'{"type":"t","payload":NaN}', 400, "malformed", []),
    (b'{"type":"t","payload":"\xff"}', 400, "malformed", []),
    (b'{"type":"t","payload":"\\ud800"}', 400, "malformed", []),
    (b'{"type":"t","payload":' + b"[" * 4_000 + b"]" * 4_000 + b"}", 400, "malformed", []),
    (b"[" * 9_000, 400, "malformed", []),
    (b'{"type":"t","payload":"' + b"x" * 5_000 + b'"}', 413, "too-large", ["/payload"]),
    (b'{"type":"t","payload":"' + b"x" * 10_000 + b'"}', 413, "too-large", []),
    (b"[]", 422, "invalid", [""]),
    (b"{}", 422, "invalid", ["/type"]),
    (b'{"type":"a b"}', 422, "invalid", ["/type"]),
    (b'{"type":"t","max_attempts":1000000000000000000000000000000}', 422, "invalid", ["/max_attempts"]),
    (b'{"type":"t","max_attempt":1}', 422, "invalid", ["/max_attempt"]),
    (b'{"type":"t","priority":"urgent"}', 422, "invalid", ["/priority"]),
    (b'{"type":"t","queue":"a/b"}', 422, "invalid", ["/queue"]),
    (b'{"type":"t","id":"123"}', 422, "invalid", ["/id"]),
    (b'{"type":"t","id":"' + UNKNOWN_ID.encode() + b'","dedupe_key":"k"}', 422, "invalid", ["/id"]),
    (b'{"type":"t","dedupe_key":""}', 422, "invalid", ["/dedupe_key"]),
    (b'{"type":"t","delay":1,"run_at":"2030-01-01T00:00:00Z"}', 422, "invalid", ["/delay", "/run_at"]),
    (b'{"type":"t","run_at":"9999-01-01T00:00:00Z"}', 422, "invalid", ["/run_at"]),
    (b'{"type":"t","run_at":"2030-01-01T00:00:00"}', 422, "invalid", ["/run_at"]),
    (b'{"type":"t","backoff":{"factor":0}}', 422, "invalid", ["/backoff/factor"]),
    (b'{"type":"t","payload":1e999}', 422, "invalid", ["/payload"]),
]


async def test_a_bad_request_names_its_fault_and_changes_nothing(rig: Rig, api: ApiRig) -> None:
    async with rig.unchanged():
        for body, status, code, pointers in BAD_BODIES:
            response = await api.http.post("/v1/jobs", content=body, headers=JSON)
            found = problem(response, status, code)
            assert [error["pointer"] for error in found.get("errors", [])] == pointers, body[:60]


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", "application/x-ndjson"])
async def test_another_media_type_is_refused_with_what_to_send(api: ApiRig, content_type: str) -> None:
    response = await api.http.post("/v1/jobs", content=b'{"type":"t"}', headers={"content-type": content_type})
    assert "application/json" in problem(response, 415, "unsupported-media-type")["detail"]


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/batch", "/v1/leases", "/v1/leases/complete", "/v1/dlq/delete"])
async def test_a_compressed_body_is_refused_with_what_to_send(rig: Rig, api: ApiRig, path: str) -> None:
    content, headers = gzip.compress(b'{"type":"t"}'), {**JSON, "x-api-key": "dev", "content-encoding": "gzip"}
    async with rig.unchanged():
        response = await api.http.post(path, content=content, headers=headers)
    found = problem(response, 415, "unsupported-media-type")
    assert found["detail"] == "The encoding 'gzip' of the body is not supported. Send the body uncompressed."
    assert response.headers["accept-encoding"] == "identity"


async def test_a_time_without_seconds_says_what_is_missing(api: ApiRig) -> None:
    response = await api.http.post("/v1/jobs", json={"type": "t", "run_at": "2027-01-01T00:00Z"})
    assert "a time with seconds" in problem(response, 422, "invalid")["detail"]


async def test_a_chunked_body_is_counted(api: ApiRig) -> None:
    taken = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            taken.append(1)
            yield b"x" * 1_000

    response = await api.http.post("/v1/jobs", content=endless(), headers=JSON)
    problem(response, 413, "too-large")
    assert len(taken) < 15


async def test_while_the_store_is_full_what_is_known_is_still_answered(rig: Rig, api: ApiRig) -> None:
    known = await api.submit(id=ids.new_id("k"), dedupe_key="k")
    api.producer.set_full(True)
    async with rig.unchanged(but=[keys.stats for keys in rig.broker.shards.keys]):
        response = await api.http.post("/v1/jobs", json={"type": "t"})
        problem(response, 429, "full")
        assert int(response.headers["retry-after"]) > 0
        assert await api.submit(id=known) == known
        assert await api.submit(dedupe_key="k") == known
    api.producer.set_full(False)
    await api.submit()


async def test_there_are_only_so_many_queues(rig: Rig, api: ApiRig) -> None:
    for keys in rig.broker.shards.keys:
        await rig.client.sadd(keys.queues, *(f"q{number}" for number in range(256)))
    found = problem(await api.http.post("/v1/jobs", json={"type": "t", "queue": "one-more"}), 422, "invalid")
    assert found["errors"][0]["pointer"] == "/queue"
    await api.submit(queue="q7")


async def test_replies_do_not_cross(api: ApiRig) -> None:
    numbers = range(150)
    job_ids = await asyncio.gather(*(api.submit(payload=n, dedupe_key=f"k{n % 100}") for n in numbers))
    assert job_ids[:50] == job_ids[100:]
    jobs = await asyncio.gather(*map(api.job, job_ids))
    assert [job["dedupe_key"] for job in jobs] == [f"k{n % 100}" for n in numbers]
    assert [job["payload"] % 100 for job in jobs] == [n % 100 for n in numbers]


# --- look and cancel -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "job_id", [UNKNOWN_ID, "abc", UNKNOWN_ID.lower(), UNKNOWN_ID + "0", "%00", "a%2Fb", "x" * 5_000]
)
async def test_what_is_no_jobs_id_is_not_found(api: ApiRig, job_id: str) -> None:
    problem(await api.http.get(f"/v1/jobs/{job_id}"), 404, "not-found")
    problem(await api.http.post(f"/v1/jobs/{job_id}/cancel"), 404, "not-found")
    problem(await api.http.post(f"/v1/jobs/{job_id}/retry"), 404, "not-found")
    problem(await api.http.delete(f"/v1/jobs/{job_id}", headers=DEV), 404, "not-found")


async def test_a_jobs_way_is_seen(rig: Rig, api: ApiRig) -> None:
    job_id = await api.submit(payload=[1])
    _, token = await claim(rig, job_id)
    running = await api.job(job_id)
    assert (running["status"], running["worker"]) == ("running", "w1")
    assert moment(running["lease_expires_at"]) > moment(running["started_at"])
    shard = rig.broker.shards.of_job(job_id)
    error = json.dumps({"attempt": 1, "kind": "error", "message": "ValueError: no"})
    assert await rig.broker.leases.fail(shard, [(job_id, token, error, 0, True)]) == ["dead"]
    dead = await api.job(job_id)
    assert (dead["status"], dead["attempts"], dead["last_error"]) == ("dead_letter", 1, "ValueError: no")
    assert (dead["errors"][0]["kind"], dead["lease_expires_at"]) == ("error", None)
    assert moment(dead["finished_at"]) >= moment(dead["started_at"])


@pytest.mark.parametrize("delay", [0, 60])
async def test_a_job_that_waits_is_cancelled(api: ApiRig, delay: int) -> None:
    job_id = await api.submit(delay=delay)
    for _ in range(2):
        response = await api.http.post(f"/v1/jobs/{job_id}/cancel")
        assert (response.status_code, response.json()) == (200, {"job_id": job_id, "status": "cancelled"})
    assert (await api.job(job_id))["status"] == "cancelled"


async def test_a_job_that_runs_is_told_and_one_that_finished_is_not(rig: Rig, api: ApiRig) -> None:
    job_id = await api.submit()
    _, token = await claim(rig, job_id)
    response = await api.http.post(f"/v1/jobs/{job_id}/cancel")
    assert (response.status_code, response.json()) == (200, {"job_id": job_id, "status": "cancelling"})
    await rig.broker.leases.complete(rig.broker.shards.of_job(job_id), [(job_id, token, '{"a":[]}')])
    problem(await api.http.post(f"/v1/jobs/{job_id}/cancel"), 409, "wrong-state")
    assert (await api.job(job_id))["result"] == {"a": []}


# --- expires_in ----------------------------------------------------------------------------------------------------


async def test_a_job_that_nobody_starts_in_time_is_cancelled(rig: Rig, api: ApiRig) -> None:
    job_id = await api.submit(expires_in=0.001)
    job = await api.job(job_id)
    assert (job["status"], moment(job["expires_at"]) > moment(job["created_at"])) == ("queued", True)
    shard = rig.broker.shards.of_job(job_id)
    claimed = await rig.broker.leases.claim(
        shard, claim_id="c", worker="w", lease_ms=1, limit=1, queues=["default"], now=int(4e12)
    )
    assert claimed.jobs == []
    job = await api.job(job_id)
    assert (job["status"], job["last_error"]) == ("cancelled", "expired before it started")
    assert (await api.job(await api.submit()))["expires_at"] is None


# --- ETag ----------------------------------------------------------------------------------------------------------


async def test_who_has_seen_the_job_as_it_is_gets_304(rig: Rig, api: ApiRig) -> None:
    path = f"/v1/jobs/{await api.submit()}"
    first = await api.http.get(path)
    tag = first.headers["etag"]
    assert tag.startswith('W/"')
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        for method in ("GET", "HEAD"):
            response = await api.http.request(method, path, headers={"if-none-match": known})
            assert (response.status_code, response.content) == (304, b"")
            assert response.headers["etag"] == tag
            assert "content-type" not in response.headers
    for unknown in ("", '"other"', tag[:-2] + '"', "W/", ","):
        response = await api.http.get(path, headers={"if-none-match": unknown})
        assert (response.status_code, response.headers["etag"], response.json()) == (200, tag, first.json())
    await api.http.post(f"{path}/cancel")
    changed = await api.http.get(path, headers={"if-none-match": tag})
    assert (changed.status_code, changed.json()["status"]) == (200, "cancelled")
    assert changed.headers["etag"] != tag


# --- retry and delete ----------------------------------------------------------------------------------------------


async def die(rig: Rig, job_id: str) -> None:
    held = await claim(rig, job_id)
    error = json.dumps({"attempt": 1, "kind": "error", "message": "no"})
    assert await rig.broker.leases.fail(rig.broker.shards.of_job(job_id), [(*held, error, 0, True)]) == ["dead"]


async def test_a_dead_job_is_run_anew(rig: Rig, api: ApiRig) -> None:
    job_id = await api.submit()
    await die(rig, job_id)
    response = await api.http.post(f"/v1/jobs/{job_id}/retry")
    assert (response.status_code, response.json()) == (200, {"job_id": job_id, "status": "queued"})
    again = await api.job(job_id)
    assert (again["status"], again["attempts"], len(again["errors"])) == ("queued", 0, 1)


async def test_a_scheduled_job_is_due_now(rig: Rig, api: ApiRig) -> None:
    job_id = await api.submit(delay=60)
    assert (await api.http.post(f"/v1/jobs/{job_id}/retry")).json() == {"job_id": job_id, "status": "queued"}
    assert (await api.job(job_id))["status"] == "queued"
    assert (await claim(rig, job_id))[0] == job_id


async def test_what_cannot_be_retried_is_told(rig: Rig, api: ApiRig) -> None:
    job_id = await api.submit()
    retry = f"/v1/jobs/{job_id}/retry"
    assert "queued" in problem(await api.http.post(retry), 409, "wrong-state")["detail"]
    held = await claim(rig, job_id)
    assert "running" in problem(await api.http.post(retry), 409, "wrong-state")["detail"]
    await rig.broker.leases.complete(rig.broker.shards.of_job(job_id), [(*held, "")])
    assert "succeeded" in problem(await api.http.post(retry), 409, "wrong-state")["detail"]
    found = problem(await api.http.post(f"{retry}?now=1"), 422, "invalid")
    assert found["errors"][0]["parameter"] == "now"


async def test_a_dead_job_whose_key_is_taken_stays_dead(rig: Rig, api: ApiRig) -> None:
    job_id = await api.submit(dedupe_key="k")
    await die(rig, job_id)
    await api.submit(dedupe_key="k")
    found = problem(await api.http.post(f"/v1/jobs/{job_id}/retry"), 409, "wrong-state")
    assert "dedupe key" in found["detail"]
    assert (await api.job(job_id))["status"] == "dead_letter"


async def test_no_dead_job_is_run_anew_while_the_store_is_full(rig: Rig, api: ApiRig) -> None:
    job_id = await api.submit()
    await die(rig, job_id)
    scheduled = await api.submit(delay=60)
    api.producer.set_full(True)
    problem(await api.http.post(f"/v1/jobs/{job_id}/retry"), 429, "full")
    assert (await api.http.post(f"/v1/jobs/{scheduled}/retry")).status_code == 200, "it takes no more room"


async def test_a_finished_job_is_deleted(rig: Rig, api: ApiRig) -> None:
    job_id = await api.submit(dedupe_key="k")
    path = f"/v1/jobs/{job_id}"
    assert "queued" in problem(await api.http.delete(path, headers=DEV), 409, "wrong-state")["detail"]
    held = await claim(rig, job_id)
    assert "running" in problem(await api.http.delete(path, headers=DEV), 409, "wrong-state")["detail"]
    await rig.broker.leases.complete(rig.broker.shards.of_job(job_id), [(*held, "")])
    response = await api.http.delete(path, headers=DEV)
    assert (response.status_code, response.content) == (204, b"")
    problem(await api.http.get(path), 404, "not-found")
    problem(await api.http.delete(path, headers=DEV), 404, "not-found")
    assert await api.submit(dedupe_key="k") != job_id
    problem(await api.http.delete(path), 401, "unauthorized")
