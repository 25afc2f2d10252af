"""The second look at a body with a fault, which finds the others."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from queuey.errors import Fault, Invalid, TooLarge
from queuey.protocol import schema_faults
from queuey.protocol.allowed import form_of
from queuey.protocol.json.checks import decode_body
from queuey.protocol.models import ExtendItem, FailItem, JobRequest, LeaseRequest
from queuey.protocol.schema_faults import JOB, MAX_FAULTS, MAX_LOOKS, Check, SecondLooks

LEASE = form_of(LeaseRequest, "The body", {"/claim_id": "a word", "/type_queues": "an object"})
FAIL = form_of(FailItem, "The body", {"/id": "an id", "/token": "a token"})
EXTEND = form_of(ExtendItem, "The body", {"/id": "an id", "/token": "a token"})


def refused(struct: Any, body: Any, form: Any, *checks: Check) -> Invalid:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(Invalid) as caught:
        decode_body(msgspec.json.Decoder(struct), text, form, *checks)
    return caught.value


def pointers(error: Invalid) -> list[str]:
    return [fault.pointer for fault in error.faults if isinstance(fault, Fault)]


def test_every_fault_of_a_job_is_named_and_the_first_is_the_message() -> None:
    error = refused(JobRequest, {"delay": -1, "max_attempts": 0, "queue": "a b", "typ": 1, "backoff": {"cap": 0}}, JOB)
    assert error.message == "delay must be a number of seconds from 0 to 31536000 (1 year)."
    assert pointers(error) == ["/delay", "/max_attempts", "/queue", "/typ", "/backoff/cap", "/type"]
    assert {fault.detail for fault in error.faults if isinstance(fault, Fault) and fault.pointer == "/typ"} == {
        "is unknown. Did you mean type?"
    }


@pytest.mark.parametrize("field", sorted(set(JobRequest.__struct_fields__) - {"payload"}))
def test_a_fault_is_described_by_the_second_look_as_by_the_first(field: str) -> None:
    first = refused(JobRequest, {"type": "t", field: [1]}, JOB)
    for other in ("delay", "max_attempts"):
        if other != field:
            second = refused(JobRequest, {other: [1], "type": "t", field: [1]}, JOB)
            assert second.faults[1:] == first.faults


def test_places_in_arrays_and_in_objects_of_arrays() -> None:
    body = {
        "queues": ["mail", "a b", 5],
        "room": [{"jobs": 1, "types": ["t"]}, {"jobs": -1, "types": []}, {"types": ["x y"], "nope": 1}, 7],
        "types": [],
        "max": 0,
    }
    error = refused(LeaseRequest, body, LEASE)
    assert pointers(error) == [
        *("/queues/1", "/queues/2"),
        *("/room/1/jobs", "/room/1/types", "/room/2/types/0", "/room/2/nope", "/room/2/jobs", "/room/3"),
        *("/types", "/max"),
    ]


def test_an_array_of_another_length_is_one_fault() -> None:
    assert pointers(refused(LeaseRequest, {"types": ["t"] * 1001, "max": 0}, LEASE)) == ["/types", "/max"]


@pytest.mark.parametrize(
    ("error", "found"),
    [
        ({"kind": "a b", "nope": 1}, ["/error/kind", "/error/nope", "/error/message"]),
        ([], ["/error"]),
        (None, ["/error"]),
        ("text", []),
    ],
)
def test_a_field_of_several_types(error: Any, found: list[str]) -> None:
    body = {"error": error, "retry_after": -1}
    assert sorted(pointers(refused(FailItem, body, FAIL))) == sorted([*found, "/retry_after", "/id", "/token"])


def test_an_optional_object() -> None:
    body = {"progress": {"done": -1, "total": "x", "note": 5}, "lease": 0}
    error = refused(ExtendItem, body, EXTEND)
    assert pointers(error)[:4] == ["/progress/done", "/progress/total", "/progress/note", "/lease"]


def test_the_number_of_faults_has_a_bound() -> None:
    error = refused(JobRequest, {f"f{number}": 1 for number in range(10_000)}, JOB)
    assert pointers(error) == [f"/f{number}" for number in range(MAX_FAULTS)]


def test_a_long_body_is_not_looked_at_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"type": "a b", "delay": -1}
    monkeypatch.setattr(schema_faults, "MAX_LOOKED_AT", len(json.dumps(body)))
    assert pointers(refused(JobRequest, body, JOB)) == ["/type", "/delay"]
    monkeypatch.setattr(schema_faults, "MAX_LOOKED_AT", len(json.dumps(body)) - 1)
    assert pointers(refused(JobRequest, body, JOB)) == ["/type"]


@pytest.mark.parametrize(
    "rest", [b"nonsense}", b'"delay":-1', b'"delay":-1} x', b'"queue":"\\ud800"}', b'"payload":tru}']
)
def test_what_follows_may_be_no_json(rest: bytes) -> None:
    assert pointers(refused(JobRequest, b'{"type":"a b",' + rest, JOB)) == ["/type"]


@pytest.mark.parametrize("body", [b"[]", b"null", b"5"])
def test_a_body_that_is_no_object_has_one_fault(body: bytes) -> None:
    assert pointers(refused(JobRequest, body, JOB)) == [""]


def test_a_check_is_run_after_another_fault_unless_it_reads_that_field() -> None:
    seen: list[JobRequest] = []

    def check(request: JobRequest) -> None:
        seen.append(request)
        raise TooLarge("too large", [Fault("/payload", "is too large")])

    body = {"type": "a b", "payload": 5}
    assert pointers(refused(JobRequest, body, JOB, Check(check, ("payload",)))) == ["/type", "/payload"]
    assert [(repr(request.type), bytes(request.payload)) for request in seen] == [("None", b"5")]
    assert pointers(refused(JobRequest, body, JOB, Check(check, ("payload", "type")))) == ["/type"]
    assert len(seen) == 1


def test_each_place_is_named_once_and_checks_of_a_valid_body_too() -> None:
    def one(request: JobRequest) -> None:
        raise Invalid("one.", [Fault("/delay", "one"), Fault("/id", "one")])

    def other(request: JobRequest) -> None:
        raise Invalid("other.", [Fault("/delay", "other"), Fault("/queue", "other")])

    error = refused(JobRequest, {"type": "t"}, JOB, Check(one, ("delay",)), Check(other, ()))
    assert (error.message, pointers(error)) == ("one.", ["/delay", "/id", "/queue"])


def test_a_batch_has_a_number_of_second_looks() -> None:
    looks = SecondLooks()
    assert [looks.take() for _ in range(MAX_LOOKS + 5)] == [True] * MAX_LOOKS + [False] * 5
