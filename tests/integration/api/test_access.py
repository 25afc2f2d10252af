"""Who may do what: every route of the table, with no key, a wrong one, too small a scope, and another queue's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from queuey.api.http.endpoints import Endpoint
from queuey.protocol import ids
from queuey.protocol.credentials import SCOPES, Credentials, Grant
from queuey.protocol.records import NewJob, job_head
from tests.support import routes
from tests.support.http import HOST, ApiRig, api_over, keys, problem
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
from tests.support.store import Rig
from tests.support.stores import one_of

shards = one_of(2)
pytestmark = pytest.mark.usefixtures("both_ways")


BODIES: dict[str, Any] = {
    "/v1/jobs": {"type": "t", "queue": "mail"},
    "/v1/jobs/batch": [{"type": "t", "queue": "mail"}],
    "/v1/leases": {"queues": ["mail"]},
    "/v1/leases/complete": {"jobs": [{"id": "{id}", "token": "1.c"}]},
    "/v1/leases/fail": {"jobs": [{"id": "{id}", "token": "1.c", "error": "e"}]},
    "/v1/leases/extend": {"jobs": [{"id": "{id}", "token": "1.c"}]},
    "/v1/leases/release": {"jobs": [{"id": "{id}", "token": "1.c"}]},
    "/v1/leases/checkpoint": {"jobs": [{"id": "{id}", "token": "1.c", "checkpoint": 1}]},
    "/v1/leases/log": {"jobs": [{"id": "{id}", "token": "1.c", "lines": [{"text": "t"}]}]},
    **routes.BODIES,
}
WORKER = (
    '{"version":"1","pid":1,"roles":["worker"],"workers":[{"name":"mail","kind":"process","slots":1,"busy":0,"jobs":[],'
    '"queues":["mail"]}],"features":["aside","schedules","unique"]}'
)
"""The sign of life of a worker that serves the queue `mail`."""


@pytest.fixture
async def api(rig: Rig) -> AsyncIterator[ApiRig]:
    credentials = keys(
        all="admin",
        **{f"no_{scope}": "+".join({*SCOPES} - {scope, "admin"}) for scope in SCOPES},
        mail="+".join(f"{scope}@mail" for scope in SCOPES),
        web="+".join(f"{scope}@web" for scope in SCOPES),
    )
    await rig.broker.replicas.register()
    async with api_over(rig.broker, credentials) as api:
        yield api


def routes_of(api: ApiRig) -> list[Endpoint]:
    """All but the logins, which have a test file of their own."""
    return [endpoint for endpoint in api.app.endpoints if endpoint.path not in LOGINS]


async def mail_job(api: ApiRig, *, delay_ms: int = 0, cancelled: bool = False, dead: bool = False) -> str:
    """A new job in the queue `mail`."""
    job = NewJob(ids.new_id(), "mail", "default", job_head(queue="mail"), '{"type":"t"}', delay_ms)
    job_id = (await api.producer.enqueue(job)).job_id
    if cancelled:
        await api.broker.jobs.cancel(api.broker.shards.of_job(job_id), [job_id])
    if dead:
        await die(api, job_id)
    return job_id


async def die(api: ApiRig, job_id: str) -> None:
    """Claim all that waits before it, and it; then it dies."""
    shard, token = api.broker.shards.of_job(job_id), None
    while token is None:
        claimed = await api.broker.leases.claim(
            shard, claim_id=ids.short_random(), worker="w", lease_ms=60_000, limit=500, queues=["mail"]
        )
        token = {job.id: job.token for job in claimed.jobs}.get(job_id)
    entry = '{"attempt":1,"kind":"dead","message":""}'
    assert await api.broker.leases.fail(shard, [(job_id, token, entry, 0, True)]) == ["dead"]


async def call(api: ApiRig, endpoint: Endpoint, key: str | None = None) -> Any:
    """Call an endpoint, with a body that is good and the id of a job in the queue `mail`, in a state that is good."""
    admin = "dev" if api.credentials.open else "all"
    job_id = await mail_job(
        api,
        delay_ms=60_000 * is_for(endpoint, NEEDS_SCHEDULED),
        cancelled=is_for(endpoint, NEEDS_CANCELLED),
        dead=is_for(endpoint, NEEDS_DEAD),
    )
    if is_for(endpoint, NEEDS_SCHEDULE):
        made = await api.http.put("/v1/schedules/mail", json=routes.SCHEDULE, headers={"x-api-key": admin})
        assert made.is_success
    if is_for(endpoint, NEEDS_WORKER):
        await api.broker.replicas.heartbeat(0, "mail", WORKER)
    path = path_for(endpoint, job_id)
    headers = {"content-type": "application/json"} | ({"x-api-key": key} if key else {})
    body = body_for(endpoint, BODIES)
    content = None if body is None else json.dumps(body).replace("{id}", job_id)
    return await api.http.request(endpoint.method, path, content=content, headers=headers)


async def test_the_table_of_routes(api: ApiRig) -> None:
    assert {(endpoint.method, endpoint.path): endpoint.needs for endpoint in api.app.endpoints} == {
        ("POST", "/v1/jobs"): "submit",
        ("GET", "/v1/jobs"): "read",
        ("POST", "/v1/jobs/batch"): "submit",
        ("POST", "/v1/jobs/cancel"): "submit",
        ("POST", "/v1/jobs/retry"): "admin",
        ("POST", "/v1/jobs/delete"): "admin",
        ("GET", "/v1/jobs/{id}"): "read",
        ("DELETE", "/v1/jobs/{id}"): "admin",
        ("POST", "/v1/jobs/{id}/retry"): "submit",
        ("GET", "/v1/jobs/{id}/explain"): "read",
        ("GET", "/v1/jobs/{id}/log"): "read",
        ("POST", "/v1/jobs/{id}/cancel"): "submit",
        ("POST", "/v1/schedules/preview"): "submit",
        ("GET", "/v1/schedules"): "read",
        ("PUT", "/v1/schedules/{name}"): "submit",
        ("GET", "/v1/schedules/{name}"): "read",
        ("DELETE", "/v1/schedules/{name}"): "submit",
        ("POST", "/v1/schedules/{name}/pause"): "submit",
        ("POST", "/v1/schedules/{name}/resume"): "submit",
        ("POST", "/v1/schedules/{name}/trigger"): "submit",
        ("POST", "/v1/schedules/{name}/backfill"): "submit",
        ("POST", "/v1/leases"): "work",
        ("POST", "/v1/leases/complete"): "work",
        ("POST", "/v1/leases/fail"): "work",
        ("POST", "/v1/leases/extend"): "work",
        ("POST", "/v1/leases/release"): "work",
        ("POST", "/v1/leases/checkpoint"): "work",
        ("POST", "/v1/leases/log"): "work",
        ("GET", "/v1/queues"): "read",
        ("GET", "/v1/jobs/{id}/events"): "read",
        ("GET", "/v1/events"): "read",
        ("GET", "/v1/queues/metrics"): "read",
        ("GET", "/v1/queues/{name}"): "read",
        ("POST", "/v1/queues/{name}/pause"): "admin",
        ("POST", "/v1/queues/{name}/resume"): "admin",
        ("POST", "/v1/queues/{name}/purge"): "admin",
        ("PUT", "/v1/jobs/{id}/payload"): "admin",
        ("GET", "/v1/dlq"): "read",
        ("GET", "/v1/dlq/groups"): "read",
        ("POST", "/v1/dlq/replay"): "admin",
        ("POST", "/v1/dlq/delete"): "admin",
        ("GET", "/v1/workers"): "read",
        ("GET", "/v1/pulse"): "read",
        ("POST", "/v1/workers/{name}/quiet"): "admin",
        ("POST", "/v1/replay-dlq"): "admin",
        ("GET", "/metrics"): "read",
        ("GET", "/healthz"): None,
        ("GET", "/readyz"): None,
        ("GET", "/v1/me"): None,
        ("GET", "/v1/audit"): "admin",
        ("POST", "/ui/session"): None,
        ("DELETE", "/ui/session"): None,
        ("DELETE", "/ui/sessions"): "admin",
        **{("GET", path): None for path in DOCUMENTATION},
    }


async def test_every_route_answers_the_key_that_may_everything(api: ApiRig) -> None:
    for endpoint in routes_of(api):
        assert (await call(api, endpoint, "all")).is_success, endpoint.path


async def test_no_key_or_a_wrong_one_is_refused_everywhere_but_at_the_open_routes(rig: Rig, api: ApiRig) -> None:
    for endpoint in routes_of(api):
        for key in (None, "eve", "ALL"):
            response = await call(api, endpoint, key)
            if endpoint.needs is None and not (endpoint.path == "/v1/me" and key):
                assert endpoint.path in OPEN
                assert response.status_code == 200
            else:
                problem(response, 401, "unauthorized")
                assert response.headers["www-authenticate"].startswith("Bearer")


async def test_too_small_a_scope_is_refused_and_named(api: ApiRig) -> None:
    for endpoint in routes_of(api):
        if endpoint.needs is not None:
            found = problem(await call(api, endpoint, f"no_{endpoint.needs}"), 403, "forbidden")
            assert endpoint.needs in found["detail"]


async def test_the_scope_alone_is_enough(rig: Rig) -> None:
    await rig.broker.replicas.register()
    async with api_over(rig.broker, keys(all="admin", **{scope: scope for scope in SCOPES})) as api:
        for endpoint in routes_of(api):
            assert (await call(api, endpoint, endpoint.needs)).is_success, endpoint.path


async def test_a_grant_over_one_queue_is_good_for_that_queue(api: ApiRig) -> None:
    for endpoint in routes_of(api):
        if endpoint.needs is None:
            continue
        response = await call(api, endpoint, "mail")
        if endpoint.path in OVER_ALL_QUEUES:
            problem(response, 403, "forbidden")
        else:
            assert response.is_success, endpoint.path
            assert "urn:queuey:problem" not in response.text, endpoint.path


async def test_a_grant_over_another_queue_is_no_good(rig: Rig, api: ApiRig) -> None:
    for endpoint in routes_of(api):
        if endpoint.needs is None:
            continue
        response = await call(api, endpoint, "web")
        if (seen := seen_queues(endpoint, response)) is not None:
            assert seen == set()
        elif endpoint.path == "/v1/events":
            assert "data" not in response.text
        elif endpoint.doc.name == "put_schedule":
            problem(response, 403, "forbidden")
        elif "{" in endpoint.path:
            problem(response, 404, "not-found")
        elif endpoint.path == "/v1/jobs/batch":
            error = response.json()["results"][0]["error"]
            assert (error["status"], error["type"]) == (403, "urn:queuey:problem:forbidden")
        elif endpoint.path.startswith("/v1/leases/"):
            error = response.json()["results"][0]["error"]
            assert (error["status"], error["type"]) == (404, "urn:queuey:problem:not-found")
        else:
            problem(response, 403, "forbidden")


async def test_a_refused_request_changes_nothing(rig: Rig, api: ApiRig) -> None:
    job_id = await mail_job(api)
    requests = [("/v1/jobs", BODIES["/v1/jobs"]), ("/v1/jobs/batch", BODIES["/v1/jobs/batch"])]
    requests += [(f"/v1/jobs/{job_id}/{verb}", None) for verb in ("cancel", "retry")] + [("/v1/replay-dlq", None)]
    async with rig.unchanged():
        for key in ("", "eve", "no_submit", "web"):
            for path, body in requests:
                response = await api.http.post(path, json=body, headers={"x-api-key": key})
                assert response.status_code in (401, 403, 404) or "results" in response.json()


async def test_a_job_of_another_queue_looks_like_none(api: ApiRig) -> None:
    (endpoint,) = [
        endpoint for endpoint in api.app.endpoints if (endpoint.method, endpoint.path) == ("GET", "/v1/jobs/{id}")
    ]
    foreign = await call(api, endpoint, "web")
    job_id = foreign.request.url.path.rpartition("/")[2]
    unknown = "0" * 28
    other = await api.http.get(f"/v1/jobs/{unknown}", headers={"x-api-key": "web"})
    assert foreign.text.replace(job_id, unknown) == other.text


async def test_a_bearer_is_taken_too(api: ApiRig) -> None:
    response = await api.http.get("/v1/queues/metrics", headers={"authorization": "Bearer all"})
    assert response.status_code == 200


async def test_a_key_is_asked_for_before_a_body_is_read(api: ApiRig) -> None:
    async def unread() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""  # type: ignore[unreachable]

    for path in ("/v1/jobs", "/v1/jobs/batch"):
        problem(await api.http.post(path, content=unread()), 401, "unauthorized")


async def test_an_open_server_lets_all_in_but_to_what_operates_it(rig: Rig) -> None:
    await rig.broker.replicas.register()
    async with api_over(rig.broker) as api:
        for endpoint in routes_of(api):
            response = await call(api, endpoint)
            if endpoint.needs == "admin":
                problem(response, 401, "unauthorized")
            else:
                assert response.is_success, endpoint.path


async def test_scopes_can_be_opened_on_purpose(rig: Rig) -> None:
    opened = Credentials("s3cret-enough-for-us", (), [Grant("submit"), Grant("read", "web")])
    async with api_over(rig.broker, opened) as api:
        mail = (await api.http.post("/v1/jobs", json={"type": "t", "queue": "mail"})).json()["job_id"]
        web = (await api.http.post("/v1/jobs", json={"type": "t", "queue": "web"})).json()["job_id"]
        problem(await api.http.get(f"/v1/jobs/{mail}"), 404, "not-found")
        assert (await api.http.get(f"/v1/jobs/{web}")).status_code == 200
        problem(await api.http.post("/v1/replay-dlq"), 401, "unauthorized")


async def test_an_open_server_answers_every_route_as_this_machine_alone(rig: Rig) -> None:
    async with api_over(rig.broker) as api:
        for endpoint in routes_of(api):
            path = path_for(endpoint, "0" * 28)
            headers = {"host": "evil.example:8000", "x-api-key": "dev"}
            problem(await api.http.request(endpoint.method, path, headers=headers), 421, "wrong-host")
            if endpoint.method == "POST":
                headers = {"host": HOST, "origin": "http://evil.example", "x-api-key": "dev"}
                problem(await api.http.post(path, json={"type": "t"}, headers=headers), 403, "foreign-origin")


async def test_a_schedule_of_another_queue_looks_like_none_and_cannot_be_replaced(rig: Rig, api: ApiRig) -> None:
    mail = {"x-api-key": "mail"}
    made = await api.http.put("/v1/schedules/nightly", json=routes.SCHEDULE, headers=mail)
    assert made.status_code == 201
    web, moved = {"x-api-key": "web"}, {"every": 60, "job": {"type": "t", "queue": "web"}}
    foreign = await api.http.get("/v1/schedules/nightly", headers=web)
    unknown = await api.http.get("/v1/schedules/unknown", headers=web)
    assert foreign.text.replace("nightly", "unknown") == unknown.text
    async with rig.unchanged():
        problem(await api.http.put("/v1/schedules/nightly", json=moved, headers=web), 403, "forbidden")
        problem(await api.http.put("/v1/schedules/nightly", json=moved, headers=mail), 403, "forbidden")
    assert (await api.http.put("/v1/schedules/nightly", json=moved, headers={"x-api-key": "all"})).status_code == 200
    problem(await api.http.get("/v1/schedules/nightly", headers=mail), 404, "not-found")
    assert (await api.http.get("/v1/schedules/nightly", headers=web)).status_code == 200
