"""The schedules of the App of a pull worker: it puts them by the API, with a key that may be for one queue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from queuey import Schedule
from queuey.client import Client, Conflict
from queuey.models import JobRequest, ScheduleRequest
from queuey.worker.handlers.app import App
from queuey.worker.remote.schedules import HttpSyncing, NotPut
from queuey.worker.schedules.outcome import Policy
from tests.integration.server.test_declared_schedules import Nonce, app_of
from tests.support.http import ApiRig, api_over
from tests.support.store import Rig
from tests.support.stores import one_of

kind, shards = one_of("valkey"), one_of(4)
BY_HAND = ScheduleRequest(every=60, job=JobRequest("report"))


@pytest.fixture
async def api(rig: Rig) -> AsyncIterator[ApiRig]:
    await rig.broker.replicas.register()
    async with api_over(rig.broker) as api:
        yield api


@pytest.fixture
async def client(api: ApiRig) -> AsyncIterator[Client]:
    async with Client("http://127.0.0.1", transport=httpx.ASGITransport(api.app)) as client:
        yield client


async def sync(client: Client, app: App, policy: Policy = "report") -> dict[str, Any]:
    """What a start of the App has done, without what is empty."""
    done = msgspec.structs.asdict(await HttpSyncing(app, client, policy).run_once())
    return {name: value for name, value in done.items() if value}


async def crons(client: Client) -> dict[str, tuple[str | None, str | None]]:
    return {each.name: (each.cron, each.app) async for each in client.schedules()}


async def test_each_start_puts_what_has_changed(rig: Rig, client: Client) -> None:
    assert await sync(client, app_of(hourly="0 * * * *", daily="0 3 * * *")) == {"new": ["hourly", "daily"]}
    async with rig.unchanged():
        assert await sync(client, app_of(hourly="0 * * * *", daily="0 3 * * *")) == {}
        assert await sync(client, app_of(hourly="0 * * * *")) == {"undeclared": ["daily"]}
    assert await sync(client, app_of(hourly="5 * * * *"), "managed") == {"replaced": ["hourly"], "removed": ["daily"]}
    assert await crons(client) == {"hourly": ("5 * * * *", "shop")}


async def test_other_owners_keep_theirs(rig: Rig, client: Client) -> None:
    await sync(client, app_of("blog", posts="0 * * * *", pages="0 * * * *"))
    await client.put_schedule("by-hand", BY_HAND)
    await client.put_schedule("also-by-hand", BY_HAND)
    async with rig.unchanged():
        policies: tuple[Policy, ...] = ("managed", "report")
        for policy in policies:
            done = await sync(client, app_of(**{"posts": "0 1 * * *", "by-hand": "0 1 * * *"}), policy)
            assert done == {"foreign": {"posts": "blog", "by-hand": ""}}


async def test_one_that_gets_another_owner_meanwhile_is_not_deleted(client: Client) -> None:
    await sync(client, app_of(hourly="0 * * * *"))
    deleting = client.delete_schedule

    async def late(name: str, **given: Any) -> None:
        await client.put_schedule(name, BY_HAND)
        await deleting(name, **given)

    client.delete_schedule = late  # type: ignore[method-assign]
    assert await sync(client, app_of(), "managed") == {}
    assert await crons(client) == {"hourly": (None, None)}


async def test_a_codec_that_seals_each_time_differently_changes_nothing(rig: Rig, client: Client) -> None:
    codec = Nonce()
    app = app_of(hourly=Schedule(every=60, payload={"a": 1}), codec=codec)
    assert await sync(client, app) == {"new": ["hourly"]}
    async with rig.unchanged():
        assert await sync(client, app) == {}


async def test_what_the_server_refuses_is_named(client: Client) -> None:
    done = await sync(client, app_of(large=Schedule(every=60, payload="x" * 300_000), hourly="0 * * * *"))
    assert done["new"] == ["hourly"]
    assert "300002 bytes" in done["refused"]["large"]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"GET": 403}, {}),
        ({"GET": 404}, {}),
        ({"PUT": 403}, {"refused": {"hourly": "no"}}),
        ({"DELETE": 403}, {"new": ["hourly"], "undeclared": ["gone"]}),
    ],
    ids=["key without read", "release without schedules", "key without submit", "key that may not delete it"],
)
async def test_a_key_or_a_server_that_allows_less(
    api: ApiRig, client: Client, answers: dict[str, int], expected: dict[str, Any]
) -> None:
    await sync(client, app_of(gone="0 * * * *"))

    def refuse(status: int) -> httpx.Response:
        problem = {"type": f"urn:queuey:problem:{'forbidden' if status == 403 else 'not-found'}", "status": status}
        return httpx.Response(status, json={**problem, "title": "no", "detail": "no"})

    class Refusing(httpx.ASGITransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if status := answers.get(request.method):
                return refuse(status)
            return await super().handle_async_request(request)

    async with Client("http://127.0.0.1", transport=Refusing(api.app)) as refusing:
        policy: Policy = "managed" if "DELETE" in answers else "off"
        done = await sync(refusing, app_of(hourly="0 * * * *"), policy)
    done.pop("undeclared", None) if "PUT" in answers else None
    assert done == expected


async def test_another_conflict_is_tried_again_later(client: Client) -> None:
    async def busy(*_: Any, **__: Any) -> Any:
        error = Conflict.__new__(Conflict)
        error.code, error.message = "conflict", "Others change it."
        raise error

    client.put_schedule = busy  # type: ignore[method-assign]
    with pytest.raises(NotPut, match="Others change it"):
        await sync(client, app_of(hourly="0 * * * *"))
