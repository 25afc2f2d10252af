"""Schedules over the HTTP API: with one shard and with four, on a store that may hold them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest

from tests.support.http import ApiRig, api_over
from tests.support.store import Rig

JOB: Final = {"type": "report", "queue": "reports"}
CRON: Final[dict[str, Any]] = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "job": JOB}


@pytest.fixture(params=[1, 4], ids=["1shards", "4shards"])
def shards(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
async def api(rig: Rig) -> AsyncIterator[ApiRig]:
    await rig.broker.replicas.register()
    async with api_over(rig.broker) as api:
        yield api


async def put(api: ApiRig, name: str = "nightly", **fields: Any) -> httpx.Response:
    """Put a schedule: each night, unless the fields say otherwise. None leaves a field out."""
    body = {name: value for name, value in {**CRON, **fields}.items() if value is not None}
    return await api.http.put(f"/v1/schedules/{name}", json=body)


async def made(api: ApiRig, name: str = "nightly", **fields: Any) -> dict[str, Any]:
    response = await put(api, name, **fields)
    assert response.status_code in (200, 201), response.text
    return dict(response.json())


async def get(api: ApiRig, name: str = "nightly") -> dict[str, Any]:
    response = await api.http.get(f"/v1/schedules/{name}")
    assert response.status_code == 200, response.text
    return dict(response.json())
