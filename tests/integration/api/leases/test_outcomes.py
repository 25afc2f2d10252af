"""The reports of pull workers: each outcome is taken once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from queuey.lifecycle import end_tasks
from queuey.metrics import Metrics
from queuey.protocol import ids
from queuey.store.broker.broker import Broker
from tests.support.http import ApiRig, api_over, moment, problem
from tests.support.pull.leasing import ACTS, COMPLETE, EXTEND, FAIL, LOG, RELEASE, failing, held, lease, one, report
from tests.support.store import Rig
from tests.support.working import FaultyScripts, eventually


async def test_complete(api: ApiRig) -> None:
    job = await one(api)
    response = await api.http.post(COMPLETE, json=held(job, result={"a": [1]}))
    assert (response.status_code, response.json()) == (200, {"id": job["id"], "status": "ok"})
    done = await api.job(job["id"])
    assert (done["status"], done["result"]) == ("succeeded", {"a": [1]})
    again = await api.http.post(COMPLETE, json=held(job, result=2))
    assert (again.status_code, again.json()["status"]) == (200, "ok")
    assert (await api.job(job["id"]))["result"] == {"a": [1]}


async def test_an_outcome_counts_though_its_request_was_cancelled(rig: Rig) -> None:
    scripts, metrics = FaultyScripts(), Metrics()
    async with api_over(Broker(rig.broker.shards, scripts), metrics=metrics) as api:
        job = await one(api)
        scripts.gates["complete"] = asyncio.Event()
        request = asyncio.create_task(api.http.post(COMPLETE, json=held(job)))
        assert await scripts.waiting.get() == "complete"
        await end_tasks([request])
        scripts.gates["complete"].set()

        async def counted() -> bool:
            return bool(metrics.pulled.cell(("ok",))[0] == 1)

        await eventually(counted)
        assert (await api.job(job["id"]))["status"] == "succeeded"


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
    (told,) = await report(api, FAIL, held(job, error=error, retry_after=3600))
    assert told == {"id": job["id"], "status": "retry"}
    failed = await api.job(job["id"])
    (kept,) = failed["errors"]
    assert (kept["kind"], kept["detail"]) == ("http.503", "line 1\nline 2")
    assert 100 < len(kept["message"]) < 1000
    assert 3599 <= _seconds(failed["run_at"]) - _seconds(kept["at"]) <= 3601


async def test_a_failure_can_be_the_last(api: ApiRig) -> None:
    spent, hopeless = await one(api, max_attempts=1), await one(api)
    told = await report(api, FAIL, held(spent, error="e"), held(hopeless, error="e", dead=True))
    assert [item["status"] for item in told] == ["dead_letter", "dead_letter"]
    assert (await api.job(hopeless["id"]))["status"] == "dead_letter"


async def test_a_cancelled_job_is_told_and_ends_cancelled(api: ApiRig) -> None:
    job = await one(api)
    await api.http.post(f"/v1/jobs/{job['id']}/cancel")
    (told,) = await report(api, EXTEND, held(job))
    assert told["status"] == "cancelled"
    (told,) = await report(api, FAIL, held(job, error="stopped"))
    assert told["status"] == "cancelled"
    assert (await api.job(job["id"]))["status"] == "cancelled"


async def test_each_lease_is_extended_by_what_it_asks_for(api: ApiRig) -> None:
    jobs = [await one(api), await one(api)]
    told = await report(api, EXTEND, held(jobs[0], lease=3600), held(jobs[1], lease=60))
    assert [item["status"] for item in told] == ["ok", "ok"]
    ends = [_seconds((await api.job(job["id"]))["lease_expires_at"]) for job in jobs]
    assert 3530 < ends[0] - ends[1] < 3545
    assert all(abs(_seconds(item["lease_expires_at"]) - end) < 5 for item, end in zip(told, ends, strict=True))


async def test_progress_comes_with_an_extension_and_is_shown_while_the_job_runs(api: ApiRig) -> None:
    job = await one(api)
    (told,) = await report(api, EXTEND, held(job, progress={"done": 3, "total": 10, "note": "reading"}))
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
    told = await report(api, RELEASE, *(held(job) for job in jobs))
    assert [item["status"] for item in told] == ["ok"] * 3
    again = await lease(api, max=3)
    assert [job["id"] for job in again] == sent
    assert [job["attempt"] for job in again] == [1, 1, 1]


async def test_a_batch_answers_each_for_itself_and_takes_the_good_ones(api: ApiRig) -> None:
    good, stale, large = await one(api), await one(api), await one(api)
    await report(api, RELEASE, held(stale))
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
        told = await report(api, COMPLETE, *items)
        assert [item.get("status") for item in told] == ["ok", "lost", None, None, None, "lost", None]
        errors = [item["error"]["type"].rpartition(":")[2] for item in told if "error" in item]
        assert errors == ["invalid", "too-large", "invalid", "invalid"]
        assert told[4]["error"]["errors"][0]["pointer"] == "/retry_after"
    assert (await api.job(good["id"]))["result"] == 1
    assert (await api.job(large["id"]))["status"] == "running"


@pytest.mark.parametrize("path", ACTS)
async def test_one_stale_token_is_a_conflict(api: ApiRig, path: str) -> None:
    job = await one(api)
    await report(api, RELEASE, held(job))
    await lease(api)
    if path not in (RELEASE, LOG):  # the last lines may come late
        problem(await api.http.post(path, json=held(job) | failing(path)), 409, "lost-lease")
    foreign = {"id": job["id"], "token": "7.foreign"} | failing(path)
    problem(await api.http.post(path, json=foreign), 409, "lost-lease")
    assert (await api.job(job["id"]))["status"] == "running"


def _seconds(text: str) -> float:
    return moment(text).timestamp()


async def test_a_job_can_be_snoozed(api: ApiRig) -> None:
    job = await one(api, max_attempts=1)
    for _ in range(2):  # sent again, it is the same snooze
        (told,) = await report(api, FAIL, held(job, error="not ready", snooze=3600))
        assert told == {"id": job["id"], "status": "snoozed"}
    shown = await api.job(job["id"])
    assert (shown["status"], shown["attempts"], shown["attempt"], shown["snoozed"]) == ("scheduled", 0, 1, 1)
    assert (shown["errors"], shown["attempts_log"]) == ([], [])
    assert 3590 <= _seconds(shown["run_at"]) - _seconds(shown["started_at"]) <= 3610
    explained = (await api.http.get(f"/v1/jobs/{job['id']}/explain")).json()
    assert explained["reason"] == "snoozed"
    assert explained["detail"].startswith("Its handler has snoozed it (once). It is due again at ")


@pytest.mark.parametrize(
    ("more", "pointer"), [({"dead": True}, "/dead"), ({"retry_after": 1}, "/retry_after"), ({"snooze": -1}, "/snooze")]
)
async def test_a_snooze_is_no_other_outcome(api: ApiRig, more: dict[str, Any], pointer: str) -> None:
    job = await one(api)
    response = await api.http.post(FAIL, json=held(job, error="e") | {"snooze": 5} | more)
    assert problem(response, 422, "invalid")["errors"][0]["pointer"] == pointer
    assert (await api.job(job["id"]))["status"] == "running"
