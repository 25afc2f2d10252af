"""Bad requests to a real server: each is answered with a problem that names the fault, and changes nothing."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.support.serving import Serving

DEEP = 100_000
BIG = 10**30


def job(**fields: object) -> bytes:
    return json.dumps({"type": "echo", **fields}).encode()


BAD_JOBS: dict[str, tuple[bytes, int, str | None]] = {
    "nothing": (b"", 400, None),
    "bad JSON": (b'{"type":"echo",}', 400, None),
    "half a JSON": (b'{"type":"echo","payload":[1,2', 400, None),
    "two JSONs": (b'{"type":"echo"}{"type":"echo"}', 400, None),
    "invalid UTF-8": (b'{"type":"echo","payload":"\xff\xfe"}', 400, None),
    "half a surrogate pair": (b'{"type":"echo","payload":"\\ud800"}', 400, None),
    "deep arrays": (b'{"type":"echo","payload":' + b"[" * DEEP + b"]" * DEEP + b"}", 400, None),
    "deep objects": (b'{"type":"echo","payload":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}", 400, None),
    "only brackets": (b"[" * DEEP, 400, None),
    "an array": (b"[1]", 422, ""),
    "no type": (b"{}", 422, "/type"),
    "a type that is no name": (job(type="no name"), 422, "/type"),
    "a huge max_attempts": (job(max_attempts=BIG), 422, "/max_attempts"),
    "a fraction of attempts": (job(max_attempts=1.5), 422, "/max_attempts"),
    "a negative delay": (job(delay=-1), 422, "/delay"),
    "a delay of centuries": (job(delay=1e10), 422, "/delay"),
    "a delay beyond all numbers": (b'{"type":"echo","delay":1e999}', 422, "/delay"),
    "a time without a zone": (job(run_at="2030-01-01T00:00:00"), 422, "/run_at"),
    "both times": (job(run_at="2030-01-01T00:00:00Z", delay=1), 422, "/run_at"),
    "an unknown field": (job(prioritee="high"), 422, "/prioritee"),
    "an unknown priority": (job(priority="urgent"), 422, "/priority"),
    "an id of another format": (job(id="3f0c8a1e-0000-4000-8000-000000000000"), 422, "/id"),
    "an id of another bucket": (job(id="0001" + "0" * 24, dedupe_key="k"), 422, "/id"),
    "an unprintable key": (job(dedupe_key="a\nb"), 422, "/dedupe_key"),
    "a long key": (job(dedupe_key="k" * 257), 422, "/dedupe_key"),
    "a queue that is no name": (job(queue="../../etc"), 422, "/queue"),
    "a bad backoff": (job(backoff={"base": 0}), 422, "/backoff/base"),
    "a number too large": (b'{"type":"echo","payload":{"n":1e999}}', 422, "/payload"),
    "a large payload": (job(payload="x" * 256_001), 413, "/payload"),
    "a large body": (job(payload="x" * 1_000_001), 413, None),
}


def post(server: Serving, path: str, body: bytes, content_type: str = "application/json") -> httpx.Response:
    return server.http.post(path, content=body, headers={"content-type": content_type})


def lengths(server: Serving) -> dict[str, Any]:
    return dict(server.http.get("/v1/queues/metrics").json())


def check(reply: httpx.Response, status: int) -> dict[str, Any]:
    assert reply.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = reply.json()
    assert (reply.status_code, problem["status"]) == (status, status), problem
    assert problem["type"].startswith("urn:queuey:problem:")
    assert problem["title"]
    assert problem["detail"]
    assert len(reply.content) < 2000
    return problem


@pytest.mark.parametrize(("body", "status", "pointer"), BAD_JOBS.values(), ids=BAD_JOBS.keys())
def test_a_bad_job_is_refused_by_name_and_nothing_is_enqueued(
    server: Serving, body: bytes, status: int, pointer: str | None
) -> None:
    before = lengths(server)
    problem = check(post(server, "/v1/jobs", body), status)
    pointers = [fault["pointer"] for fault in problem.get("errors", [])]
    assert pointers == [] if pointer is None else pointer in pointers, problem
    assert lengths(server) == before
    assert server.http.get("/readyz").status_code == 200


@pytest.mark.parametrize("name", ["bad JSON", "invalid UTF-8", "deep arrays", "only brackets", "a large body"])
def test_a_batch_that_cannot_be_taken_apart_takes_nothing(server: Serving, name: str) -> None:
    body, status, _ = BAD_JOBS[name]
    before = lengths(server)
    check(post(server, "/v1/jobs/batch", b'[{"type":"echo"},' + body + b"]"), status)
    assert lengths(server) == before


def test_another_media_type_method_and_path(server: Serving) -> None:
    check(post(server, "/v1/jobs", job(), "text/plain"), 415)
    check(post(server, "/v1/jobs", job(), "application/json; charset=latin-1"), 415)
    refused = server.http.request("DELETE", "/v1/jobs")
    check(refused, 405)
    assert "POST" in refused.headers["allow"]
    for path in ("/", "/v1/jobs/", "/v2/jobs", "/%ff"):
        check(server.http.get(path), 404)


def test_a_body_that_does_not_say_how_long_it_is_is_cut_off_at_the_limit(server: Serving) -> None:
    def endless() -> Any:
        for _ in range(30):
            yield b"x" * 100_000

    check(server.http.post("/v1/jobs", content=endless(), headers={"content-type": "application/json"}), 413)


def test_after_all_of_that_the_server_works_and_has_logged_no_error(server: Serving) -> None:
    assert server.until(server.submit("echo", "still here"))["result"] == "still here"
    assert [line for line in server.lines if '"error"' in line and '"level": "error"' in line] == []
