"""The audit log: what has an entry, what it says, and what happens if it cannot be written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from queuey.api.http.auditing import action_of, is_audited
from queuey.errors import Full, OutcomeUnknown, StoreUnavailable
from tests.support.http import UNKNOWN_ID, ApiRig, api_over, keys, moment, problem
from tests.support.store import Rig

OPS = {"x-api-key": "ops"}
PAGE = {"x-queuey-ui": "1", "sec-fetch-site": "same-origin"}


@pytest.fixture
async def api(rig: Rig) -> AsyncIterator[ApiRig]:
    await rig.broker.replicas.register()
    async with api_over(rig.broker, keys(ops="admin", mail="admin@mail", eye="read")) as api:
        api.http.headers["x-api-key"] = "ops"
        yield api


async def entries(api: ApiRig, **query: Any) -> list[dict[str, Any]]:
    response = await api.http.get("/v1/audit", params=query)
    assert response.status_code == 200, response.text
    return list(response.json()["entries"])


async def test_an_action_has_one_entry_with_who_what_and_how_many(api: ApiRig) -> None:
    await api.submit(queue="mail")
    await api.submit(queue="mail")
    await api.http.post("/v1/queues/mail/pause", json={"reason": "by hand"}, headers={"x-api-key": "mail"})
    await api.http.post("/v1/queues/mail/purge", json={"status": ["queued"]})
    await api.http.post("/v1/dlq/replay", json={"type": "t", "limit": 5})
    found = await entries(api)
    assert [(entry["name"], entry["action"], entry["target"], entry["number"]) for entry in found] == [
        ("ops", "dlq.replay", None, 0),
        ("ops", "queues.purge", "mail", 2),
        ("mail", "queues.pause", "mail", None),
    ]
    assert [entry["filter"] for entry in found] == [
        {"type": "t", "limit": 5},
        {"status": ["queued"]},
        {"reason": "by hand"},
    ]
    assert {(entry["outcome"], entry["via"]) for entry in found} == {("done", "key")}
    assert moment(found[0]["at"]) >= moment(found[2]["at"])


async def test_the_intent_is_stored_before_the_action(api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    real = api.broker.queues.pause

    async def pause(*arguments: Any, **more: Any) -> Any:
        seen.extend(await entries(api))
        return await real(*arguments, **more)

    monkeypatch.setattr(api.broker.queues, "pause", pause)
    assert (await api.http.post("/v1/queues/mail/pause", json={})).is_success
    assert [(entry["action"], entry["outcome"]) for entry in seen[:1]] == [("queues.pause", "begun")]
    assert [entry["outcome"] for entry in await entries(api)] == ["done"]


async def test_what_is_refused_or_fails_says_so(api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    await api.submit(queue="mail")
    problem(await api.http.delete(f"/v1/jobs/{UNKNOWN_ID}"), 404, "not-found")
    problem(await api.http.post("/v1/dlq/delete", content=b"{no json"), 400, "malformed")
    for error in (OutcomeUnknown("lost"), StoreUnavailable("down"), ZeroDivisionError()):

        async def fail(*arguments: Any, error: Exception = error, **more: Any) -> Any:
            raise error

        monkeypatch.setattr(api.broker.queues, "resume", fail)
        assert (await api.http.post("/v1/queues/mail/resume")).status_code >= 500
    found = [(entry["action"], entry["outcome"], entry["target"]) for entry in await entries(api)]
    assert found == [
        ("queues.resume", "failed", "mail"),
        ("queues.resume", "failed", "mail"),
        ("queues.resume", "unknown", "mail"),
        ("dlq.delete", "refused", None),
        ("jobs.delete", "refused", UNKNOWN_ID),
    ]
    assert all(entry["detail"] for entry in await entries(api))


async def test_what_changes_nothing_or_is_not_allowed_has_no_entry(api: ApiRig) -> None:
    await api.http.post("/v1/dlq/replay", json={"dry_run": True})
    for key in ("eye", "unknown"):
        assert not (await api.http.post("/v1/dlq/replay", json={}, headers={"x-api-key": key})).is_success
    assert await entries(api) == []


async def test_schedules_logins_and_logouts_have_entries_and_payloads_have_none(api: ApiRig) -> None:
    spec = {"every": 60, "job": {"type": "t", "payload": {"canary": 1}}}
    assert (await api.http.put("/v1/schedules/nightly", json=spec)).is_success
    assert (await api.http.post("/v1/schedules/nightly/trigger")).is_success
    assert (await api.http.post("/ui/session", json={"key": "eye"}, headers=PAGE)).status_code == 204
    del api.http.headers["x-api-key"]
    assert (await api.http.delete("/ui/session", headers=PAGE)).status_code == 204
    api.http.headers["x-api-key"] = "ops"
    assert (await api.http.delete("/ui/sessions")).status_code == 204
    found = await entries(api)
    assert [(entry["name"], entry["action"]) for entry in found] == [
        ("ops", "session.logout_all"),
        ("eye", "session.logout"),
        ("eye", "session.login"),
        ("ops", "schedules.trigger"),
        ("ops", "schedules.put"),
    ]
    assert "canary" not in str(found)


async def test_pages(api: ApiRig) -> None:
    for _ in range(5):
        await api.http.post("/v1/queues/mail/pause", json={})
    whole = await entries(api)
    seen, cursor = [], None
    for _ in range(3):
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await api.http.get("/v1/audit", params=query)).json()
        seen += page["entries"]
        cursor = page["next"]
    assert (seen, cursor) == (whole, None)
    for bad in ("x", "0-0", "1-", "-", "+"):
        problem(await api.http.get("/v1/audit", params={"cursor": bad}), 422, "invalid")
    problem(await api.http.get("/v1/audit", headers={"x-api-key": "mail"}), 403, "forbidden")


async def test_the_action_goes_on_if_the_log_cannot_be_written(api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*arguments: Any) -> str:
        raise Full("The store is out of memory.")

    await api.submit(queue="mail")
    monkeypatch.setattr(api.broker.access, "add_audit", full)
    with capture_logs() as logged:
        assert (await api.http.post("/v1/queues/mail/purge", json={})).is_success
    missed = [entry for entry in logged if entry["event"] == "audit_not_written"]
    assert [(entry["action"], entry["outcome"], entry["by"]) for entry in missed] == [
        ("queues.purge", "begun", "ops"),
        ("queues.purge", "done", "ops"),
    ]


async def test_a_long_or_odd_filter_is_left_out(api: ApiRig) -> None:
    await api.http.post("/v1/dlq/delete", json={"type": "t" * 3000})
    await api.http.post("/v1/dlq/delete", content=b'{"limit": ' + b"[" * 5000)
    await api.http.post("/v1/dlq/delete", content=b'{"limit": 1e400}')
    assert [entry["filter"] for entry in await entries(api)] == [None, None, None]


async def test_each_route_that_needs_admin_and_changes_something_is_audited(api: ApiRig) -> None:
    audited = {action_of(endpoint) for endpoint in api.app.endpoints if is_audited(endpoint)}
    assert {
        *("queues.pause", "queues.resume", "queues.purge", "workers.quiet", "jobs.delete", "jobs.payload"),
        *("dlq.replay", "dlq.delete", "schedules.put", "schedules.delete", "schedules.pause", "schedules.resume"),
        *("schedules.trigger", "schedules.backfill", "session.logout_all"),
    } <= audited
    for endpoint in api.app.endpoints:
        if endpoint.needs == "admin" and endpoint.method != "GET":
            assert is_audited(endpoint)
