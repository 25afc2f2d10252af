"""POST /v1/schedules/preview: its answer, and every fault with a pointer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

import pytest

from queuey.protocol.models import MAX_CRON, MAX_EXCLUDED
from tests.integration.api.described import named
from tests.support.http import ApiRig, moment, problem
from tests.support.store import Rig

PATH: Final = "/v1/schedules/preview"
TOMORROW: Final = datetime.now(UTC) + timedelta(days=1)
CRON: Final = {"cron": "0 3 * * *"}
JOB: Final = {"type": "t"}


async def test_the_next_five_ticks(rig: Rig, api: ApiRig) -> None:
    async with rig.unchanged():
        response = await api.http.post(PATH, json={"cron": "0 3 * * *", "timezone": "Asia/Tokyo", "job": JOB})
    assert response.status_code == 200
    answer = response.json()
    times = [moment(time) for time in answer["next"]]
    assert len(times) == 5
    assert {(time.hour, time.minute, time.utcoffset()) for time in times} == {(18, 0, timedelta(0))}
    assert [later - earlier for earlier, later in pairwise(times)] == [timedelta(days=1)] * 4
    assert answer["warnings"] == []


async def test_a_warning(api: ApiRig) -> None:
    response = await api.http.post(PATH, json={"cron": "30 2 * * *", "timezone": "Europe/Berlin"})
    assert any("has no 02:30: fires 03:00" in warning for warning in response.json()["warnings"])


async def test_an_interval_and_one_time(api: ApiRig) -> None:
    assert len((await api.http.post(PATH, json={"every": 1.5})).json()["next"]) == 5
    at = TOMORROW.replace(microsecond=0)
    response = await api.http.post(PATH, json={"at": at.isoformat()})
    assert [moment(time) for time in response.json()["next"]] == [at]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [""]),
        ({"cron": "0 3 * * *", "every": 60}, ["/cron", "/every"]),
        ({"every": 60, "at": TOMORROW.isoformat()}, ["/every", "/at"]),
        ({"cron": "0 0 30 2 *"}, ["/cron"]),
        ({"cron": "60 * * * * *"}, ["/cron"]),
        ({"cron": "* * */20 * 1L"}, ["/cron"]),
        ({"cron": "0 0 29 2 5", "exclude": []}, []),
        ({"cron": "0 0 29 2 *", "exclude": ["2028-02-29", "2032-02-29", "2036-02-29"]}, ["/cron"]),
        ({"cron": "*," * 5000 + "* * * * *"}, ["/cron"]),
        ({"cron": "x" * (MAX_CRON + 1)}, ["/cron"]),
        ({"cron": "@reboot"}, ["/cron"]),
        ({"cron": "0 3 * *", "timezone": "Europe"}, ["/timezone", "/cron"]),
        ({**CRON, "timezone": "localtime"}, ["/timezone"]),
        ({**CRON, "timezone": "x" * 10_000}, ["/timezone"]),
        ({"every": 0.5}, ["/every"]),
        ({"every": 1e9}, ["/every"]),
        ({"at": "2020-01-01T00:00:00Z"}, ["/at"]),
        ({"at": "9999-12-31T23:59:59-14:00"}, ["/at"]),
        ({"at": "0001-01-01T00:00:00+14:00"}, ["/at"]),
        ({"at": "2027-01-01T00:00:00"}, ["/at"]),
        ({"at": TOMORROW.isoformat(), "exclude": [f"{TOMORROW:%Y-%m-%d}"]}, ["/at"]),
        ({**CRON, "exclude": ["2026-02-30"]}, ["/exclude/0"]),
        ({**CRON, "exclude": ["2026-12-25"] * (MAX_EXCLUDED + 1)}, ["/exclude"]),
        ({**CRON, "jitter": 86_401, "overlap": "x", "catch_up": "x"}, ["/jitter", "/overlap", "/catch_up"]),
        ({**CRON, "catch_up_window": -1}, ["/catch_up_window"]),
        ({**CRON, "name": "x"}, ["/name"]),
    ],
)
async def test_faults_of_its_times(api: ApiRig, body: dict[str, Any], expected: list[str]) -> None:
    response = await api.http.post(PATH, json=body)
    found = problem(response, 422, "invalid") if expected else response.json()
    assert named(found) == expected
    assert len(response.text) < 2000


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ({}, ["/job/type"]),
        ({"type": "a b", "nope": 1}, ["/job/type", "/job/nope"]),
        ({**JOB, "dedupe_key": "k", "dedupe_ttl": 5}, ["/job/dedupe_key", "/job/dedupe_ttl"]),
        ({**JOB, "batch": {"key": "k", "max_size": 2, "max_wait": 1}}, ["/job/batch"]),
        ({**JOB, "delay": 5, "run_at": TOMORROW.isoformat()}, ["/job/delay", "/job/run_at"]),
        ({**JOB, "id": "0" * 28}, ["/job/id"]),
        ({**JOB, "id": "x"}, ["/job/id"]),
        ({**JOB, "tags": ["a", "a"]}, ["/job/tags/1"]),
        ({**JOB, "metadata": {"a": "\n"}}, ["/job/metadata/a"]),
        ({**JOB, "payload": {"a": "x" * 300_000}}, ["/job/payload"]),
        ({**JOB, "max_attempts": 0, "backoff": {"base": 0}}, ["/job/max_attempts", "/job/backoff/base"]),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_faults_of_its_job(api: ApiRig, job: dict[str, Any], expected: list[str]) -> None:
    response = await api.http.post(PATH, json={**CRON, "job": job})
    assert response.status_code == (413 if "payload" in job else 422)
    assert named(response.json()) == expected
    assert response.json()["detail"].startswith(("job/", "Unknown field"))


async def test_why_a_field_of_its_job_is_refused(api: ApiRig) -> None:
    response = await api.http.post(PATH, json={**CRON, "job": {**JOB, "dedupe_key": "k"}})
    assert "`overlap` keeps two of its jobs apart" in problem(response, 422, "invalid")["detail"]


async def test_faults_of_its_times_and_of_its_job_are_in_one_error(api: ApiRig) -> None:
    body = {"cron": "61 * * * *", "timezone": "Europe", "every": 5, "job": {**JOB, "delay": 1, "tags": ["a", "a"]}}
    response = await api.http.post(PATH, json=body)
    assert named(problem(response, 422, "invalid")) == [
        *("/cron", "/every", "/timezone", "/job/delay", "/job/tags/1"),
    ]


async def test_bodies_that_are_no_schedule(api: ApiRig) -> None:
    problem(await api.http.post(PATH, content=b""), 400, "malformed")
    problem(await api.http.post(PATH, content=b"{"), 400, "malformed")
    problem(await api.http.post(PATH, content=b'{"cron":"\xff"}'), 400, "malformed")
    deep = b'{"cron":"* * * * *","job":{"type":"t","payload":' + b"[" * 500 + b"]" * 500 + b"}}"
    problem(await api.http.post(PATH, content=deep), 400, "malformed")
    half = b'{"cron":"* * * * *","job":{"type":"t","payload":"\\ud800"}}'
    problem(await api.http.post(PATH, content=half), 400, "malformed")
