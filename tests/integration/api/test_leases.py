"""POST /v1/leases and what comes after, over a real store: jobs go out, and each outcome is taken once."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import pytest

from queuey.protocol import ids
from queuey.store.broker.broker import Broker
from tests.support.http import ApiRig, api_over, keys, problem
from tests.support.store import Rig
from tests.support.stores import SHARDS, one_of
from tests.support.working import FaultyScripts, eventually

shards = one_of(*SHARDS)


LEASES: Final = "/v1/leases"
COMPLETE: Final = "/v1/leases/complete"
FAIL: Final = "/v1/leases/fail"
EXTEND: Final = "/v1/leases/extend"
RELEASE: Final = "/v1/leases/release"
ACTS: Final = (COMPLETE, FAIL, EXTEND, RELEASE)


async def lease(api: ApiRig, **asked: Any) -> list[dict[str, Any]]:
    response = await api.http.post(LEASES, json=asked)
    assert response.status_code == 200, response.text
    return list(response.json()["jobs"])


async def one(api: ApiRig, **fields: Any) -> dict[str, Any]:
    """A new job, leased."""
    job_id = await api.submit(**fields)
    (job,) = await lease(api, queues=[fields.get("queue", "default")])
    assert job["id"] == job_id
    return job


def held(job: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": job["id"], "token": job["token"], **more}


def failing(path: str) -> dict[str, Any]:
    """What `path` takes beside id and token."""
    return {"error": "no luck"} if path == FAIL else {}


async def tell(api: ApiRig, path: str, *items: dict[str, Any]) -> list[dict[str, Any]]:
    """The outcomes of a batch."""
    response = await api.http.post(path, json={"jobs": list(items)})
    assert response.status_code == 200, response.text
    return list(response.json()["results"])


# --- leases --------------------------------------------------------------------------------------------------------


async def test_a_job_goes_out_with_what_a_worker_needs_and_no_more(api: ApiRig) -> None:
    job_id = await api.submit(type="mail", payload={"to": [1, None]})
    (job,) = await lease(api)
    assert job.keys() == {"id", "token", "type", "payload", "attempt", "lease_expires_at"}
    assert (job["id"], job["type"], job["payload"], job["attempt"]) == (job_id, "mail", {"to": [1, None]}, 1)
    shown = await api.job(job_id)
    assert (shown["status"], shown["worker"]) == ("running", "anonymous-127.0.0.1")


async def test_what_is_set_goes_out_too(api: ApiRig) -> None:
    await api.submit(queue="mail", timeout=12, max_attempts=9, payload=12345678901234567890123)
    response = await api.http.post(LEASES, json={"queues": ["mail"], "worker": "bash-1"})
    assert '"payload":12345678901234567890123' in response.text
    (job,) = response.json()["jobs"]
    assert (job["queue"], job["timeout"], job["max_attempts"]) == ("mail", 12, 9)
    assert (await api.job(job["id"]))["worker"] == "bash-1"


async def test_nothing_to_do_is_an_empty_list(api: ApiRig) -> None:
    await api.submit(queue="other")
    await api.submit(delay=60)
    assert await lease(api, max=500) == []


async def test_as_many_as_asked_for_from_all_shards_and_queues(api: ApiRig) -> None:
    sent = {await api.submit(queue=queue) for queue in ("a", "b") for _ in range(10)}
    some = await lease(api, queues=["a", "b", "a"], max=15)
    rest = await lease(api, queues=["b", "a"], max=500)
    assert (len(some), len(rest)) == (15, 5)
    assert {job["id"] for job in some + rest} == sent


async def test_the_same_claim_id_brings_the_same_jobs(api: ApiRig) -> None:
    for _ in range(12):
        await api.submit()
    asked = {"max": 5, "claim_id": "mine-1", "lease": 60}
    first = await lease(api, **asked)
    again = await lease(api, **asked)
    assert len(first) == 5
    assert {(job["id"], job["token"]) for job in first} == {(job["id"], job["token"]) for job in again}
    other = await lease(api, max=500, claim_id="mine-2")
    assert len(other) == 7
    assert not {job["id"] for job in other} & {job["id"] for job in first}
    (done,) = await tell(api, COMPLETE, held(first[0]))
    assert done["status"] == "ok"
    assert {job["id"] for job in await lease(api, **asked)} == {job["id"] for job in first[1:]}


@pytest.mark.parametrize("shards", [1], ids=["1shard"])
async def test_a_claim_id_whose_jobs_are_all_done_brings_no_others(api: ApiRig) -> None:
    first, _ = [await api.submit() for _ in range(2)]
    (job,) = await lease(api, claim_id="mine")
    assert job["id"] == first
    await tell(api, COMPLETE, held(job))
    assert await lease(api, claim_id="mine", wait=60) == []


@pytest.mark.parametrize("shards", [1], ids=["1shard"])
async def test_a_first_claim_that_leaves_due_jobs_is_not_taken_for_a_repeat(rig: Rig) -> None:
    """It stops at its limit, and more jobs are due than one claim promotes."""
    scripts = FaultyScripts()
    await rig.add(300, now=1, delay_ms=1)
    async with api_over(Broker(rig.broker.shards, scripts)) as api:
        assert len(await lease(api, claim_id="mine")) == 1
        assert [name for name, _ in scripts.calls] == ["claim"], "no extend"
        assert len(await lease(api, claim_id="mine")) == 1
        assert [name for name, _ in scripts.calls] == ["claim", "claim", "extend"]


@pytest.mark.parametrize("shards", [1], ids=["1shard"])
async def test_a_first_claim_that_meets_only_cancelled_jobs_goes_on_waiting(rig: Rig, api: ApiRig) -> None:
    for _ in range(2):
        cancelled = await rig.add(500, now=0)
        await rig.broker.jobs.cancel(rig.shard, cancelled)
    await rig.add(300, now=1, delay_ms=1)
    assert len(await lease(api, claim_id="mine", wait=60)) == 1


async def test_a_claim_id_is_good_for_its_own_key_alone(rig: Rig) -> None:
    async with api_over(rig.broker, keys(one="work+submit", two="work")) as api:
        await api.http.post("/v1/jobs", json={"type": "t"}, headers={"x-api-key": "one"})
        for key, count in (("one", 1), ("two", 0), ("one", 1)):
            response = await api.http.post(LEASES, json={"claim_id": "same"}, headers={"x-api-key": key})
            assert len(response.json()["jobs"]) == count


async def test_at_most_one_job_that_has_crashed_a_worker_goes_out_at_a_time(rig: Rig, api: ApiRig) -> None:
    suspects = [await _crashed(rig) for _ in range(3)]
    await api.submit()
    jobs = await lease(api, max=500)
    assert len([job for job in jobs if job["id"] in suspects]) == 1
    assert [job["crashes"] for job in jobs if "crashes" in job] == [1]


async def test_who_holds_a_job_that_has_crashed_a_worker_gets_no_other_meanwhile(rig: Rig, api: ApiRig) -> None:
    suspects = [await _crashed(rig, queue) for queue in ("a", "b", "c", "d")]
    (first,) = await lease(api, worker="w", queues=["a"])
    normal = await api.submit(queue="b")
    assert [job["id"] for job in await lease(api, worker="w", queues=["b"], max=500)] == [normal]
    assert [job["id"] for job in await lease(api, worker="v", queues=["c"])] == [suspects[2]]
    await tell(api, COMPLETE, held(first))
    assert [job["id"] for job in await lease(api, worker="w", queues=["d"])] == [suspects[3]]


async def _crashed(rig: Rig, queue: str = "default") -> str:
    (job_id,) = await rig.add(now=0, queue=queue)
    await rig.claim(now=0, lease_ms=1, limit=500, queues=[queue])

    async def lapsed() -> bool:
        return bool((await rig.broker.maintenance.reap(rig.shard, 10, [0])).outcomes)

    await eventually(lapsed)
    await rig.broker.maintenance.promote(rig.shard, 10)
    return job_id


# --- outcomes ------------------------------------------------------------------------------------------------------


async def test_complete(api: ApiRig) -> None:
    job = await one(api)
    response = await api.http.post(COMPLETE, json=held(job, result={"a": [1]}))
    assert (response.status_code, response.json()) == (200, {"id": job["id"], "status": "ok"})
    done = await api.job(job["id"])
    assert (done["status"], done["result"]) == ("succeeded", {"a": [1]})
    again = await api.http.post(COMPLETE, json=held(job, result=2))
    assert (again.status_code, again.json()["status"]) == (200, "ok")
    assert (await api.job(job["id"]))["result"] == {"a": [1]}


async def test_a_result_over_several_lines_is_kept(api: ApiRig) -> None:
    job = await one(api)
    text = b'{"id":"%s","token":"%s","result":{\r\n "a": "x\\ny",\n "b": null }}'
    body = text % (job["id"].encode(), job["token"].encode())
    response = await api.http.post(COMPLETE, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 200, response.text
    done = await api.job(job["id"])
    assert (done["result"], done["errors"]) == ({"a": "x\ny", "b": None}, [])


async def test_a_failed_attempt_is_retried_by_the_backoff_of_the_job(api: ApiRig) -> None:
    job = await one(api, backoff={"base": 1000, "factor": 1, "cap": 1000})
    response = await api.http.post(FAIL, json=held(job, error="no luck"))
    assert (response.status_code, response.json()) == (200, {"id": job["id"], "status": "retry"})
    failed = await api.job(job["id"])
    assert (failed["status"], failed["attempts"], failed["last_error"]) == ("scheduled", 1, "no luck")
    (error,) = failed["errors"]
    assert (error["attempt"], error["kind"], error["worker"]) == (1, "error", "anonymous-127.0.0.1")
    assert _seconds(failed["run_at"]) - _seconds(error["at"]) >= 499
    again = await api.http.post(FAIL, json=held(job, error="no luck at all"))
    assert again.json()["status"] == "retry"
    assert (await api.job(job["id"]))["attempts"] == 1


async def test_the_worker_may_say_when_and_why(api: ApiRig) -> None:
    job = await one(api)
    error = {"kind": "http.503", "message": "x" * 5000, "detail": "line 1\nline 2"}
    (told,) = await tell(api, FAIL, held(job, error=error, retry_after=3600))
    assert told == {"id": job["id"], "status": "retry"}
    failed = await api.job(job["id"])
    (kept,) = failed["errors"]
    assert (kept["kind"], kept["detail"]) == ("http.503", "line 1\nline 2")
    assert 100 < len(kept["message"]) < 1000
    assert 3599 <= _seconds(failed["run_at"]) - _seconds(kept["at"]) <= 3601


async def test_a_failure_can_be_the_last(api: ApiRig) -> None:
    spent, hopeless = await one(api, max_attempts=1), await one(api)
    told = await tell(api, FAIL, held(spent, error="e"), held(hopeless, error="e", dead=True))
    assert [item["status"] for item in told] == ["dead_letter", "dead_letter"]
    assert (await api.job(hopeless["id"]))["status"] == "dead_letter"


async def test_a_cancelled_job_is_told_and_ends_cancelled(api: ApiRig) -> None:
    job = await one(api)
    await api.http.post(f"/v1/jobs/{job['id']}/cancel")
    (told,) = await tell(api, EXTEND, held(job))
    assert told["status"] == "cancelled"
    (told,) = await tell(api, FAIL, held(job, error="stopped"))
    assert told["status"] == "cancelled"
    assert (await api.job(job["id"]))["status"] == "cancelled"


async def test_each_lease_is_extended_by_what_it_asks_for(api: ApiRig) -> None:
    jobs = [await one(api), await one(api)]
    told = await tell(api, EXTEND, held(jobs[0], lease=3600), held(jobs[1], lease=60))
    assert [item["status"] for item in told] == ["ok", "ok"]
    ends = [_seconds((await api.job(job["id"]))["lease_expires_at"]) for job in jobs]
    assert 3530 < ends[0] - ends[1] < 3545
    assert all(abs(_seconds(item["lease_expires_at"]) - end) < 5 for item, end in zip(told, ends, strict=True))


async def test_progress_comes_with_an_extension_and_is_shown_while_the_job_runs(api: ApiRig) -> None:
    job = await one(api)
    (told,) = await tell(api, EXTEND, held(job, progress={"done": 3, "total": 10, "note": "reading"}))
    assert told["status"] == "ok"

    async def shown() -> bool:
        progress = (await api.job(job["id"]))["progress"]
        return progress is not None and (progress["done"], progress["note"]) == (3, "reading")

    await eventually(shown)
    for bad in ({"done": -1}, {"dne": 1}, {"done": 1, "note": "x" * 201}, 5):
        problem(await api.http.post(EXTEND, json=held(job, progress=bad)), 422, "invalid")
    await api.http.post(COMPLETE, json=held(job))
    assert (await api.job(job["id"]))["progress"] is None


async def test_what_is_released_goes_out_again_in_order_with_no_attempt_spent(rig: Rig, api: ApiRig) -> None:
    sent = [await api.submit(id=rig.new_id()) for _ in range(3)]
    jobs = await lease(api, max=3)
    told = await tell(api, RELEASE, *(held(job) for job in jobs))
    assert [item["status"] for item in told] == ["ok"] * 3
    again = await lease(api, max=3)
    assert [job["id"] for job in again] == sent
    assert [job["attempt"] for job in again] == [1, 1, 1]


async def test_a_batch_answers_each_for_itself_and_takes_the_good_ones(api: ApiRig) -> None:
    good, stale, large = await one(api), await one(api), await one(api)
    await tell(api, RELEASE, held(stale))
    items: list[dict[str, Any]] = [
        held(good, result=1),
        held(stale, result=2),
        {"id": good["id"]},
        held(large, result="x" * 300_000),
        held(large, result=3, retry_after=1),
        {"id": ids.new_id(), "token": "1.foreign"},
        {"id": good["id"], "token": "no token"},
    ]
    for _ in range(2):
        told = await tell(api, COMPLETE, *items)
        assert [item.get("status") for item in told] == ["ok", "lost", None, None, None, "lost", None]
        errors = [item["error"]["type"].rpartition(":")[2] for item in told if "error" in item]
        assert errors == ["invalid", "too-large", "invalid", "invalid"]
        assert told[4]["error"]["errors"][0]["pointer"] == "/retry_after"
    assert (await api.job(good["id"]))["result"] == 1
    assert (await api.job(large["id"]))["status"] == "running"


@pytest.mark.parametrize("path", ACTS)
async def test_one_stale_token_is_a_conflict(api: ApiRig, path: str) -> None:
    job = await one(api)
    await tell(api, RELEASE, held(job))
    await lease(api)
    if path != RELEASE:
        problem(await api.http.post(path, json=held(job) | failing(path)), 409, "lost-lease")
    foreign = {"id": job["id"], "token": "7.foreign"} | failing(path)
    problem(await api.http.post(path, json=foreign), 409, "lost-lease")
    assert (await api.job(job["id"]))["status"] == "running"


# --- who may -------------------------------------------------------------------------------------------------------


async def test_a_grant_over_one_queue_reaches_no_other(rig: Rig) -> None:
    async with api_over(rig.broker, keys(all="admin", mail="work@mail")) as api:
        api.http.headers["x-api-key"] = "all"
        job, mine = await one(api, queue="web"), await one(api, queue="mail")
        api.http.headers["x-api-key"] = "mail"
        problem(await api.http.post(LEASES, json={"queues": ["mail", "web"]}), 403, "forbidden")
        for path in ACTS:
            foreign = await api.http.post(path, json=held(job) | failing(path))
            missing = await api.http.post(path, json=held(job, id="0" * 28) | failing(path))
            problem(foreign, 404, "not-found")
            assert foreign.text.replace(job["id"], "0" * 28) == missing.text
        told = await tell(api, COMPLETE, held(job), held(mine))
        assert [item.get("status") for item in told] == [None, "ok"]
        api.http.headers["x-api-key"] = "all"
        assert (await api.job(job["id"]))["status"] == "running"


# --- bad input -----------------------------------------------------------------------------------------------------

NAMES = [f"q{number}" for number in range(257)]


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({"lease": 0}, "/lease"),
        ({"lease": 31536000}, "/lease"),
        ({"lease": "30"}, "/lease"),
        ({"wait": 3600}, "/wait"),
        ({"wait": -1}, "/wait"),
        ({"max": 0}, "/max"),
        ({"max": 501}, "/max"),
        ({"max": 1.5}, "/max"),
        ({"queues": []}, "/queues"),
        ({"queues": NAMES}, "/queues"),
        ({"queues": ["a b"]}, "/queues/0"),
        ({"claim_id": ""}, "/claim_id"),
        ({"claim_id": "x" * 65}, "/claim_id"),
        ({"claim_id": "a b"}, "/claim_id"),
        ({"worker": "a=b"}, "/worker"),
        ({"quues": ["a"]}, "/quues"),
    ],
)
async def test_a_lease_that_cannot_be_is_refused_by_field(
    rig: Rig, api: ApiRig, asked: dict[str, Any], pointer: str
) -> None:
    async with rig.unchanged():
        found = problem(await api.http.post(LEASES, json=asked), 422, "invalid")
    assert found["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("path", ACTS)
async def test_an_outcome_that_cannot_be_is_refused_by_field(rig: Rig, api: ApiRig, path: str) -> None:
    good = {"id": ids.new_id(), "token": "1.abc"} | failing(path)
    bad: list[tuple[dict[str, Any], str]] = [
        ({"id": good["id"]}, "/token"),
        (good | {"id": "short"}, "/id"),
        (good | {"token": "x" * 100}, "/token"),
        (good | {"token": "1.a b=c"}, "/token"),
        (good | {"sttus": 1}, "/sttus"),
        ({"jobs": []}, "/jobs"),
        ({"jobs": 1}, "/jobs"),
        ({"jobs": [good], "id": good["id"]}, "/id"),
    ]
    async with rig.unchanged():
        for body, pointer in bad:
            found = problem(await api.http.post(path, json=body), 422, "invalid")
            assert found["errors"][0]["pointer"] == pointer
        problem(await api.http.post(path, json={"jobs": [good] * 501}), 413, "too-large")
        problem(await api.http.post(path, json={"jobs": [good] * 20_000}), 413, "too-large")
        problem(await api.http.post(path, content=b"", headers={"content-type": "application/json"}), 400, "malformed")
        problem(await api.http.post(path, content=b"{", headers={"content-type": "application/json"}), 400, "malformed")


async def test_a_result_that_is_no_json_value_is_refused(rig: Rig, api: ApiRig) -> None:
    job = await one(api)
    head = f'{{"id":"{job["id"]}","token":"{job["token"]}","result":'.encode()
    for result, status in ((b"1e999", 422), (b'"\\ud800"', 400), (b"[" * 65 + b"]" * 65, 400), (b"nul", 400)):
        content = head + result + b"}"
        response = await api.http.post(COMPLETE, content=content, headers={"content-type": "application/json"})
        assert response.status_code == status, (result, response.text)
    assert (await api.job(job["id"]))["status"] == "running"


async def test_a_retry_after_two_years_or_an_error_that_is_missing_is_refused(api: ApiRig) -> None:
    job = await one(api)
    for more in ({"error": "e", "retry_after": 2 * 31536000}, {}, {"error": {"kind": "x"}}, {"error": 5}):
        problem(await api.http.post(FAIL, json=held(job) | more), 422, "invalid")
    assert (await api.job(job["id"]))["status"] == "running"


async def test_a_job_that_cannot_be_read_is_buried_and_not_handed_out(rig: Rig, api: ApiRig) -> None:
    (broken,) = await rig.add(now=0, body='{"type":')
    good = (await rig.add(now=0))[0]
    assert [job["id"] for job in await lease(api, max=10)] == [good]

    async def buried() -> bool:
        return (await rig.state(broken)).get("s") == "d"

    await eventually(buried)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
