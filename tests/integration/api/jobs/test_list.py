"""GET /v1/jobs over a real store."""

from __future__ import annotations

from typing import Any

import pytest

from queuey.services import cursors
from queuey.services.jobs import listing
from tests.support.http import ApiRig, api_over, keys, problem
from tests.support.store import Rig
from tests.support.stores import one_of

shards = one_of(3)


async def page(api: ApiRig, path: str = "/v1/jobs", **parameters: Any) -> dict[str, Any]:
    response = await api.http.get(path, params=parameters)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def pages(api: ApiRig, **parameters: Any) -> list[dict[str, Any]]:
    """All jobs, by following the links."""
    response = await api.http.get("/v1/jobs", params=parameters)
    jobs: list[dict[str, Any]] = []
    for _ in range(1000):
        jobs += response.json()["jobs"]
        assert ("next" in response.links) == (response.json()["next"] is not None)
        if "next" not in response.links:
            return jobs
        response = await api.http.get(response.links["next"]["url"])
        assert response.status_code == 200, response.text
    raise AssertionError("the pages never end")


async def run(api: ApiRig, *, queue: str, fail: bool) -> None:
    """Run one job of the queue, wherever it is."""
    for shard in range(api.broker.shards.count):
        claimed = await api.broker.leases.claim(
            shard, claim_id=f"c{queue}{shard}", worker="w", lease_ms=30_000, limit=1, queues=[queue]
        )
        for job in claimed.jobs:
            if fail:
                error = '{"attempt":1,"kind":"error","message":"no"}'
                await api.broker.leases.fail(shard, [(job.id, job.token, error, 0, True)])
            else:
                await api.broker.leases.complete(shard, [(job.id, job.token, "1")])


async def in_every_status(api: ApiRig) -> dict[str, str]:
    """One job in each, by status."""
    found = {"succeeded": await api.submit(queue="done", type="a")}
    await run(api, queue="done", fail=False)
    found["dead_letter"] = await api.submit(queue="dead", type="a")
    await run(api, queue="dead", fail=True)
    found["scheduled"] = await api.submit(delay=60, type="b")
    found["queued"] = await api.submit(priority="low", type="b")
    found["cancelled"] = await api.submit(queue="done", type="b")
    await api.http.post(f"/v1/jobs/{found['cancelled']}/cancel")
    found["running"] = await api.submit(queue="run", type="b")
    shard = api.broker.shards.of_job(found["running"])
    await api.broker.leases.claim(shard, claim_id="r", worker="w", lease_ms=30_000, limit=1, queues=["run"])
    return found


async def test_an_empty_store(api: ApiRig) -> None:
    assert await page(api) == {"jobs": [], "next": None, "looked_at": 0}


async def test_by_status_queue_and_type(api: ApiRig) -> None:
    found = await in_every_status(api)
    everything = await page(api)
    assert {job["id"]: job["status"] for job in everything["jobs"]} == {found[name]: name for name in found}
    assert everything["next"] is None
    assert everything["jobs"][0] == await api.job(everything["jobs"][0]["id"])
    for status, job_id in found.items():
        assert [job["id"] for job in (await page(api, status=status))["jobs"]] == [job_id]
    assert {job["status"] for job in (await page(api, queue="done"))["jobs"]} == {"succeeded", "cancelled"}
    assert {job["status"] for job in (await page(api, type="a"))["jobs"]} == {"succeeded", "dead_letter"}
    assert [job["id"] for job in (await page(api, type="b", queue="done"))["jobs"]] == [found["cancelled"]]
    assert (await page(api, queue="nosuch"))["jobs"] == []


@pytest.mark.parametrize("limit", [1, 7, 500])
async def test_the_pages_hold_every_job_once(api: ApiRig, limit: int) -> None:
    submitted = [
        await api.submit(queue=f"q{number % 3}", delay=60 if number % 2 else 0, priority=("high", "low")[number % 2])
        for number in range(30)
    ]
    assert sorted(job["id"] for job in await pages(api, limit=limit)) == sorted(submitted)
    ours = await pages(api, limit=limit, queue="q1", status="scheduled")
    assert sorted(job["id"] for job in ours) == sorted(submitted[1::6])


async def test_what_is_looked_at_has_a_bound(api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(20):
        await api.submit(type="common")
    rare = await api.submit(type="rare")
    monkeypatch.setattr(listing, "MAX_LOOKED_AT", 12)
    first = await page(api, type="rare")
    assert first["next"] is not None
    assert [job["id"] for job in await pages(api, type="rare")] == [rare]


async def test_what_a_page_weighs_has_a_bound(api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted = [await api.submit(payload="x" * 1000) for _ in range(9)]
    monkeypatch.setattr(listing, "MAX_PAGE_BYTES", 2_500)
    assert len((await page(api))["jobs"]) == 3
    assert sorted(job["id"] for job in await pages(api)) == sorted(submitted)


async def test_many_queues(api: ApiRig) -> None:
    submitted = [await api.submit(queue=f"q{number}") for number in range(150)]
    assert sorted(job["id"] for job in await pages(api, limit=500)) == sorted(submitted)


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=many", "limit"),
        ("limit=1&limit=2", "limit"),
        ("status=done", "status"),
        ("queue=%20", "queue"),
        ("queue=", "queue"),
        ("type=a%00", "type"),
        ("page=2", "page"),
        ("cursor=", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=abc", "cursor"),
        ("cursor=" + "A" * 5_000, "cursor"),
        ("cursor=%C3%A9", "cursor"),
    ],
)
async def test_a_bad_parameter_is_named(api: ApiRig, query: str, parameter: str) -> None:
    found = problem(await api.http.get(f"/v1/jobs?{query}"), 422, "invalid")
    assert [fault["parameter"] for fault in found["errors"]] == [parameter]


async def test_a_cursor_is_good_for_its_own_list_alone(api: ApiRig) -> None:
    for _ in range(3):
        await api.submit(queue="q")
    cursor = (await page(api, queue="q", limit=1))["next"]
    assert len((await page(api, queue="q", limit=5, cursor=cursor))["jobs"]) == 2
    for other in ({}, {"queue": "p"}, {"queue": "q", "status": "queued"}, {"queue": "q", "type": "t"}):
        refused = await api.http.get("/v1/jobs", params={**other, "cursor": cursor})
        assert "another list" in problem(refused, 422, "invalid")["detail"]


async def test_a_forged_cursor_is_refused(api: ApiRig) -> None:
    wanted = listing.Wanted()
    digest = cursors.digest(wanted)
    good = listing.Cursor(digest, 0, "", 0)
    assert (await page(api, cursor=cursors.encode(good)))["jobs"] == []
    for bad in (
        listing.Cursor(digest, 99, "", 0),
        listing.Cursor(digest, -1, "", 0),
        listing.Cursor(digest, 0, "a b", 0),
        listing.Cursor(digest, 0, "", 9),
        listing.Cursor(digest, 0, "", 0, -1),
        listing.Cursor(digest, 0, "", 0, 0, 2**60),
        listing.Cursor(digest, 0, "", 0, 0, 0, "x"),
    ):
        problem(await api.http.get("/v1/jobs", params={"cursor": cursors.encode(bad)}), 422, "invalid")


async def test_queues_that_the_caller_may_not_read_are_left_out(rig: Rig) -> None:
    async with api_over(rig.broker, keys(mail="read@mail+submit@mail", all="admin")) as api:
        own, other = {"x-api-key": "mail"}, {"x-api-key": "all"}
        for queue in ("mail", "web"):
            await api.http.post("/v1/jobs", json={"type": "t", "queue": queue}, headers=other)
        seen = (await api.http.get("/v1/jobs", headers=own)).json()["jobs"]
        assert [job["queue"] for job in seen] == ["mail"]
        assert (await api.http.get("/v1/jobs?queue=web", headers=own)).json()["jobs"] == []
        assert len((await api.http.get("/v1/jobs", headers=other)).json()["jobs"]) == 2
        first = (await api.http.get("/v1/jobs?queue=web&limit=1", headers=other)).json()
        assert first["jobs"]


@pytest.mark.parametrize("limit", [1, 2, 50])
async def test_what_was_set_aside_is_queued_and_on_one_page_only(rig: Rig, api: ApiRig, limit: int) -> None:
    expected = [await api.submit(type=type) for type in ("a", "b", "c") for _ in range(4)]
    for job_id in expected[1::2]:
        keys = rig.broker.shards.keys[rig.broker.shards.of_job(job_id)]
        type = (await api.job(job_id))["type"]
        await rig.client.lrem(keys.ready("default", "default"), 1, job_id)
        await rig.client.rpush(keys.aside("default", "default", type), job_id)
        await rig.client.hset(keys.queue("default"), "aside", " d:c d:a l:a d:b")
    jobs = await pages(api, status="queued", limit=limit)
    assert sorted(job["id"] for job in jobs) == sorted(expected)
    assert {job["status"] for job in jobs} == {"queued"}
    assert len(await pages(api, type="b", limit=limit)) == 4
