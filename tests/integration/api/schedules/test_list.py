"""GET /v1/schedules: pages, and what a key sees."""

from __future__ import annotations

from typing import Any

import pytest

from queuey.services.schedules import listing
from tests.integration.api.described import named
from tests.integration.api.schedules.conftest import JOB, get, made
from tests.support.http import ApiRig, problem
from tests.support.store import Rig

NAMES = [f"n{number:02}" for number in range(25)]


async def walked(api: ApiRig, **query: Any) -> list[list[str]]:
    """The names on each page."""
    pages: list[list[str]] = []
    found: dict[str, Any] | None = None
    while found is None or found["next"]:
        cursor: dict[str, str] = {"cursor": found["next"]} if found else {}
        response = await api.http.get("/v1/schedules", params={**query, **cursor})
        assert response.status_code == 200, response.text
        found = response.json()
        assert ("next" in response.links) == (found["next"] is not None)
        if found["next"]:
            assert (await api.http.get(response.links["next"]["url"])).status_code == 200
        pages.append([schedule["name"] for schedule in found["schedules"]])
    return pages


@pytest.mark.parametrize("limit", [1, 7, 25, 26, 500])
async def test_each_is_on_one_page(api: ApiRig, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_LOOK", 3)
    for name in NAMES:
        await made(api, name)
    pages = await walked(api, limit=limit)
    assert sorted(name for page in pages for name in page) == NAMES
    assert {len(page) for page in pages[:-1]} <= {limit}


async def test_no_schedules(api: ApiRig) -> None:
    assert (await api.http.get("/v1/schedules")).json() == {"schedules": [], "next": None}


async def test_one_has_its_next_tick_and_no_runs(api: ApiRig) -> None:
    await made(api)
    (listed,) = (await api.http.get("/v1/schedules")).json()["schedules"]
    shown = await get(api)
    del shown["runs"]
    assert listed == {**shown, "next": shown["next"][:1]}


async def test_those_of_one_queue(api: ApiRig) -> None:
    for number, name in enumerate(NAMES):
        await made(api, name, job={**JOB, "queue": f"q{number % 2}"})
    assert sorted(name for page in await walked(api, queue="q1", limit=5) for name in page) == NAMES[1::2]
    assert await walked(api, queue="other") == [[]]


async def test_a_request_looks_at_so_many_only(api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_LOOKED_AT", 4)
    for name in NAMES:
        await made(api, name)
    pages = await walked(api, queue="other")
    assert len(pages) > len(NAMES) // 5
    pages = await walked(api)
    assert sorted(name for page in pages for name in page) == NAMES
    assert max(map(len, pages)) == 4


async def test_a_page_has_so_many_bytes_only(api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_PAGE_BYTES", 1000)
    for name in NAMES:
        await made(api, name, job={**JOB, "payload": "x" * 600})
    pages = await walked(api)
    assert sorted(name for page in pages for name in page) == NAMES
    assert max(map(len, pages)) == 2


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limit=0", ["limit"]),
        ("limit=501&cursor=", ["limit", "cursor"]),
        ("cursor=x", ["cursor"]),
        ("cursor=" + "x" * 2000, ["cursor"]),
        ("queue=a%20b", ["queue"]),
        ("name=x", ["name"]),
    ],
)
async def test_faults(api: ApiRig, query: str, expected: list[str]) -> None:
    assert named(problem(await api.http.get(f"/v1/schedules?{query}"), 422, "invalid")) == expected


async def test_a_cursor_of_another_list(rig: Rig, api: ApiRig) -> None:
    for name in NAMES:
        await made(api, name)
    cursor = (await api.http.get("/v1/schedules?limit=3")).json()["next"]
    response = await api.http.get(f"/v1/schedules?limit=3&queue=mail&cursor={cursor}")
    assert "another list" in problem(response, 422, "invalid")["detail"]
    jobs = await api.http.get(f"/v1/jobs?cursor={cursor}")
    assert named(problem(jobs, 422, "invalid")) == ["cursor"]
