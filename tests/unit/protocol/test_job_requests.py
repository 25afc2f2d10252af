"""Requests for new jobs, as clients build them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import msgspec
import pytest

from queuey.protocol.job_requests import SCHEDULE_SECONDS, SECONDS, job_metadata, job_request, schedule_json, with_id
from queuey.protocol.models import JobRequest, ScheduleRequest


@pytest.mark.parametrize("value", [timedelta(seconds=5), "5", [5]])
@pytest.mark.parametrize("name", SECONDS)
def test_a_duration_is_a_number(name: str, value: Any) -> None:
    options: Any = {name: value}
    with pytest.raises(TypeError, match=rf"{name} must be a number of seconds, not .*total_seconds"):
        job_request("t", 1, options)
    with pytest.raises(TypeError, match=rf"{name} must be a number of seconds"):
        with_id(JobRequest("t", **options))


@pytest.mark.parametrize("value", [5, b"k", 1.5])
def test_a_dedupe_key_is_a_string(value: Any) -> None:
    with pytest.raises(TypeError, match=r"dedupe_key must be a string, not "):
        job_request("t", 1, {"dedupe_key": value})


def test_whole_and_other_numbers_are_durations() -> None:
    request = job_request("t", 1, {"delay": 5, "timeout": 0.5, "dedupe_key": "k"})
    assert (request.delay, request.timeout, request.dedupe_key) == (5, 0.5, "k")


def test_the_metadata_of_the_context_goes_with_every_job() -> None:
    """The job's own entries and those of an inner block go before it, and None is left out."""
    with job_metadata(request_id="r-1", tenant="acme", user=None):
        assert job_request("t", 1, {}).metadata == {"request_id": "r-1", "tenant": "acme"}
        with job_metadata(tenant="other"):
            own = job_request("t", 1, {"metadata": {"request_id": "own", "a": "b"}})
        assert own.metadata == {"request_id": "own", "tenant": "other", "a": "b"}
        with pytest.raises(LookupError), job_metadata(tenant="fails"):
            raise LookupError
        assert with_id(JobRequest("t")).metadata == {"request_id": "r-1", "tenant": "acme"}
    assert job_request("t", 1, {}).metadata is None
    with job_metadata(request_id=None):
        assert job_request("t", 1, {}).metadata is None


def test_a_schedule_has_the_fields_that_are_set_and_its_job_no_id() -> None:
    """`request(payload)` of a handler makes one, but each tick has its own."""
    job = job_request("t", 1, {"queue": "mail"})
    schedule = ScheduleRequest(cron="0 3 * * *", job=job, exclude=[date(2026, 12, 25)])
    sent = msgspec.json.decode(schedule_json(schedule))
    assert (sent["cron"], sent["exclude"]) == ("0 3 * * *", ["2026-12-25"])
    assert sent["job"] == {"type": "t", "payload": 1, "queue": "mail", "priority": "default"}
    assert not {"every", "at"} & sent.keys()


def test_what_a_schedule_cannot_have() -> None:
    for name in SCHEDULE_SECONDS:
        fields: Any = {name: timedelta(seconds=5)}
        with pytest.raises(TypeError, match=rf"{name} must be a number of seconds, not .*total_seconds"):
            schedule_json(ScheduleRequest(job=JobRequest("t"), **fields))
    with pytest.raises(ValueError, match="/every"):
        schedule_json(ScheduleRequest(job=JobRequest("t"), every=float("nan")))
    job: Any = {"type": "t"}
    with pytest.raises(TypeError, match=r"is not a queuey.models.JobRequest"):
        schedule_json(ScheduleRequest(job=job))
    with pytest.raises(TypeError, match="timeout must be a number"):
        schedule_json(ScheduleRequest(job=JobRequest("t", timeout=timedelta(5))))  # type: ignore[arg-type]
