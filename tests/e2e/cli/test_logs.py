"""The log of a real server: a line of JSON for each event, with the id of the job."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.e2e.conftest import QUICK
from tests.support.gate import Gate
from tests.support.http import moment
from tests.support.serving import Serving


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    server = Serving(tmp_path_factory.mktemp("logs") / "data", *QUICK, "--log-level", "debug", key="dev")
    yield server
    server.close()


def of_job(server: Serving, job_id: str, *names: str) -> list[dict[str, Any]]:
    """Return the lines about a job, except those of its requests, once the last of these events is logged."""
    server.event(names[-1], job_id=job_id)
    lines = [json.loads(line) for line in server.lines]
    return [line for line in lines if line.get("job_id") == job_id and "queuey.api" not in line["logger"]]


@pytest.mark.parametrize(
    ("job_type", "payload", "expected"),
    [
        ("echo", 1, [("job_succeeded", "debug", 1, None)]),
        ("fail", 1, [("job_failed", "warning", 1, "error"), ("job_succeeded", "debug", 2, None)]),
        ("fail", 9, [("job_failed", "warning", 1, "error"), ("job_dead", "error", 2, "error")]),
        ("dead", "", [("job_dead", "error", 1, "dead")]),
        ("log", "", [("said_by_handler", "info", 1, None), ("job_succeeded", "debug", 1, None)]),
    ],
)
def test_each_event_of_a_job_is_a_line_with_its_id_type_and_attempt(
    talkative: Serving, job_type: str, payload: object, expected: list[tuple[str, str, int, str | None]]
) -> None:
    job_id = talkative.submit(job_type, payload, max_attempts=2)
    talkative.until(job_id)
    lines = of_job(talkative, job_id, *(name for name, *_ in expected))
    assert [(line["event"], line["level"], line["attempt"], line.get("kind")) for line in lines] == expected
    assert {line["type"] for line in lines} == {job_type}


def test_a_failure_says_why_and_where(talkative: Serving) -> None:
    job_id = talkative.submit("fail", 9, max_attempts=1)
    talkative.until(job_id)
    [line] = of_job(talkative, job_id, "job_dead")
    assert line["error"].startswith("ValueError: ")
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert "/jobs.py" in line["exception"]
    assert line["ran_ms"] >= 0
    assert line["exception"] == talkative.job(job_id)["errors"][-1]["detail"]


async def test_a_cancelled_job_and_a_dead_child_are_logged(talkative: Serving, gate: Gate) -> None:
    cancelled = talkative.submit("gate.loop", gate.path)
    await gate.visitor()
    talkative.cancel(cancelled)
    talkative.until(cancelled)
    lines = of_job(talkative, cancelled, "job_cancelled")
    assert [(line["event"], line["type"], line["attempt"]) for line in lines] == [
        ("job_cancelling", "gate.loop", 1),
        ("job_cancelled", "gate.loop", 1),
    ]
    died = talkative.submit("die", "exit", max_attempts=1)
    lines = of_job(talkative, died, "job_dead")
    assert [(line["event"], line["level"], line["type"]) for line in lines] == [
        ("child_died", "warning", "die"),
        ("job_dead", "error", "die"),
    ]


def test_every_line_is_json_in_order_of_time_with_the_fields_that_all_have(talkative: Serving) -> None:
    talkative.until(talkative.submit("echo", 1))
    times = []
    for text in talkative.lines:
        line = json.loads(text)
        assert {"timestamp", "level", "event", "logger"} <= line.keys()
        assert line["event"].replace("_", "").isalnum()
        times.append(moment(line["timestamp"]))
    assert len(times) > 5
    assert all(time.utcoffset() == timedelta() for time in times)
    assert times == sorted(times)


def test_success_is_not_logged_by_default(server: Serving) -> None:
    job_id = server.until(server.submit("echo", 1))["id"]
    last = server.submit("dead", "")
    server.event("job_dead", job_id=last)
    assert not any(job_id in line for line in server.lines)
