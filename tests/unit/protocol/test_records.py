"""The texts of a stored job, and their conversion to a Job of the HTTP API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from queuey.protocol.models import Backoff
from queuey.protocol.records import (
    NewJob,
    StoredJob,
    decode_key,
    encode_key,
    from_ms,
    job_fields,
    job_head,
    parse_definition,
    parse_fields,
    to_job,
)
from queuey.protocol.stored.heads import queue_and_attempts, ready_queue_attempts

CREATED = 1_800_000_000_000
BODY = '{"type":"mail.send","payload":[1,{}]}'


def at(millis: int) -> datetime:
    return datetime(2027, 1, 15, 8, 0, tzinfo=UTC) + (from_ms(millis) - from_ms(CREATED))


def stored(head: str = "", state: str = "", lease: int = -1, due: int = -1, body: str = BODY) -> StoredJob:
    return StoredJob(f"r={CREATED} {head}".rstrip() + "\n" + body, state, lease, due)


# --- headers -----------------------------------------------------------------------------------------------------


def test_fields_equal_to_the_formats_defaults_are_not_stored() -> None:
    assert job_head() == ""
    assert job_head(queue="default", priority="default", max_attempts=5, retention_ms=3_600_000) == ""
    assert job_head(dedupe_ttl_ms=1) == "", "without a key it means nothing"


WORDS = ["r=1", f"r={CREATED}", "r=", "r=x,q=y", "r=1q=a", "q=mail", "q=a.b-c_d", "m=9", "m=1000", "l=high", "c=5"]
WORDS += ["", "x", "q=", "Q=a", "k=" + "q" * 100, "r=2,q=b"]


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=4), st.sampled_from([f"r={CREATED} ", ""]))
def test_queue_and_attempts_are_those_of_the_fields(words: list[str], first: str) -> None:
    head = first + " ".join(words)
    for _ in range(2):  # the second time it may be remembered
        fields = job_fields(*parse_definition(f"{head}\n{BODY}"))
        expected = fields["queue"], fields["max_attempts"]
        assert queue_and_attempts(head) == expected
        if first and head.count("r=") == 1:
            assert ready_queue_attempts(head) == (CREATED, expected)


@pytest.mark.parametrize(("head", "error"), [("", KeyError), ("q=mail", KeyError), ("r=", ValueError)])
def test_a_header_without_its_time_cannot_be_read(head: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        ready_queue_attempts(head)


@pytest.mark.parametrize(
    ("fields", "head"),
    [
        ({"queue": "mail"}, "q=mail"),
        ({"priority": "high"}, "l=high"),
        ({"max_attempts": 1}, "m=1"),
        ({"retention_ms": 0}, "t=0"),
        ({"expires_ms": 1500}, "x=1500"),
        ({"dedupe": "a2V5"}, "k=a2V5"),
        ({"dedupe": "a2V5", "dedupe_ttl_ms": 60}, "k=a2V5 e=60"),
        ({"queue": "a.b-c_d", "priority": "low", "max_attempts": 9, "dedupe": "_-"}, "q=a.b-c_d l=low m=9 k=_-"),
    ],
)
def test_other_fields_are(fields: dict[str, Any], head: str) -> None:
    assert job_head(**fields) == head


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", {}),
        ("r=1 c=2", {"r": "1", "c": "2"}),
        ("s=w p=12.aB-_:9 Z=new", {"s": "w", "p": "12.aB-_:9", "Z": "new"}),
        ("s=w\nq=mail", {"s": "w"}),
        ("\nq=mail", {}),
        ("s=w  ==  q=\u00e4", {"s": "w"}),
    ],
)
def test_only_the_first_line_is_a_header(text: str, fields: dict[str, str]) -> None:
    assert parse_fields(text) == fields


@pytest.mark.parametrize("key", ["a", "file123:200x200", "\u00e4\u4e2d\U0001f600", "=" * 256, "a b\tc"])
def test_keys_are_encoded_so_that_they_fit_a_header(key: str) -> None:
    encoded = encode_key(key)
    assert parse_fields(f"k={encoded}") == {"k": encoded}
    assert decode_key(encoded) == key


def test_the_size_of_a_job_counts_bytes() -> None:
    small, wide = NewJob("i", "q", "low", "m=1", "x" * 1000), NewJob("i", "q", "low", "m=1", "\u4e2d" * 1000)
    assert small.size == 1103
    assert wide.size == 3103


# --- definitions -------------------------------------------------------------------------------------------------


def test_a_definition_is_its_header_and_json() -> None:
    body = '{"type":"t","payload":1.50,"timeout":2.5,"backoff":{"base":3.0}}'
    head, definition = parse_definition(f"r=1 q=mail\n{body}")
    assert head == {"r": "1", "q": "mail"}
    assert (definition.type, definition.payload, definition.timeout) == ("t", Raw(b"1.50"), 2.5)
    assert definition.backoff == Backoff(base=3.0)


def test_fields_of_a_later_version_are_passed_over() -> None:
    _, definition = parse_definition('r=1\n{"type":"t","later":{"a":[1]}}')
    assert definition.payload == Raw(b"null")


# --- jobs --------------------------------------------------------------------------------------------------------


def test_a_job_that_was_just_enqueued() -> None:
    job = to_job("ID", stored())
    assert (job.id, job.type, job.payload) == ("ID", "mail.send", Raw(b"[1,{}]"))
    assert (job.queue, job.priority, job.status) == ("default", "default", "queued")
    assert (job.attempts, job.max_attempts, job.crashes) == (0, 5, 0)
    assert (job.created_at, job.run_at) == (at(CREATED), None)
    unset = (job.started_at, job.finished_at, job.lease_expires_at, job.dedupe_key, job.timeout, job.last_error)
    assert (*unset, job.worker) == (None,) * 7
    assert job.result == Raw(b"null")
    assert job.errors == []


@pytest.mark.parametrize(
    ("letter", "due", "status"),
    [
        ("w", -1, "queued"),
        ("w", CREATED, "scheduled"),
        ("r", -1, "running"),
        ("s", -1, "succeeded"),
        ("d", -1, "dead_letter"),
        ("c", -1, "cancelled"),
    ],
)
def test_the_status(letter: str, due: int, status: str) -> None:
    assert to_job("ID", stored(state=f"s={letter}", due=due)).status == status


def test_a_delayed_job_was_created_before_it_is_due() -> None:
    later = CREATED + 60_000
    waiting = to_job("ID", StoredJob(f"r={later} c={CREATED}\n{BODY}", "", -1, later))
    assert (waiting.status, waiting.created_at, waiting.run_at) == ("scheduled", at(CREATED), at(later))
    promoted = to_job("ID", StoredJob(f"r={later} c={CREATED}\n{BODY}", "", -1, -1))
    assert (promoted.status, promoted.created_at, promoted.run_at) == ("queued", at(CREATED), at(later))


def test_a_retried_job_is_scheduled_for_its_retry() -> None:
    job = to_job("ID", stored(state=f"s=w a=1 r={CREATED + 5}", due=CREATED + 5))
    assert (job.status, job.attempts, job.run_at) == ("scheduled", 1, at(CREATED + 5))


def test_a_running_job() -> None:
    state = f"s=r n=3 a=1 x=1 h=c1 w=host-1.2 b={CREATED + 10}"
    job = to_job("ID", stored("q=mail l=high m=9 k=a2V5", state, lease=CREATED + 30_000))
    assert (job.queue, job.priority, job.max_attempts, job.dedupe_key) == ("mail", "high", 9, "key")
    assert (job.attempts, job.crashes, job.worker) == (1, 1, "host-1.2")
    assert (job.started_at, job.lease_expires_at) == (at(CREATED + 10), at(CREATED + 30_000))


def test_a_result_is_the_text_that_came() -> None:
    job = to_job("ID", stored(state=f"s=s f={CREATED + 7}\n12345678901234567890.0"))
    assert job.result == Raw(b"12345678901234567890.0")
    assert job.finished_at == at(CREATED + 7)
    assert job.errors == []


def test_errors_are_oldest_first_and_the_last_has_its_own_field() -> None:
    lines = [
        f'{CREATED} {{"attempt":1,"kind":"error","message":"one","detail":"Traceback","worker":"w1"}}',
        f'{CREATED + 5} {{"attempt":2,"kind":"later","message":"two \\n lines","new":1}}',
    ]
    job = to_job("ID", stored(state="s=d a=2\n\n" + "\n".join(lines)))
    assert [(error.at, error.attempt, error.kind) for error in job.errors] == [
        (at(CREATED), 1, "error"),
        (at(CREATED + 5), 2, "later"),
    ]
    assert (job.errors[0].detail, job.errors[0].worker) == ("Traceback", "w1")
    assert job.last_error == "two \n lines"
    assert job.result == Raw(b"null")


@pytest.mark.parametrize(
    ("line", "time", "message"),
    [
        ("odd error", CREATED + 9, "odd error"),
        ('["odd"]', CREATED + 9, '["odd"]'),
        ("", CREATED + 9, ""),
        ("9" * 30 + " {}", CREATED + 9, "9" * 30 + " {}"),
        ("9" * 5000, CREATED + 9, "9" * 1000),
        (f'{CREATED + 1} ["odd"]', CREATED + 1, '["odd"]'),
        (f'{CREATED + 1} {{"attempt":1}}', CREATED + 1, '{"attempt":1}'),
        (f"{CREATED + 1} no JSON", CREATED + 1, "no JSON"),
        (f'{CREATED + 1} {{"n":{"[" * 100_000}', CREATED + 1, '{"n":' + "[" * 995),
    ],
)
def test_an_error_that_cannot_be_read_is_shown_as_it_is(line: str, time: int, message: str) -> None:
    job = to_job("ID", stored(state=f"s=d a=1 f={CREATED + 9}\n\n{line}"))
    (error,) = job.errors
    assert (error.at, error.attempt, error.kind, error.message) == (at(time), 0, "unknown", message)
    assert job.last_error == message
    assert [run.error for run in job.attempts_log] == [message]


def test_a_result_and_errors_together() -> None:
    job = to_job("ID", stored(state=f's=s\n"ok"\n{CREATED} {{"attempt":1,"kind":"error","message":"m"}}'))
    assert (job.result, job.last_error) == (Raw(b'"ok"'), "m")


def test_line_separators_inside_json_are_no_lines() -> None:
    message = "a\u2028b\u0085c"
    job = to_job("ID", stored(state=f's=d\n\n{CREATED} {{"attempt":1,"kind":"error","message":"{message}"}}'))
    assert job.last_error == message


def test_a_state_of_a_later_version_is_read_as_far_as_it_is_known() -> None:
    job = to_job("ID", stored("g=group", "s=r n=1 h=c Q=9 u=x"))
    assert (job.status, job.queue) == ("running", "default")
