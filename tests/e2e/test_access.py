"""Keys and scopes on a real server, made by `queuey key new`; and nothing secret in its log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import QUICK
from tests.support.serving import Serving, queuey

ADMIN = "canary-admin-key"
PAYLOAD = "canary-payload"


def new_key(name: str, *scopes: str) -> tuple[str, str]:
    """The secret and the server's entry, from the command line."""
    flags = [part for scope in scopes for part in ("--scope", scope)]
    made = queuey("key", "new", name, *flags)
    assert made.returncode == 0
    secret, entry = made.stdout.splitlines()
    return secret, entry


@pytest.fixture(scope="module")
def keys() -> dict[str, tuple[str, str]]:
    return {
        "reader": new_key("reader", "read"),
        "reports": new_key("reports", "read@reports", "submit@reports"),
    }


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, keys: dict[str, tuple[str, str]]) -> Iterator[Serving]:
    """A server with keys, which logs all that there is to log."""
    variables = {"QUEUEY_API_KEY": ADMIN, "QUEUEY_API_KEYS": ",".join(entry for _, entry in keys.values())}
    data_dir = tmp_path_factory.mktemp("guarded") / "data"
    server = Serving(data_dir, *QUICK, "--log-level", "debug", variables=variables, key=ADMIN)
    yield server
    server.close()


class Caller:
    """Sends requests with a key of the test's choice, or with none."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url)

    def __call__(self, method: str, path: str, key: str | None, body: object = None, **headers: str) -> httpx.Response:
        if key is not None:
            headers["x-api-key"] = key
        return self.http.request(method, path, headers=headers, json=body)


@pytest.fixture(scope="module")
def call(guarded: Serving) -> Iterator[Caller]:
    caller = Caller(guarded.url)
    yield caller
    caller.http.close()


def echo(queue: str = "default") -> dict[str, object]:
    return {"type": "echo", "payload": PAYLOAD, "queue": queue}


def test_without_a_key_only_health_is_told(call: Caller) -> None:
    assert call("GET", "/healthz", None).status_code == 200
    assert call("GET", "/readyz", None).status_code == 200
    for key in (None, "canary-wrong-key", "dev", ""):
        for method, path, body in (
            ("POST", "/v1/jobs", echo()),
            ("POST", "/v1/jobs/batch", [echo()]),
            ("GET", "/v1/queues/metrics", None),
            ("POST", "/v1/replay-dlq", None),
        ):
            reply = call(method, path, key, body)
            assert (reply.status_code, reply.json()["type"]) == (401, "urn:queuey:problem:unauthorized")
            assert reply.headers["www-authenticate"].startswith("Bearer")


def test_the_admin_key_may_do_everything_and_comes_in_either_header(call: Caller) -> None:
    job_id = call("POST", "/v1/jobs", ADMIN, echo()).json()["job_id"]
    bearer = call("GET", f"/v1/jobs/{job_id}", None, authorization=f"Bearer {ADMIN}")
    assert bearer.json()["payload"] == PAYLOAD
    assert call("POST", "/v1/replay-dlq", ADMIN).status_code == 200


def test_a_key_does_what_its_scopes_say(call: Caller, keys: dict[str, tuple[str, str]]) -> None:
    reader, reports = keys["reader"][0], keys["reports"][0]
    others = call("POST", "/v1/jobs", ADMIN, echo()).json()["job_id"]
    own = call("POST", "/v1/jobs", reports, echo("reports")).json()["job_id"]
    outcomes: list[tuple[str, str, str, Any, int]] = [
        (reader, "GET", f"/v1/jobs/{others}", None, 200),
        (reader, "GET", f"/v1/jobs/{own}", None, 200),
        (reader, "POST", "/v1/jobs", echo(), 403),
        (reader, "POST", f"/v1/jobs/{own}/cancel", None, 403),
        (reader, "POST", "/v1/replay-dlq", None, 403),
        (reports, "GET", f"/v1/jobs/{own}", None, 200),
        (reports, "GET", f"/v1/jobs/{others}", None, 404),
        (reports, "POST", "/v1/jobs", echo(), 403),
        (reports, "POST", f"/v1/jobs/{others}/cancel", None, 404),
        (reports, "POST", f"/v1/jobs/{own}/cancel", None, 200),
        (reports, "POST", "/v1/replay-dlq", None, 403),
    ]
    for key, method, path, body, expected in outcomes:
        assert call(method, path, key, body).status_code == expected, (method, path)
    seen = call("GET", "/v1/queues/metrics", reports).json()
    assert [queue["name"] for queue in seen["queues"]] == ["reports"]


def test_a_batch_takes_what_the_key_may_submit(call: Caller, keys: dict[str, tuple[str, str]]) -> None:
    reply = call("POST", "/v1/jobs/batch", keys["reports"][0], [echo("reports"), echo("other")])
    own, other = reply.json()["results"]
    assert own["deduplicated"] is False
    assert other["error"]["status"] == 403


def test_no_key_and_no_payload_is_in_the_log(guarded: Serving, keys: dict[str, tuple[str, str]]) -> None:
    """Not of the requests before this one, nor of jobs that fail with their payload in hand."""
    canary = f"{PAYLOAD}-of-a-job"
    jobs = [
        guarded.submit("echo", canary),
        guarded.submit("dead", canary),
        guarded.submit("sum", canary),
        guarded.submit("no.such.type", canary, max_attempts=1),
        guarded.submit("text", 300_000, max_attempts=1, dedupe_key=canary),
        guarded.submit("die", canary, max_attempts=1),
    ]
    for job_id in jobs:
        guarded.until(job_id)
    for body in (f'{{"type":"echo","payload":"{canary}"', f'{{"type":"{canary}/{canary}"}}', canary):
        reply = guarded.http.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
        assert reply.status_code in (400, 422)
    log = "".join(guarded.lines)
    assert guarded.events("job_succeeded", job_id=jobs[0])
    assert guarded.events("job_dead", job_id=jobs[1])
    assert "canary" not in log
    for secret, entry in keys.values():
        assert secret not in log
        assert entry.rsplit(":", 1)[1] not in log
