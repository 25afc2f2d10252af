"""Keys and scopes on a real server that other machines can reach; and nothing secret in what it tells or keeps.

The cases are made from the table of routes, so that a new route is among them, or fails here until it is.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from queuey.api.app import ApiParts, ApiSettings, create_app
from queuey.api.http.endpoints import Endpoint
from queuey.metrics import Metrics
from queuey.protocol import credentials
from queuey.protocol.credentials import SCOPES, Credentials
from queuey.settings.settings import Settings
from tests.e2e.conftest import QUICK
from tests.support import routes
from tests.support.routes import (
    DOCUMENTATION,
    LOGINS,
    NEEDS_CANCELLED,
    NEEDS_DEAD,
    NEEDS_SCHEDULE,
    NEEDS_SCHEDULED,
    NEEDS_WORKER,
    OPEN,
    OVER_ALL_QUEUES,
    body_for,
    is_for,
    path_for,
    seen_queues,
)
from tests.support.serving import Serving, queuey

ADMIN = "canary-admin-key"
PAYLOAD = "canary-payload"
WRONG_KEYS = ("", "dev", "canary-wrong-key", ADMIN.upper(), ADMIN[:-1], "canary\xe9\xff key", "k" * 5000)

NOTHING = cast(Any, None)
API = create_app(
    ApiParts(
        settings=ApiSettings.of(Settings(data_dir=Path("/unused"))),
        credentials=Credentials(ADMIN),
        metrics=Metrics(),
        **dict.fromkeys(("broker", "health", "submission", "producer", "waiters", "followers", "pulses"), NOTHING),
        **dict.fromkeys(("pulling", "own", "peers"), NOTHING),
    )
)
ROUTES = [route for route in API.endpoints if route.path not in LOGINS]
"""All but the logins, which tests/integration/api/page/test_sessions.py has."""
GUARDED = [route for route in ROUTES if route.needs is not None]
BODIES: dict[str, Any] = {
    "/v1/jobs": {"type": "echo", "payload": PAYLOAD, "queue": "mail"},
    "/v1/jobs/batch": [{"type": "echo", "payload": PAYLOAD, "queue": "mail"}],
    "/v1/leases": {"queues": ["mail"]},
    "/v1/leases/complete": {"jobs": [{"id": "{id}", "token": "1.c"}]},
    "/v1/leases/fail": {"jobs": [{"id": "{id}", "token": "1.c", "error": "e"}]},
    "/v1/leases/extend": {"jobs": [{"id": "{id}", "token": "1.c"}]},
    "/v1/leases/release": {"jobs": [{"id": "{id}", "token": "1.c"}]},
    "/v1/leases/checkpoint": {"jobs": [{"id": "{id}", "token": "1.c", "checkpoint": 1}]},
    "/v1/leases/log": {"jobs": [{"id": "{id}", "token": "1.c", "lines": [{"text": "t"}]}]},
    **routes.BODIES,
}
"""Of the routes that take one: a good body, about the queue `mail`; `{id}` stands for a job in it."""


def name_of(route: Endpoint) -> str:
    return f"{route.method} {route.path}"


every_route = pytest.mark.parametrize("route", ROUTES, ids=name_of)
every_guarded_route = pytest.mark.parametrize("route", GUARDED, ids=name_of)
every_route_about_jobs = pytest.mark.parametrize(
    "route", [route for route in GUARDED if not is_for(route, NEEDS_WORKER | NEEDS_DEAD)], ids=name_of
)


def new_key(name: str, *scopes: str) -> tuple[str, str]:
    """The secret and the server's entry."""
    return credentials.new_key(name, [credentials.parse_grant(scope) for scope in scopes])


def new_key_by_command(name: str, *scopes: str) -> tuple[str, str]:
    flags = [part for scope in scopes for part in ("--scope", scope)]
    made = queuey("key", "new", name, *flags)
    assert made.returncode == 0
    secret, entry = made.stdout.splitlines()
    return secret, entry


@pytest.fixture(scope="module")
def keys() -> dict[str, tuple[str, str]]:
    keys = {
        "reader": new_key_by_command("reader", "read"),
        "reports": new_key_by_command("reports", "read@reports", "submit@reports"),
        "mail": new_key("mail", *(f"{scope}@mail" for scope in SCOPES)),
        "web": new_key("web", *(f"{scope}@web" for scope in SCOPES)),
    }
    for scope in SCOPES:
        keys[f"only-{scope}"] = new_key(f"only-{scope}", scope)
        keys[f"no-{scope}"] = new_key(f"no-{scope}", *(other for other in SCOPES if other not in (scope, "admin")))
    return keys


@pytest.fixture(scope="module")
def guarded(keys: dict[str, tuple[str, str]]) -> Iterator[Serving]:
    """A server with keys, on every address of this machine, which logs all but the messages of handlers."""
    variables = {"QUEUEY_API_KEY": ADMIN, "QUEUEY_API_KEYS": ",".join(entry for _, entry in keys.values())}
    flags = (*QUICK, "--host", "0.0.0.0", "--log-level", "debug", "--log-errors", "none")
    with tempfile.TemporaryDirectory(prefix="queuey-") as folder:
        server = Serving(Path(folder, "data"), *flags, variables=variables, key=ADMIN)
        yield server
        server.close()


class Caller:
    """Sends requests with a key of the test's choice, or with none."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url)

    def __call__(self, method: str, path: str, key: str | None, body: object = None, **headers: str) -> httpx.Response:
        if key is not None:
            headers["x-api-key"] = key
        return self.http.request(method, path, headers=httpx.Headers(headers, encoding="latin-1"), json=body)

    def route(self, route: Endpoint, key: str | None) -> httpx.Response:
        """Call a route as it wants to be called, about a job in the queue `mail`, which nobody serves."""
        made = BODIES["/v1/jobs"] | ({"delay": 600} if is_for(route, NEEDS_SCHEDULED) else {})
        job = self("POST", "/v1/jobs", ADMIN, made).json()["job_id"]
        if is_for(route, NEEDS_CANCELLED):
            self("POST", f"/v1/jobs/{job}/cancel", ADMIN)
        if is_for(route, NEEDS_SCHEDULE):
            assert self("PUT", "/v1/schedules/mail", ADMIN, routes.SCHEDULE).is_success
        body = json.loads(json.dumps(body_for(route, BODIES)).replace("{id}", job))
        return self(route.method, path_for(route, job), key, body)


def is_problem(reply: httpx.Response, status: int, code: str) -> bool:
    return (reply.status_code, reply.json()["type"]) == (status, f"urn:queuey:problem:{code}")


@pytest.fixture(scope="module")
def call(guarded: Serving) -> Iterator[Caller]:
    assert "//0.0.0.0:" in guarded.url
    caller = Caller(guarded.url.replace("0.0.0.0", "127.0.0.1"))
    yield caller
    caller.http.close()


def echo(queue: str = "default") -> dict[str, object]:
    return {"type": "echo", "payload": PAYLOAD, "queue": queue}


@every_route
def test_without_a_valid_key_only_health_and_the_documentation_are_told(call: Caller, route: Endpoint) -> None:
    for key in (None, *WRONG_KEYS):
        reply = call.route(route, key)
        if route.needs is None and not (route.path == "/v1/me" and key):
            assert route.path in OPEN
            assert reply.status_code == 200
        else:
            assert is_problem(reply, 401, "unauthorized")
            assert reply.headers["www-authenticate"].startswith("Bearer")
        if route.path in DOCUMENTATION:
            assert reply.content == call.route(route, ADMIN).content
        else:
            assert not key or key not in reply.text + str(reply.headers)


@every_guarded_route
def test_a_refusal_looks_the_same_whether_or_not_the_job_exists(call: Caller, route: Endpoint) -> None:
    there = call.route(route, None)
    nowhere = call(route.method, path_for(route, "0" * 28), None, body_for(route, BODIES))
    assert (there.status_code, there.text) == (nowhere.status_code, nowhere.text)


@every_guarded_route
def test_too_small_a_scope_is_refused_and_named(
    call: Caller, keys: dict[str, tuple[str, str]], route: Endpoint
) -> None:
    reply = call.route(route, keys[f"no-{route.needs}"][0])
    assert is_problem(reply, 403, "forbidden")
    assert str(route.needs) in reply.json()["detail"]


@every_route_about_jobs
def test_the_scope_alone_is_enough(call: Caller, keys: dict[str, tuple[str, str]], route: Endpoint) -> None:
    assert call.route(route, keys[f"only-{route.needs}"][0]).is_success


@every_route_about_jobs
def test_a_grant_over_one_queue_is_good_for_that_queue_alone(
    call: Caller, keys: dict[str, tuple[str, str]], route: Endpoint
) -> None:
    own, foreign = [call.route(route, keys[name][0]) for name in ("mail", "web")]
    if route.path in OVER_ALL_QUEUES:
        assert is_problem(own, 403, "forbidden")
    else:
        assert own.is_success
        assert "urn:queuey:problem" not in own.text
    if (seen := seen_queues(route, own)) is not None:
        assert seen == {"mail"}
        assert seen_queues(route, foreign) == set()
    elif route.path == "/v1/events":
        assert "data" not in foreign.text
    elif "{" in route.path and route.doc.name != "put_schedule":
        assert is_problem(foreign, 404, "not-found")
    elif isinstance(BODIES.get(route.path), list):
        assert foreign.json()["results"][0]["error"]["type"] == "urn:queuey:problem:forbidden"
    elif route.path.startswith("/v1/leases/"):
        assert foreign.json()["results"][0]["error"]["type"] == "urn:queuey:problem:not-found"
    else:
        assert is_problem(foreign, 403, "forbidden")


@every_route
def test_other_methods_give_no_more_away(call: Caller, route: Endpoint) -> None:
    path = path_for(route, "0" * 28)
    for method in ("HEAD", "PUT", "PATCH", "DELETE", "TRACE"):
        reply = call(method, path, None)
        assert reply.status_code in ((401, 405) if route.needs else (200, 405))
        assert PAYLOAD not in reply.text


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


def files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def commands(pid: int) -> str:
    """The command lines of a process and of those that it started."""
    found = ""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if pid in (parent, int(folder.name)):
                found += (folder / "cmdline").read_text()
    return found


def test_no_key_is_in_what_others_can_read(guarded: Serving, keys: dict[str, tuple[str, str]]) -> None:
    """Of the store, which keeps each replica's sign of life; and of the process table."""
    stored = files(guarded.data_dir)
    assert PAYLOAD.encode() in stored
    assert b"only-read" not in stored, "only of who paused a queue or a schedule is the name kept"
    shown = commands(guarded.process.pid)
    assert "--data-dir" in shown or not Path("/proc").exists()
    for secret in (ADMIN, "canary-wrong-key", *(part for key in keys.values() for part in (key[0], key[1][-64:]))):
        assert secret.encode() not in stored
        assert secret not in shown


def test_no_key_and_no_payload_is_in_the_log(guarded: Serving, keys: dict[str, tuple[str, str]]) -> None:
    """Not of the requests before this one, nor of jobs that fail with their payload in hand."""
    canary = f"{PAYLOAD}-of-a-job"
    jobs = [
        guarded.submit("echo", canary),
        guarded.submit("dead", canary),
        guarded.submit("sum", canary),
        guarded.submit("text", 300_000, max_attempts=1, dedupe_key=canary),
        guarded.submit("die", canary, max_attempts=1),
    ]
    guarded.submit("no.such.type", canary)  # it waits for a worker that knows the type
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
