"""The lines that pull workers send for their attempts, and the route that shows them."""

from __future__ import annotations

from typing import Any

import pytest

from queuey.protocol.ids import new_id
from queuey.protocol.models import MAX_LOG_LINES
from tests.support.http import ApiRig, problem
from tests.support.pull.leasing import COMPLETE, LOG, held, one, report


async def lines_of(api: ApiRig, job_id: str) -> list[dict[str, Any]]:
    response = await api.http.get(f"/v1/jobs/{job_id}/log")
    assert response.status_code == 200, response.text
    assert response.json()["job_id"] == job_id
    lines: list[dict[str, Any]] = response.json()["lines"]
    return lines


async def test_lines_are_shown_while_it_runs_and_afterwards(api: ApiRig) -> None:
    job = await one(api)
    assert await lines_of(api, job["id"]) == []
    first = {"text": "page\x1b 1", "level": "warning", "at": "2026-11-24T05:21:26.130+01:00"}
    response = await api.http.post(LOG, json=held(job, lines=[first], attempt=3))
    assert (response.status_code, response.json()) == (200, {"id": job["id"], "status": "ok"})
    shown = {"attempt": 3, "at": "2026-11-24T04:21:26.130000Z", "level": "warning", "text": "page\\x1b 1"}
    assert await lines_of(api, job["id"]) == [shown]
    await api.http.post(COMPLETE, json=held(job))
    (told,) = await report(api, LOG, held(job, lines=[first, {"text": "done"}], attempt=3))
    assert told == {"id": job["id"], "status": "ok"}
    before, after = await lines_of(api, job["id"])
    assert before == shown
    assert (after["level"], after["text"]) == ("info", "done")


async def test_each_job_of_a_batch_has_its_outcome(api: ApiRig) -> None:
    job, unread = await one(api), await one(api)
    stranger = {"id": job["id"], "token": "1.other", "lines": []}
    told = await report(
        api, LOG, held(job, lines=[{"text": "x" * 5000}]), stranger, held(unread, lines=[{"level": "loud", "text": ""}])
    )
    assert [each.get("status") for each in told] == ["ok", "lost", None]
    assert told[2]["error"]["errors"][0]["pointer"] == "/lines/0/level"
    (line,) = await lines_of(api, job["id"])
    assert " …5,000 characters, cut… " in line["text"]


@pytest.mark.parametrize(
    ("lines", "pointer"),
    [
        ([{"text": "x"}] * (MAX_LOG_LINES + 1), "/lines"),
        ([{"text": "x", "at": "2026-11-24T05:21:26"}], "/lines/0/at"),
        ([{"message": "x"}], "/lines/0/message"),
    ],
)
async def test_what_cannot_be_kept_is_refused(api: ApiRig, lines: Any, pointer: str) -> None:
    job = await one(api)
    refused = problem(await api.http.post(LOG, json=held(job, lines=lines)), 422, "invalid")
    assert pointer in [error["pointer"] for error in refused["errors"]]
    assert await lines_of(api, job["id"]) == []


async def test_a_job_that_does_not_exist_has_no_log(api: ApiRig) -> None:
    problem(await api.http.get(f"/v1/jobs/{new_id()}/log"), 404, "not-found")
    problem(await api.http.get("/v1/jobs/x/log"), 404, "not-found")
