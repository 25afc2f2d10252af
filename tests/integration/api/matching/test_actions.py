"""POST /v1/jobs/cancel, retry and delete, over a real store."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest

from queuey.client import Client
from queuey.errors import StoreUnavailable
from queuey.protocol import ids
from queuey.services.jobs import listing
from queuey.services.matching import actions
from tests.integration.api.jobs.test_list import in_every_status
from tests.integration.api.matching.test_search import dead
from tests.support.connections.silent import id_on
from tests.support.http import HOST, ApiRig, api_over, keys, problem
from tests.support.store import Rig
from tests.support.stores import one_of

shards = one_of(1, 3)
DEV: Final = {"x-api-key": "dev"}
VERBS: Final = ("cancel", "retry", "delete")
FITTING: Final = {
    "cancel": {"queued", "scheduled", "running"},
    "retry": {"dead_letter", "scheduled"},
    "delete": {"succeeded", "cancelled", "dead_letter"},
}


@pytest.fixture
async def api(rig: Rig) -> AsyncIterator[ApiRig]:
    async with api_over(rig.broker) as api:
        api.http.headers["x-api-key"] = "dev"
        yield api


async def act(api: ApiRig, verb: str, **body: Any) -> dict[str, Any]:
    response = await api.http.post(f"/v1/jobs/{verb}", json=body)
    assert response.status_code == 200, response.text
    answer = dict(response.json())
    assert answer["more"] or answer["next"] is None
    return answer


def numbers(answer: dict[str, Any]) -> tuple[int, int, int]:
    return answer["matched"], answer["done"], answer["skipped"]


async def statuses(api: ApiRig, job_ids: list[str]) -> list[str | None]:
    """The status of each job, None of one that is gone."""
    found = [await api.http.get(f"/v1/jobs/{job_id}") for job_id in job_ids]
    return [one.json()["status"] if one.status_code == 200 else None for one in found]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("by_ids", [False, True], ids=["all", "ids"])
async def test_only_jobs_in_fitting_statuses_are_changed(api: ApiRig, verb: str, by_ids: bool) -> None:
    """A dry run counts the same ones. Without ids, a retry leaves scheduled jobs alone, unless told so."""
    found = await in_every_status(api)
    fitting = FITTING[verb] - (set() if by_ids or verb != "retry" else {"scheduled"})
    which: dict[str, Any] = {"ids": [*found.values(), ids.new_id()]} if by_ids else {"all": True}
    before = await statuses(api, [*found.values()])
    rest = len(found) + 1 - len(fitting) if by_ids else 0
    assert numbers(await act(api, verb, **which, dry_run=True)) == (len(fitting), 0, rest)
    assert await statuses(api, [*found.values()]) == before
    assert numbers(await act(api, verb, **which)) == (len(fitting), len(fitting), rest)
    after = dict(zip(found, await statuses(api, [*found.values()]), strict=True))
    assert {status for status in found if after[status] != status} == fitting - (
        {"running"} if verb == "cancel" else set()
    )
    if verb == "cancel":
        shard = api.broker.shards.of_job(found["running"])
        assert "z=1" in (await api.broker.jobs.get(shard, [found["running"]]))[0].state, "the worker is to stop it"
    changed = {after[status] for status in fitting} - {"running"}
    assert changed == {"cancel": {"cancelled"}, "retry": {"queued"}, "delete": {None}}[verb]


async def test_every_filter_narrows_the_jobs(api: ApiRig) -> None:
    wanted = await api.submit(queue="mail", type="a", tags=["x"], dedupe_key="k", payload="ada")
    for other in ({"queue": "web"}, {"type": "b"}, {"tags": ["y"]}, {"dedupe_key": "l"}, {"payload": "bob"}):
        await api.submit(**{"queue": "mail", "type": "a", "tags": ["x"], "payload": "ada", **other})
    filters = {"queue": "mail", "type": "a", "tag": "x", "dedupe_key": "k", "q": "ada", "younger_than": 3600}
    everything = [job["id"] for job in (await api.http.get("/v1/jobs")).json()["jobs"]]
    every: list[dict[str, Any]] = [{}, {"ids": everything}]
    for which in every:
        others: dict[str, Any] = {**dict.fromkeys(filters, "zz"), "younger_than": 0, "older_than": 3600}
        for name, other in others.items():
            assert (await act(api, "cancel", **which, **{**filters, name: other}, dry_run=True))["matched"] == 0, name
        assert (await act(api, "cancel", **which, **filters, status="queued", dry_run=True))["matched"] == 1
        assert (await act(api, "cancel", **which, **filters, status="scheduled", dry_run=True))["matched"] == 0
        assert (await act(api, "cancel", **which, queue="mail", type="a", tag="x", dry_run=True))["matched"] == 3
    assert numbers(await act(api, "cancel", **filters)) == (1, 1, 0)
    assert await statuses(api, [wanted]) == ["cancelled"]
    lost = await dead(api, "timed out")
    each: list[dict[str, Any]] = [{}, {"ids": [lost]}]
    for which in each:
        assert (await act(api, "retry", **which, error="timed", dry_run=True))["matched"] == 1
        assert (await act(api, "retry", **which, error="other", dry_run=True))["matched"] == 0
        for name, matched in (("finished_after", 1), ("finished_before", 0)):
            time = {name: "2001-01-01T00:00:00Z"}
            assert (await act(api, "retry", **which, **time, dry_run=True))["matched"] == matched


@pytest.mark.parametrize("verb", VERBS)
async def test_all_jobs_must_be_asked_for(api: ApiRig, verb: str) -> None:
    found = await in_every_status(api)
    for body in ({}, {"all": False}, {"limit": 5, "dry_run": False}):
        refused = problem(await api.http.post(f"/v1/jobs/{verb}", json=body), 422, "invalid")
        assert [fault["pointer"] for fault in refused["errors"]] == ["/all"]
        assert "Give a filter or ids" in refused["detail"]
    assert await statuses(api, [*found.values()]) == [*found]


@pytest.mark.parametrize(
    ("verb", "body", "pointer"),
    [
        ("cancel", {"ids": []}, "/ids"),
        ("cancel", {"ids": ["x"]}, "/ids/0"),
        ("retry", {"ids": ["0" * 28] * 1001}, "/ids"),
        ("delete", {"q": "a" * 4096}, "/q"),
        ("delete", {"error": ""}, "/error"),
        ("delete", {"status": "queued"}, "/status"),
        ("cancel", {"status": "succeeded"}, "/status"),
        ("retry", {"status": "running"}, "/status"),
        ("delete", {"finished_after": "2026-11-01T00:00:00"}, "/finished_after"),
        ("cancel", {"finished_after": "2026-11-01T00:00:00Z"}, "/finished_after"),
        ("cancel", {"all": True, "limit": 10_001}, "/limit"),
        ("cancel", {"quue": "mail"}, "/quue"),
    ],
)
async def test_a_bad_body_is_refused_with_the_place(api: ApiRig, verb: str, body: Any, pointer: str) -> None:
    waiting = await api.submit()
    refused = problem(await api.http.post(f"/v1/jobs/{verb}", json=body), 422, "invalid")
    assert [fault["pointer"] for fault in refused["errors"]] == [pointer]
    assert await statuses(api, [waiting]) == ["queued"]


async def test_a_cursor_goes_on_and_belongs_to_its_request(api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that do not match are looked at once, however many are before those that do."""
    monkeypatch.setattr(listing, "MAX_LOOKED_AT", 15)
    for _ in range(30):
        await api.submit(payload="other")
    wanted = [await api.submit(payload="ada") for _ in range(4)]
    cursor: dict[str, str] = {}
    answers = [await act(api, "cancel", q="ada")]
    while answers[-1]["more"] and len(answers) < 50:
        cursor = {"cursor": answers[-1]["next"]}
        answers.append(await act(api, "cancel", q="ada", **cursor))
    assert (sum(answer["done"] for answer in answers), answers[-1]["more"]) == (4, False)
    assert len(answers) > 2
    assert await statuses(api, wanted) == ["cancelled"] * 4
    refused = await api.http.post("/v1/jobs/cancel", json={"q": "bob", **cursor})
    assert "another list" in problem(refused, 422, "invalid")["detail"]


@pytest.mark.parametrize("verb", VERBS)
async def test_a_limit_ends_it_and_the_rest_follows(api: ApiRig, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "LOOK", 4)
    status = {"cancel": "queued", "retry": "dead_letter", "delete": "dead_letter"}[verb]
    found = [await (api.submit() if verb == "cancel" else dead(api, "no")) for _ in range(7)]
    first = await act(api, verb, status=status, limit=5)
    assert (numbers(first), first["more"]) == ((5, 5, 0), True)
    rest = await act(api, verb, status=status, cursor=first["next"])
    assert (numbers(rest), rest["more"]) == ((2, 2, 0), False)
    assert Counter(await statuses(api, found)).keys() == {
        {"cancel": "cancelled", "retry": "queued", "delete": None}[verb]
    }
    by_ids = [await api.submit() for _ in range(3)]
    some = await act(api, "cancel", ids=by_ids, limit=2)
    assert (some["done"], some["more"], some["next"]) == (2, True, None)
    assert numbers(await act(api, "cancel", ids=by_ids)) == (1, 1, 2), "a repeat does the rest"


async def test_it_ends_after_its_time(api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has always looked at some, so that a repeat comes to an end."""
    monkeypatch.setattr(actions, "ACT_SECONDS", 0.0)
    found = [await api.submit() for _ in range(30)]
    monkeypatch.setattr(listing, "LOOK", 10)
    answer = await act(api, "cancel", queue="default")
    assert answer["more"]
    assert answer["done"] < 30
    assert (await act(api, "cancel", ids=found))["more"]
    for _ in range(30):
        if not answer["more"]:
            break
        answer = await act(api, "cancel", queue="default", cursor=answer["next"])
    assert set(await statuses(api, found)) == {"cancelled"}


@pytest.mark.parametrize("verb", VERBS)
async def test_two_who_do_the_same_at_once(api: ApiRig, verb: str) -> None:
    """Each job is changed once; both get an answer, and a repeat changes nothing."""
    found = [await (api.submit() if verb == "cancel" else dead(api, "no")) for _ in range(12)]
    which = {"queue": "default" if verb == "cancel" else "dead"}
    both = await asyncio.gather(act(api, verb, **which), act(api, verb, ids=found))
    assert sum(answer["done"] for answer in both) >= 12
    assert {"cancel": "cancelled", "retry": "queued", "delete": None}[verb] == (await statuses(api, found))[0]
    assert len(set(await statuses(api, found))) == 1
    again = await act(api, verb, **which)
    assert numbers(again) == (0, 0, 0)
    if verb == "retry":
        counts = [(await api.broker.queues.stats(shard)).queues for shard in range(api.broker.shards.count)]
        assert sum(row.default for rows in counts for row in rows if row.name == "dead") == 12, "each once in its lane"


@pytest.mark.parametrize("verb", VERBS)
async def test_a_job_that_changes_in_between_is_skipped(
    api: ApiRig, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the search, one job is gone and one has another state."""
    found = [await (api.submit() if verb == "cancel" else dead(api, "no")) for _ in range(4)]
    broker = api.broker
    group, name = {
        "cancel": (broker.jobs, "cancel"),
        "retry": (broker.dlq, "replay"),
        "delete": (broker.jobs, "delete"),
    }[verb]
    sent = getattr(group, name)
    meanwhile = [True]

    async def late(shard: int, *args: Any, **options: Any) -> Any:
        if meanwhile and meanwhile.pop():
            for job_id in found[:2]:
                if verb == "cancel":
                    await api.http.post(f"/v1/jobs/{job_id}/cancel")
                await api.http.delete(f"/v1/jobs/{job_id}")
        return await sent(shard, *args, **options)

    monkeypatch.setattr(group, name, late)
    answer = await act(api, verb, queue="default" if verb == "cancel" else "dead")
    monkeypatch.undo()
    assert answer["matched"] >= 2
    assert answer["skipped"] == answer["matched"] - answer["done"]
    if verb != "delete":
        assert answer["done"] == 2
    assert await statuses(api, found) == [
        None,
        None,
        *[{"cancel": "cancelled", "retry": "queued", "delete": None}[verb]] * 2,
    ]


async def test_a_job_whose_key_is_held_is_skipped(api: ApiRig) -> None:
    lost = await dead(api, "no", dedupe_key="k")
    await api.submit(dedupe_key="k")
    for which in ({"queue": "dead"}, {"ids": [lost]}):
        assert numbers(await act(api, "retry", **which)) == (1, 0, 1)
    assert await statuses(api, [lost]) == ["dead_letter"]


async def test_each_queue_needs_its_scope(rig: Rig) -> None:
    """Cancel needs submit, the others admin. Jobs of other queues do not exist for the caller."""
    known = keys(all="admin", mail="read@mail+submit@mail", admin="admin@mail")
    async with api_over(rig.broker, known) as api:
        api.http.headers["x-api-key"] = "all"
        mail, web = [await api.submit(queue=queue) for queue in ("mail", "web")]
        lost = await dead(api, "no")
        for key in ("mail", "admin"):
            api.http.headers["x-api-key"] = key
            problem(await api.http.post("/v1/jobs/cancel", json={"queue": "web"}), 403, "forbidden")
            assert (await act(api, "cancel", all=True, dry_run=True))["matched"] == 1
            assert numbers(await act(api, "cancel", ids=[mail, web], dry_run=True)) == (1, 0, 1)
        for verb in ("retry", "delete"):
            assert numbers(await act(api, verb, ids=[lost])) == (0, 0, 1)
            assert numbers(await act(api, verb, all=True)) == (0, 0, 0)
            problem(await api.http.post(f"/v1/jobs/{verb}", json={"queue": "dead"}), 403, "forbidden")
        api.http.headers["x-api-key"] = "mail"
        for verb in ("retry", "delete"):
            problem(await api.http.post(f"/v1/jobs/{verb}", json={"all": True}), 403, "forbidden")
        api.http.headers["x-api-key"] = "all"
        assert await statuses(api, [mail, web, lost]) == ["queued", "queued", "dead_letter"]


async def test_a_full_store_takes_no_retry(api: ApiRig) -> None:
    lost = await dead(api, "no")
    api.producer.full = True
    problem(await api.http.post("/v1/jobs/retry", json={"all": True}), 429, "full")
    assert (await act(api, "retry", all=True, dry_run=True))["matched"] == 1
    assert numbers(await act(api, "delete", ids=[lost])) == (1, 1, 0)


@pytest.mark.parametrize("by_ids", [False, True], ids=["search", "ids"])
async def test_a_store_that_goes_away(api: ApiRig, by_ids: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a change it says so, and behind one that the outcome is unknown: the ids are those of the last call."""
    monkeypatch.setattr(listing, "LOOK", 8)
    monkeypatch.setattr(actions, "_READ", 2)
    shards = api.broker.shards
    found = [await api.submit(id=id_on(shards, number % shards.count)) for number in range(12)]
    which: dict[str, Any] = {"ids": found} if by_ids else {"queue": "default"}
    broker, calls = api.broker.jobs, Counter[str]()

    def gone(patch: pytest.MonkeyPatch, name: str, after: int, *, maybe_done: bool = True) -> None:
        sent = getattr(broker, name)
        calls.clear()

        async def late(*args: Any, **options: Any) -> Any:
            calls[name] += 1
            if calls[name] > after:
                raise StoreUnavailable("The store did not answer in time.", maybe_done=maybe_done)
            return await sent(*args, **options)

        patch.setattr(broker, name, late)

    reads = "get" if by_ids else "list_jobs"
    async with api_over(api.broker, request_deadline=0.0) as hasty:
        for name, after, maybe_done, code in (
            (reads, 0, True, "store-unavailable"),
            ("cancel", 0, False, "store-unavailable"),
            ("cancel", 0, True, "outcome-unknown"),
            (reads, 1, True, "outcome-unknown"),
            ("cancel", 1, False, "outcome-unknown"),
        ):
            with monkeypatch.context() as patch:
                gone(patch, name, after, maybe_done=maybe_done)
                answer = problem(await hasty.http.post("/v1/jobs/cancel", json=which, headers=DEV), 503, code)
            assert set(answer.get("job_ids", ())) <= set(found)
            assert bool(answer.get("job_ids")) == (code == "outcome-unknown" and name == "cancel")
    assert not (await act(api, "cancel", **which))["more"]
    assert set(await statuses(api, found)) == {"cancelled"}


async def test_both_clients_have_them(api: ApiRig) -> None:
    found = [await api.submit() for _ in range(3)]
    async with Client(f"http://{HOST}", api_key="dev", transport=httpx.ASGITransport(api.app)) as client:
        assert (await client.cancel_matching(queue="default", dry_run=True)).matched == 3
        assert (await client.cancel_matching(ids=found[:1])).done == 1
        assert (await client.cancel_matching(all=True, limit=1)).more
        assert (await client.retry_matching(all=True)).matched == 0
        assert (await client.delete_matching(status="cancelled")).done == 2
        assert [job.id async for job in client.jobs(q=found[2])] == found[2:]
