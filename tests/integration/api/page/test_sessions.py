"""Sessions of the page: who gets one, where it counts, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from queuey.api.ui import sessions, visitors
from queuey.api.ui.visitors import PAGE_ROUTES
from queuey.protocol.credentials import Credentials, Grant, parse_people
from queuey.services.access import session_secret
from tests.support.http import HOST, ApiRig, api_over, keys, problem
from tests.support.store import Rig

PAGE = {"x-queuey-ui": "1", "sec-fetch-site": "same-origin"}
NOT_FOR_SESSIONS = {"POST /v1/jobs/batch", "GET /metrics", "POST /v1/replay-dlq"}


async def log_in(api: ApiRig, key: str, **headers: str) -> httpx.Response:
    return await api.http.post("/ui/session", json={"key": key}, headers={**PAGE, **headers})


async def cookie_of(api: ApiRig, key: str) -> str:
    """Log in, and return the cookie, without keeping it in the client."""
    response = await log_in(api, key)
    assert response.status_code == 204, response.text
    api.http.cookies.clear()
    return response.headers["set-cookie"].partition(";")[0]


async def me(api: ApiRig, cookie: str, **headers: str) -> httpx.Response:
    return await api.http.get("/v1/me", headers={"cookie": cookie, **headers})


def cleared(response: httpx.Response) -> None:
    problem(response, 401, "unauthorized")
    assert response.headers["set-cookie"] == "queuey=; Max-Age=0; HttpOnly; SameSite=Strict; Path=/"


@pytest.fixture
async def api(rig: Rig) -> AsyncIterator[ApiRig]:
    credentials = keys(ops="admin", mail="read@mail+submit@mail+admin@mail", eye="read")
    async with api_over(rig.broker, credentials) as api:
        yield api


@asynccontextmanager
async def moved(api: ApiRig, address: str, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose requests come from another address."""
    transport = httpx.ASGITransport(api.app, client=(address, 1))
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}", headers=headers) as client:
        yield client


async def test_a_session_is_its_key_s_owner_and_the_cookie_has_no_part_of_the_key(api: ApiRig) -> None:
    response = await log_in(api, "mail")
    assert response.status_code == 204
    value, *attributes = response.headers["set-cookie"].split("; ")
    assert attributes == ["Max-Age=43200", "HttpOnly", "SameSite=Strict", "Path=/"]
    assert value.startswith("queuey=v1.mail.")
    assert response.headers["cache-control"] == "no-store"
    found = (await me(api, value)).json()
    assert (found["name"], found["via"]) == ("mail", "session")
    assert found["grants"] == ["read@mail", "submit@mail", "admin@mail"]


async def test_over_https_the_cookie_is_for_this_host_and_https_only(rig: Rig) -> None:
    async with api_over(rig.broker, keys(ops="admin"), ui_https="yes") as api:
        response = await log_in(api, "ops")
        value = response.headers["set-cookie"].partition(";")[0]
        assert value.startswith("__Host-queuey=v1.ops.")
        assert response.headers["set-cookie"].endswith("; Secure")
        api.http.cookies.clear()
        assert (await me(api, value)).json()["via"] == "session"
        assert (await me(api, value.replace("__Host-", ""))).json()["via"] == "none"


async def test_a_cookie_that_is_not_valid_is_refused_and_deleted(rig: Rig, api: ApiRig) -> None:
    cookie = await cookie_of(api, "ops")
    head, expires, mac = cookie.rsplit(".", 2)
    forged = mac[:-2] + ("AA" if mac[-2:] != "AA" else "BB")
    bad = [
        f"{head}.{expires}.{forged}",
        f"{head}.{int(expires) + 1}.{mac}",
        f"queuey=v1.eye.{expires}.{mac}",
        f"queuey=v1.nobody.{expires}.{mac}",
        cookie[:-5],
        "queuey=",
        "queuey=v2." + cookie.partition(".")[2],
        f"{head}.{expires}.{mac}\x80",
    ]
    for text in bad:
        cleared(await api.http.get("/v1/me", headers=[(b"cookie", text.encode("latin-1"))]))
        cleared(await api.http.get("/v1/queues", headers=[(b"cookie", text.encode("latin-1"))]))
    assert (await me(api, cookie)).status_code == 200


async def test_a_session_ends_with_its_time(api: ApiRig, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "SESSION_SECONDS", 0)
    cleared(await me(api, await cookie_of(api, "ops")))


async def test_a_key_that_is_removed_or_replaced_ends_its_sessions(rig: Rig, api: ApiRig) -> None:
    cookie = await cookie_of(api, "mail")
    async with api_over(rig.broker, keys(ops="admin")) as without:
        cleared(await me(without, cookie))
    one, two = Credentials("the-first-key-of-all"), Credentials("the-second-key-of-all")
    async with api_over(rig.broker, one) as before, api_over(rig.broker, two) as after:
        cookie = await cookie_of(before, "the-first-key-of-all")
        assert (await me(before, cookie)).json()["name"] == "admin"
        cleared(await me(after, cookie))


async def test_any_replica_takes_it_and_another_store_does_not(rig: Rig, api: ApiRig) -> None:
    cookie = await cookie_of(api, "ops")
    async with api_over(rig.broker, api.credentials) as other:
        assert (await me(other, cookie)).json()["name"] == "ops"
    await rig.broker.access.session_key("00" * 32, replace=True)
    async with api_over(rig.broker, api.credentials) as elsewhere:
        cleared(await me(elsewhere, cookie))


async def test_all_are_logged_out_at_once_and_a_new_session_counts_everywhere(rig: Rig, api: ApiRig) -> None:
    old = await cookie_of(api, "ops")
    async with api_over(rig.broker, api.credentials) as other:
        assert (await me(other, old)).status_code == 200
        problem(await api.http.delete("/ui/sessions", headers={"x-api-key": "mail"}), 403, "forbidden")
        assert (await api.http.delete("/ui/sessions", headers={"x-api-key": "ops"})).status_code == 204
        cleared(await me(api, old))
        new = await cookie_of(api, "ops")
        assert (await me(other, new)).status_code == 200  # although it knew the old secret until now
        cleared(await me(other, old))


async def test_the_page_s_requests_cost_no_call_for_the_secret(
    rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = await cookie_of(api, "ops")
    asked = 0
    real = rig.broker.access.session_key

    async def counted(*arguments: Any, **more: Any) -> str:
        nonlocal asked
        asked += 1
        return await real(*arguments, **more)

    monkeypatch.setattr(rig.broker.access, "session_key", counted)
    monkeypatch.setattr(session_secret, "MAX_AGE", 600.0)
    for _ in range(20):
        assert (await me(api, cookie)).status_code == 200
    assert asked == 0
    await asyncio.gather(*(me(api, cookie + "x") for _ in range(20)))
    assert 1 <= asked <= 20


async def test_a_change_needs_the_page_itself(rig: Rig, api: ApiRig) -> None:
    cookie = await cookie_of(api, "ops")
    job = {"type": "t"}
    foreign: list[dict[str, str]] = [
        {},
        {"sec-fetch-site": "same-origin"},
        {"x-queuey-ui": "1"},
        {"x-queuey-ui": "0", "sec-fetch-site": "same-origin"},
        {"x-queuey-ui": "1", "sec-fetch-site": "same-site"},
        {"x-queuey-ui": "1", "sec-fetch-site": "none"},
        {"x-queuey-ui": "1", "sec-fetch-site": "cross-site", "origin": f"http://{HOST}"},
        {"x-queuey-ui": "1", "origin": "http://evil.example"},
        {"x-queuey-ui": "1", "origin": "null"},
    ]
    async with rig.unchanged():
        for headers in foreign:
            for method, path, body in (
                ("POST", "/v1/jobs", job),
                ("POST", "/v1/queues/mail/pause", {"reason": "r"}),
                ("DELETE", "/ui/sessions", None),
            ):
                asked = {"cookie": cookie, **headers}
                problem(await api.http.request(method, path, json=body, headers=asked), 403, "foreign-origin")
    for headers in (PAGE, {"x-queuey-ui": "1", "origin": f"http://{HOST}"}):
        response = await api.http.post("/v1/jobs", json=job, headers={"cookie": cookie, **headers})
        assert response.status_code == 200, response.text


async def test_a_login_by_another_page_is_refused(api: ApiRig) -> None:
    for headers in ({}, {"x-queuey-ui": "1", "sec-fetch-site": "cross-site"}):
        for method, body in (("POST", {"key": "ops"}), ("DELETE", None)):
            problem(await api.http.request(method, "/ui/session", json=body, headers=headers), 403, "foreign-origin")


async def test_it_counts_only_on_the_routes_of_the_page(api: ApiRig) -> None:
    cookie = await cookie_of(api, "ops")
    for endpoint in api.app.endpoints:
        route = f"{endpoint.method} {endpoint.path}"
        if endpoint.needs is None or route in PAGE_ROUTES:
            continue
        assert "/v1/leases" in route or route in NOT_FOR_SESSIONS, f"is {route} for the page?"
        response = await api.http.request(endpoint.method, endpoint.path, headers={"cookie": cookie, **PAGE})
        problem(response, 401, "unauthorized")
        assert "set-cookie" not in response.headers


async def test_a_key_on_the_same_request_wins(api: ApiRig) -> None:
    cookie = await cookie_of(api, "ops")
    assert (await me(api, cookie, **{"x-api-key": "eye"})).json()["name"] == "eye"
    assert (await me(api, "queuey=bad", authorization="Bearer eye")).json()["via"] == "key"
    problem(await me(api, cookie, **{"x-api-key": "unknown"}), 401, "unauthorized")
    headers = {"cookie": cookie, "x-api-key": "eye"}
    problem(await api.http.post("/v1/queues/mail/pause", json={}, headers=headers), 403, "forbidden")


async def test_grants_over_a_queue_hold_for_its_session(api: ApiRig) -> None:
    headers = {"cookie": await cookie_of(api, "mail"), **PAGE}
    assert (await api.http.post("/v1/jobs", json={"type": "t", "queue": "mail"}, headers=headers)).is_success
    problem(await api.http.post("/v1/jobs", json={"type": "t", "queue": "web"}, headers=headers), 403, "forbidden")
    assert (await api.http.post("/v1/queues/mail/pause", json={}, headers=headers)).is_success
    problem(await api.http.post("/v1/queues/web/pause", json={}, headers=headers), 404, "not-found")
    problem(await api.http.get("/v1/audit", headers=headers), 403, "forbidden")


async def test_a_page_that_only_reads_gives_its_sessions_no_more(rig: Rig) -> None:
    opened = Credentials("an-admin-key-for-us", (), [Grant("submit")])
    async with api_over(rig.broker, opened, ui="read-only") as api:
        cookie = await cookie_of(api, "an-admin-key-for-us")
        found = (await me(api, cookie)).json()
        assert (found["grants"], found["ui"]) == (["read"], "read-only")
        headers = {"cookie": cookie, **PAGE}
        assert (await api.http.get("/v1/queues", headers=headers)).is_success
        problem(await api.http.post("/v1/jobs", json={"type": "t"}, headers=headers), 403, "forbidden")
        problem(await api.http.post("/v1/queues/mail/pause", json={}, headers=headers), 403, "forbidden")
        with_key = {"x-api-key": "an-admin-key-for-us"}
        assert (await api.http.post("/v1/jobs", json={"type": "t"}, headers=with_key)).is_success


async def test_without_a_page_there_are_no_sessions(rig: Rig, api: ApiRig) -> None:
    cookie = await cookie_of(api, "ops")
    async with api_over(rig.broker, api.credentials, ui="off") as other:
        problem(await log_in(other, "ops"), 404, "not-found")
        problem(await other.http.get("/v1/queues", headers={"cookie": cookie}), 401, "unauthorized")


async def test_wrong_keys_take_their_time_and_are_few_at_a_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    all_wait, go_on = asyncio.Event(), asyncio.Event()

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 5:
            all_wait.set()
        await go_on.wait()

    monkeypatch.setattr(sessions.SessionRoutes.__init__, "__defaults__", (pause,))
    async with api_over(rig.broker, keys(ops="admin")) as api:
        with capture_logs() as logged:
            wrong = [asyncio.create_task(log_in(api, f"wrong{n}")) for n in range(5)]
            await all_wait.wait()
            for key in ("wrong", "ops"):  # else 429 would tell which key is right
                async with asyncio.timeout(10):  # one that is judged would wait for ever
                    refused = await log_in(api, key)
                problem(refused, 429, "too-many-logins")
                assert refused.headers["retry-after"] == "1"
            go_on.set()
            for response in await asyncio.gather(*wrong):
                problem(response, 401, "unauthorized")
        assert pauses == [0.3] * 5
        failed = [entry for entry in logged if entry["event"] == "login_failed"]
        assert [entry["address"] for entry in failed] == ["127.0.0.1"] * 5
        assert "wrong" not in str(failed)
        assert (await log_in(api, "ops")).status_code == 204


async def test_logging_out_deletes_the_cookie(api: ApiRig) -> None:
    cookie = await cookie_of(api, "ops")
    response = await api.http.delete("/ui/session", headers={"cookie": cookie, **PAGE})
    assert response.status_code == 204
    assert response.headers["set-cookie"].startswith("queuey=; Max-Age=0;")


async def test_everything_under_ui_has_the_headers(api: ApiRig) -> None:
    for response in (
        await log_in(api, "ops"),
        await api.http.get("/ui/nothing-here"),
        await api.http.put("/ui/session"),
    ):
        assert "require-trusted-types-for 'script'" in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"


async def test_a_person_is_believed_only_from_a_trusted_proxy(rig: Rig) -> None:
    settings: dict[str, Any] = {
        "ui_header": "X-Forwarded-User",
        "ui_header_grants": parse_people(["ada@example.com:admin", "bob:read@mail"]),
        "ui_trusted": ("10.0.0.0/8",),
    }
    async with api_over(rig.broker, keys(ops="admin"), **settings) as api:
        named = {"x-forwarded-user": "ada@example.com"}
        for address, via in (("10.1.2.3", "proxy"), ("::ffff:10.1.2.3", "proxy"), ("11.1.2.3", "none"), ("x", "none")):
            async with moved(api, address, **named, **{"x-forwarded-for": "10.1.2.3"}) as client:
                assert (await client.get("/v1/me")).json()["via"] == via
                if via == "none":
                    problem(await client.get("/v1/queues"), 401, "unauthorized")
                    problem(await client.post("/v1/jobs", json={"type": "t"}, headers=PAGE), 401, "unauthorized")
        async with moved(api, "10.1.2.3") as client:
            for name in ("Ada@example.com", "ada@example.co", "xada@example.com", "nobody", ""):
                found = (await client.get("/v1/me", headers={"x-forwarded-user": name})).json()
                assert (found["name"], found["via"]) == ("anonymous", "none")
            twice = [("x-forwarded-user", "bob"), ("x-forwarded-user", "ada@example.com")]
            assert (await client.get("/v1/me", headers=twice)).json()["via"] == "none"
            problem(await client.post("/v1/jobs", json={"type": "t"}, headers=named), 403, "foreign-origin")
            assert (await client.post("/v1/jobs", json={"type": "t"}, headers={**named, **PAGE})).is_success
            assert (await client.get("/v1/me", headers={**named, "x-api-key": "ops"})).json()["name"] == "ops"
            https = {**PAGE, "x-forwarded-proto": "https"}
            response = await client.post("/ui/session", json={"key": "ops"}, headers=https)
            assert response.headers["set-cookie"].startswith("__Host-queuey=")
        async with moved(api, "11.1.2.3") as client:
            response = await client.post("/ui/session", json={"key": "ops"}, headers=https)
            assert response.headers["set-cookie"].startswith("queuey=")
