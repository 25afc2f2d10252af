"""GET /v1/dlq and its groups, POST /v1/dlq/replay|delete, over a real store."""

from __future__ import annotations

import time
from typing import Any

import pytest

from queuey.errors import Full, StoreUnavailable
from queuey.protocol import ids
from queuey.services.dlq import actions, dead_jobs
from queuey.services.dlq import scan as dead_walk
from queuey.services.dlq.fingerprints import fingerprint
from tests.support.dead import die
from tests.support.http import ApiRig, api_over, keys, problem
from tests.support.store import Rig
from tests.support.stores import SHARDS, one_of

shards = one_of(*SHARDS)

DEV = {"x-api-key": "dev"}
HOUR = 3_600_000


class Clock:
    """In the place of the module `time`."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


async def several(rig: Rig, count: int, **fields: Any) -> list[str]:
    """Dead jobs on all shards, the longest dead first, a second apart."""
    jobs = []
    for place in range(count):
        rig.shard = place % rig.broker.shards.count
        jobs.append(await die(rig, ago=(count - place) * 1000, **fields))
    return jobs


async def listed(api: ApiRig, query: str = "", key: str = "dev") -> list[str]:
    response = await api.http.get(f"/v1/dlq?{query}", headers={"x-api-key": key})
    assert response.status_code == 200, response.text
    return [job["id"] for job in response.json()["jobs"]]


async def post(api: ApiRig, verb: str, **body: Any) -> dict[str, Any]:
    response = await api.http.post(f"/v1/dlq/{verb}", json=body, headers=DEV)
    assert response.status_code == 200, response.text
    return dict(response.json())


# --- list ----------------------------------------------------------------------------------------------------------


async def test_an_empty_queue(api: ApiRig) -> None:
    await api.submit()
    assert (await api.http.get("/v1/dlq")).json() == {"jobs": [], "next": None}
    groups = (await api.http.get("/v1/dlq/groups")).json()
    assert groups == {"groups": [], "looked_at": 0, "complete": True}


async def test_a_dead_job_is_shown_with_its_fingerprint(rig: Rig, api: ApiRig) -> None:
    job_id = await die(rig, queue="mail", type="mail.send", message="user 17 is gone", payload='{"to":"ada"}')
    (found,) = (await api.http.get("/v1/dlq")).json()["jobs"]
    assert found.pop("fingerprint") == fingerprint("mail.send", "error", "user 4 is gone")
    assert found == await api.job(job_id)
    assert (found["payload"], found["last_error"]) == ({"to": "ada"}, "user 17 is gone")


async def test_by_queue_type_fingerprint_and_age(rig: Rig, api: ApiRig) -> None:
    old = await die(rig, queue="mail", type="a", message="one", ago=2 * HOUR)
    middle = await die(rig, queue="mail", type="b", message="one", ago=HOUR)
    young = await die(rig, queue="web", type="a", message="two")
    mark = fingerprint("a", "error", "two")
    outcomes = {
        "": [old, middle, young],
        "queue=mail": [old, middle],
        "queue=nowhere": [],
        "type=a": [old, young],
        "type=a&queue=mail": [old],
        f"fingerprint={mark}": [young],
        "older_than=1800": [old, middle],
        "younger_than=5400.5": [middle, young],
        "older_than=1800&younger_than=5400": [middle],
        "younger_than=0": [],
    }
    assert {query: await listed(api, query) for query in outcomes} == outcomes


async def test_pages_meet(rig: Rig, api: ApiRig) -> None:
    every = await several(rig, 9)
    for limit in (1, 4, 9, 10):
        found: list[str] = []
        path: str | None = f"/v1/dlq?limit={limit}&type=t"
        while path:
            response = await api.http.get(path)
            page = response.json()
            assert 0 < len(page["jobs"]) <= limit
            found += [job["id"] for job in page["jobs"]]
            path = response.headers["link"].split(">")[0][1:] if page["next"] else None
            assert ("link" in response.headers) == (page["next"] is not None)
        assert found == every


async def test_a_page_is_short_where_too_many_were_looked_at(
    rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    *others, wanted = await several(rig, 5)
    await api.http.put(f"/v1/jobs/{wanted}/payload", json={}, headers=DEV)
    last = await die(rig, type="rare")
    monkeypatch.setattr(dead_walk, "MAX_LOOKED_AT", len(others) + 1)
    first = (await api.http.get("/v1/dlq?type=rare")).json()
    assert first["jobs"] == []
    second = (await api.http.get(f"/v1/dlq?type=rare&cursor={first['next']}")).json()
    assert ([job["id"] for job in second["jobs"]], second["next"]) == ([last], None)


async def test_a_page_ends_when_it_has_grown_too_big(rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    await several(rig, 3, payload='"' + "x" * 1000 + '"')
    monkeypatch.setattr(dead_jobs, "MAX_PAGE_BYTES", 1500)
    page = (await api.http.get("/v1/dlq")).json()
    assert (len(page["jobs"]), page["next"] is None) == (2, False)


async def test_a_cursor_is_good_for_its_own_list_alone(rig: Rig, api: ApiRig) -> None:
    await several(rig, 3)
    cursor = (await api.http.get("/v1/dlq?limit=1")).json()["next"]
    for query in (f"type=t&cursor={cursor}", "cursor=nonsense", f"cursor={cursor[:-3]}", "cursor=" + "A" * 500):
        found = problem(await api.http.get(f"/v1/dlq?{query}"), 422, "invalid")
        assert [fault["parameter"] for fault in found["errors"]] == ["cursor"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("older_than=-1", "older_than"),
        ("older_than=1e3", "older_than"),
        ("younger_than=1_0", "younger_than"),
        ("younger_than=31536001", "younger_than"),
        ("younger_than=nan", "younger_than"),
        ("fingerprint=xyz", "fingerprint"),
        ("fingerprint=ABCDEF0123456789", "fingerprint"),
        ("queue=no%20name", "queue"),
        ("status=dead_letter", "status"),
    ],
)
async def test_a_bad_parameter_is_named(api: ApiRig, query: str, parameter: str) -> None:
    found = problem(await api.http.get(f"/v1/dlq?{query}"), 422, "invalid")
    assert [fault["parameter"] for fault in found["errors"]] == [parameter]


async def test_only_of_queues_that_the_caller_may_read(rig: Rig) -> None:
    async with api_over(rig.broker, keys(mail="read@mail", web="admin@web")) as api:
        mail, web = await die(rig, queue="mail"), await die(rig, queue="web")
        assert await listed(api, key="mail") == [mail]
        assert await listed(api, "queue=web", key="mail") == []
        groups = (await api.http.get("/v1/dlq/groups", headers={"x-api-key": "mail"})).json()["groups"]
        assert [(group["count"], group["example"]) for group in groups] == [(1, mail)]
        own = {"x-api-key": "web"}
        problem(await api.http.post("/v1/dlq/replay", json={"queue": "mail"}, headers=own), 403, "forbidden")
        deleted = (await api.http.post("/v1/dlq/delete", json={}, headers=own)).json()
        assert deleted == {"matched": 1, "done": 1, "dry_run": False, "more": False}
        assert await listed(api, key="mail") == [mail]
        problem(await api.http.get(f"/v1/jobs/{web}", headers=own), 404, "not-found")


# --- groups --------------------------------------------------------------------------------------------------------


async def test_groups_by_what_they_died_of_the_largest_first(rig: Rig, api: ApiRig) -> None:
    await die(rig, message="lonely", ago=9000)
    oldest, _, newest = [await die(rig, message=f"user {number} is gone", ago=3000 - number) for number in range(3)]
    answer = (await api.http.get("/v1/dlq/groups")).json()
    assert (answer["looked_at"], answer["complete"]) == (4, True)
    largest, other = answer["groups"]
    assert (largest["count"], largest["example"], largest["message"]) == (3, newest, "user 2 is gone")
    assert (largest["type"], largest["kind"]) == ("t", "error")
    assert largest["oldest"] == (await api.job(oldest))["finished_at"]
    assert largest["newest"] == (await api.job(newest))["finished_at"]
    assert (other["count"], other["message"]) == (1, "lonely")
    assert await listed(api, f"fingerprint={other['fingerprint']}") != []
    fewer = (await api.http.get("/v1/dlq/groups?older_than=5")).json()["groups"]
    assert [group["message"] for group in fewer] == ["lonely"]


async def test_groups_say_when_not_all_were_looked_at(rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    await several(rig, 3)
    monkeypatch.setattr(dead_walk, "MAX_LOOKED_AT", 2)
    answer = (await api.http.get("/v1/dlq/groups")).json()
    assert (answer["groups"][0]["count"], answer["looked_at"], answer["complete"]) == (2, 2, False)
    monkeypatch.setattr(dead_walk, "MAX_LOOKED_AT", 100)
    monkeypatch.setattr(dead_jobs, "MAX_GROUPS", 0)
    answer = (await api.http.get("/v1/dlq/groups")).json()
    assert (answer["groups"], answer["looked_at"], answer["complete"]) == ([], 3, False)


# --- replay and delete ---------------------------------------------------------------------------------------------


async def test_a_dry_run_counts_and_changes_nothing(rig: Rig, api: ApiRig) -> None:
    await several(rig, 5)
    async with rig.unchanged():
        for verb in ("replay", "delete"):
            assert await post(api, verb, dry_run=True) == {"matched": 5, "done": 0, "dry_run": True, "more": False}
            limited = await post(api, verb, dry_run=True, limit=2)
            assert limited == {"matched": 2, "done": 0, "dry_run": True, "more": True}


async def test_those_that_fit_are_replayed_the_longest_dead_first(rig: Rig, api: ApiRig) -> None:
    first, second, third = await several(rig, 3, type="a")
    other = await die(rig, type="b")
    assert await post(api, "replay", type="a", limit=2) == {"matched": 2, "done": 2, "dry_run": False, "more": True}
    statuses = [(await api.job(job_id))["status"] for job_id in (first, second, third, other)]
    assert statuses == ["queued", "queued", "dead_letter", "dead_letter"]
    assert await post(api, "replay", type="a") == {"matched": 1, "done": 1, "dry_run": False, "more": False}
    assert await listed(api) == [other]


async def test_at_a_rate_they_are_due_one_after_the_other(rig: Rig, api: ApiRig) -> None:
    every = await several(rig, 4)
    before = time.time()
    assert (await post(api, "replay", rate=0.01))["done"] == 4
    jobs = [await api.job(job_id) for job_id in every]
    assert [job["status"] for job in jobs] == ["queued", "scheduled", "scheduled", "scheduled"]
    scheduled = [
        entry.score
        for shard in range(rig.broker.shards.count)
        for entry in await rig.broker.jobs.list_by_status(shard, "scheduled", "default", "default")
    ]
    offsets = sorted(score / 1000 - before for score in scheduled)
    assert [round(offset / 100) for offset in offsets] == [1, 2, 3]


async def test_those_that_die_again_meanwhile_are_not_met_again(
    rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = [await die(rig, ago=2 * HOUR, id=job_id) for job_id in sorted((rig.new_id(), rig.new_id()))]
    clock = Clock()
    monkeypatch.setattr(dead_walk, "time", clock)
    monkeypatch.setattr(dead_walk, "WALK_SECONDS", 1e9)
    monkeypatch.setattr(dead_walk, "_PAGE", 1)
    monkeypatch.setattr(actions, "MAX_BATCH", 1)
    replay = rig.broker.dlq.replay
    replayed: list[str] = []

    async def replay_in_vain(shard: int, replay_id: str, job_ids: list[str], delays_ms: list[int]) -> list[str]:
        answers = await replay(shard, replay_id, job_ids, delays_ms)
        replayed.extend(job_ids)
        (held,) = (await rig.claim(now=0)).jobs
        assert await rig.broker.leases.fail(rig.shard, [(held.id, held.token, '{"n":1}', 0, True)]) == ["dead"]
        clock.seconds += HOUR / 1000
        return answers

    monkeypatch.setattr(rig.broker.dlq, "replay", replay_in_vain)
    assert await post(api, "replay", limit=5) == {"matched": 2, "done": 2, "dry_run": False, "more": False}
    assert replayed == [first, second]
    assert await listed(api) == [first, second]


async def test_whose_key_another_job_holds_is_passed_over(rig: Rig, api: ApiRig) -> None:
    held = await die(rig, id=ids.new_id("k"), key="k", ago=5000)
    free = await die(rig)
    await api.submit(dedupe_key="k")
    assert await post(api, "replay", limit=1) == {"matched": 2, "done": 1, "dry_run": False, "more": False}
    assert await listed(api) == [held]
    assert (await api.job(free))["status"] == "queued"


async def test_those_that_fit_are_deleted_for_good(rig: Rig, api: ApiRig) -> None:
    gone = await die(rig, message="one")
    kept = await die(rig, message="two")
    mark = fingerprint("t", "error", "one")
    assert (await post(api, "delete", fingerprint=mark))["done"] == 1
    problem(await api.http.get(f"/v1/jobs/{gone}"), 404, "not-found")
    assert await listed(api) == [kept]


async def test_many_in_batches(rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "MAX_BATCH", 2)
    monkeypatch.setattr(dead_walk, "_PAGE", 2)
    await several(rig, 7)
    assert await post(api, "replay", limit=5) == {"matched": 5, "done": 5, "dry_run": False, "more": True}
    assert await post(api, "delete") == {"matched": 2, "done": 2, "dry_run": False, "more": False}


async def test_a_full_store_replays_nothing_and_deletes_all_the_same(rig: Rig, api: ApiRig) -> None:
    await several(rig, 2)
    api.producer.set_full(True)
    problem(await api.http.post("/v1/dlq/replay", json={}, headers=DEV), 429, "full")
    assert (await post(api, "replay", dry_run=True))["matched"] == 2
    assert (await post(api, "delete"))["done"] == 2


class Breaks:
    """A broker's call that fails as the list says, and works where it says None."""

    def __init__(self, call: Any, *failures: Exception | None) -> None:
        self._call = call
        self._failures = list(failures)

    async def __call__(self, *arguments: Any) -> Any:
        failure = self._failures.pop(0) if self._failures else None
        if failure is not None:
            raise failure
        return await self._call(*arguments)


async def test_a_store_that_fills_up_or_goes_away_on_the_way(
    rig: Rig, api: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "MAX_BATCH", 1)
    every = await several(rig, 4)
    monkeypatch.setattr(rig.broker.dlq, "replay", Breaks(rig.broker.dlq.replay, None, Full("no room"), Full("no room")))
    assert await post(api, "replay") == {"matched": 2, "done": 1, "dry_run": False, "more": True}
    problem(await api.http.post("/v1/dlq/replay", json={}, headers=DEV), 429, "full")
    away = StoreUnavailable("away")
    async with api_over(rig.broker, request_deadline=0.2, store_timeout=0.1) as hasty:
        monkeypatch.setattr(rig.broker.jobs, "delete", Breaks(rig.broker.jobs.delete, None, *[away] * 99))
        found = problem(await hasty.http.post("/v1/dlq/delete", json={}, headers=DEV), 503, "outcome-unknown")
        assert found["job_ids"] == every[2:3]
        problem(await hasty.http.post("/v1/dlq/delete", json={}, headers=DEV), 503, "store-unavailable")


@pytest.mark.parametrize(
    ("verb", "body", "pointer"),
    [
        ("replay", {"limit": 0}, "/limit"),
        ("replay", {"limit": 10_001}, "/limit"),
        ("replay", {"rate": 0}, "/rate"),
        ("delete", {"rate": 1}, "/rate"),
        ("delete", {"fingerprint": "x"}, "/fingerprint"),
        ("delete", {"older_than": -1}, "/older_than"),
        ("delete", {"dry_run": "yes"}, "/dry_run"),
        ("delete", [], ""),
    ],
)
async def test_a_bad_body_is_refused_and_the_field_named(
    rig: Rig, api: ApiRig, verb: str, body: Any, pointer: str
) -> None:
    await die(rig)
    async with rig.unchanged():
        found = problem(await api.http.post(f"/v1/dlq/{verb}", json=body, headers=DEV), 422, "invalid")
    assert [fault["pointer"] for fault in found["errors"]] == [pointer]
