"""What a job looks like in Python: its result as a type, and a repr that a person can read."""

from __future__ import annotations

from datetime import UTC, datetime
from threading import Thread
from typing import Annotated, Any

import msgspec
import pydantic
import pytest

from queuey.protocol.models import Job
from queuey.protocol.models.leases import LeasedJob
from queuey.protocol.models.readable import MAX_SHOWN
from queuey.worker.testing import Ran

MOMENT = datetime(2030, 1, 31, tzinfo=UTC)


class Report(msgspec.Struct):
    pages: int


class Page(pydantic.BaseModel):
    number: pydantic.PositiveInt = pydantic.Field(alias="pageNumber")


@pydantic.dataclasses.dataclass
class Adult:
    age: Annotated[int, pydantic.Field(ge=18)]


def job(result: bytes, **fields: Any) -> Job:
    given: dict[str, Any] = {
        "id": "A" * 28,
        "type": "report",
        "queue": "default",
        "priority": "default",
        "status": "succeeded",
        "payload": msgspec.Raw(b'{"page": 1}'),
        "result": msgspec.Raw(result),
        "attempts": 0,
        "max_attempts": 5,
        "crashes": 0,
        "created_at": MOMENT,
        "errors": [],
    }
    nothing = ("dedupe_key", "timeout", "run_at", "started_at", "finished_at", "lease_expires_at", "last_error")
    return Job(**{**dict.fromkeys(nothing), **given, **fields})


def test_the_result_is_of_the_type() -> None:
    assert job(b'{"pages": 3}').value(Report) == Report(3)
    with pytest.raises(msgspec.ValidationError, match="pages"):
        job(b"{}").value(Report)


@pytest.mark.parametrize(
    ("result", "into", "value"),
    [
        (b'{"pageNumber": 3}', Page, Page(pageNumber=3)),
        (b'[{"pageNumber": 3}]', list[Page], [Page(pageNumber=3)]),
        (b'{"age": 18}', Adult, Adult(18)),
    ],
)
def test_the_type_may_be_one_of_pydantic(result: bytes, into: Any, value: object) -> None:
    assert job(result).value(into) == value
    assert Ran("report", "succeeded", msgspec.Raw(result)).value(into) == value


@pytest.mark.parametrize(
    ("result", "into"), [(b'{"pageNumber": 0}', Page), (b'[{"pageNumber": 0}]', list[Page]), (b'{"age": 17}', Adult)]
)
def test_pydantic_checks_its_types(result: bytes, into: Any) -> None:
    with pytest.raises(msgspec.ValidationError, match="greater than"):
        job(result).value(into)


def test_a_type_that_cannot_be_read_is_refused() -> None:
    with pytest.raises((TypeError, msgspec.ValidationError), match="Thread"):
        job(b"5").value(Thread)


def test_a_job_that_has_not_succeeded_has_no_result() -> None:
    with pytest.raises(ValueError, match=r"A \(report\) has no result: it is dead_letter: ValueError: boom"):
        job(b"null", status="dead_letter", last_error="ValueError: boom").value(Report)
    with pytest.raises(ValueError, match=r"it is queued$"):
        job(b"null", status="queued").value(Report)


def test_payload_and_result_are_readable() -> None:
    text = repr(job(b'"\xc3\xa4"'))
    assert 'payload={"page": 1}' in text
    assert 'result="ä"' in text
    assert "Raw" not in text
    assert repr(Ran("t", "succeeded", msgspec.Raw(b"5"))).startswith(
        "Ran(type='t', status='succeeded', result=5, kind=None"
    )
    assert "payload=[1]" in repr(LeasedJob("id", "token", "t", msgspec.Raw(b"[1]"), 1, MOMENT))


def test_long_json_is_cut() -> None:
    text = repr(job(b"9" * (MAX_SHOWN + 7)))
    assert f"result={'9' * MAX_SHOWN}... 7 more characters" in text
