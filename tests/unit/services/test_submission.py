from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pydantic
import pytest

from queuey.errors import Invalid, Malformed, RequestError, TooLarge
from queuey.protocol import ids
from queuey.protocol.models import JobRequest
from queuey.protocol.records import NewJob, encode_key, from_ms, parse_definition, parse_fields
from queuey.services.jobs.submission import Decoder, Submission, SubmissionSettings
from queuey.services.times import to_ms
from queuey.settings.settings import Settings
from queuey.worker.handlers.parameters.pydantic_types import PydanticType

NOW = 1_800_000_000_000


def submission(**settings: Any) -> Submission:
    return Submission(SubmissionSettings.of(Settings(data_dir=Path("/unused"), **settings)), {"patient": 9}.get)


def made(settings: dict[str, Any] | None = None, **fields: Any) -> NewJob:
    """The job for a request with these fields."""
    reader = submission(**(settings or {}))
    return reader.new_job(reader.parse(json.dumps({"type": "t", **fields}).encode()), NOW)


def refused(settings: dict[str, Any] | None = None, **fields: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        made(settings, **fields)
    return caught.value


def pointers(error: RequestError) -> list[str]:
    return [fault.pointer for fault in error.faults]  # type: ignore[union-attr]


def head(job: NewJob) -> dict[str, str]:
    return parse_fields(job.head)


def test_what_is_default_is_not_stored() -> None:
    job = made(payload=None)
    assert (job.queue, job.priority, job.head, job.body) == ("default", "default", "", '{"type":"t"}')
    assert (job.delay_ms, job.run_at_ms, job.dedupe) == (0, 0, "")
    assert ids.is_id(job.id)


def test_everything_that_is_given_is_stored() -> None:
    job = made(
        payload={"a": [1, 2]},
        queue="mail",
        priority="high",
        dedupe_key="k",
        dedupe_ttl=60,
        max_attempts=3,
        timeout=1.5,
        backoff={"base": 1, "cap": 9},
        retention=7,
    )
    assert (job.queue, job.priority) == ("mail", "high")
    assert head(job) == {"q": "mail", "l": "high", "m": "3", "t": "7000", "k": encode_key("k"), "e": "60000"}
    assert (job.dedupe, job.dedupe_ttl_ms) == (encode_key("k"), 60_000)
    _, definition = parse_definition("r=1\n" + job.body)
    assert definition.timeout == 1.5
    assert definition.backoff is not None
    assert (definition.backoff.base, definition.backoff.factor, definition.backoff.cap) == (1, 2, 9)
    assert json.loads(bytes(definition.payload)) == {"a": [1, 2]}


@pytest.mark.parametrize(
    "payload", [b"12345678901234567890123", b'{\n "a" : [ ]\n}', b'"\\u00e4\xc3\xa4"', b"1.10", b'{"a":1,"a":2}']
)
def test_a_payload_keeps_its_text(payload: bytes) -> None:
    reader = submission()
    job = reader.new_job(reader.parse(b'{"payload": ' + payload + b' ,"type":"t"}'), NOW)
    _, definition = parse_definition("r=1\n" + job.body)
    assert bytes(definition.payload) == payload


def test_of_two_fields_of_one_name_the_last_counts() -> None:
    assert submission().parse(b'{"type":"a","type":"b"}').type == "b"


# --- attempts, retention, dedupe -----------------------------------------------------------------------------------


def test_attempts_are_the_requests_then_the_types_then_the_settings() -> None:
    assert head(made({"max_attempts": 7}, type="patient", max_attempts=3))["m"] == "3"
    assert head(made({"max_attempts": 7}, type="patient"))["m"] == "9"
    assert head(made({"max_attempts": 7}))["m"] == "7"
    assert "m" not in head(made(max_attempts=5))


def test_retention_and_the_life_of_a_key_come_from_the_settings() -> None:
    settings = {"retention": 60.0, "dedupe_ttl": 120.0}
    assert head(made(settings, dedupe_key="k")) == {"t": "60000", "k": encode_key("k"), "e": "120000"}
    assert head(made(settings, retention=3600, dedupe_key="k", dedupe_ttl=86400)) == {"k": encode_key("k")}
    assert head(made(retention=0)) == {"t": "0"}


def test_a_job_expires_after_so_many_ms_and_later_than_it_is_due() -> None:
    assert head(made(expires_in=1.5)) == {"x": "1500"}
    assert head(made(expires_in=1e-9)) == {"x": "1"}
    assert head(made(expires_in=61, delay=60)) == {"x": "61000"}
    past = "2020-01-01T00:00:00Z"
    assert head(made(expires_in=1, run_at=past)) == {"x": "1000"}
    for due in ({"delay": 60}, {"run_at": (from_ms(NOW + 60_000)).isoformat()}):
        error = refused(expires_in=60, **due)
        assert isinstance(error, Invalid)
        assert pointers(error) == ["/expires_in"]


@pytest.mark.parametrize("key", ["k", "file123:200x200", "ä€😀", "a b", "x" * 256, "€" * 85])
def test_a_key_decides_the_bucket(key: str) -> None:
    job = made(dedupe_key=key)
    assert ids.bucket_of(job.id) == ids.bucket_of_key(key)
    assert head(job)["k"] == job.dedupe == encode_key(key)


@pytest.mark.parametrize("key", ["", "x" * 257, "€" * 86, "a\nb", "a\x00", "\u200b", "\x7f"])
def test_a_key_is_printable_and_short(key: str) -> None:
    error = refused(dedupe_key=key)
    assert isinstance(error, Invalid)
    assert pointers(error) == ["/dedupe_key"]
    assert "256 bytes" in error.message


def test_a_clients_id_is_kept() -> None:
    job_id = ids.new_id()
    assert made(id=job_id).id == job_id
    job_id = ids.new_id("k")
    assert made(id=job_id, dedupe_key="k").id == job_id


@pytest.mark.parametrize(
    "job_id", ["", "abc", "0" * 27, "0" * 29, "00" + "8" + "0" * 25, "0" * 27 + "U", "0" * 27 + "a"]
)
def test_an_id_of_another_format_is_refused(job_id: str) -> None:
    error = refused(id=job_id)
    assert isinstance(error, Invalid)
    assert pointers(error) == ["/id"]


def test_an_id_of_another_bucket_than_its_key_is_refused() -> None:
    other = next(key for key in map(str, range(9)) if ids.bucket_of_key(key) != ids.bucket_of_key("k"))
    error = refused(id=ids.new_id(other), dedupe_key="k")
    assert pointers(error) == ["/id"]
    assert "dedupe_key" in error.message


# --- when ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("delay", "ms"), [(0, 0), (5, 5000), (0.07, 70), (0.0001, 1), (1.0001, 1001), (1e-300, 0)])
def test_a_delay_is_rounded_up_to_the_millisecond(delay: float, ms: int) -> None:
    assert made(delay=delay).delay_ms == ms
    assert made(delay=delay).run_at_ms == 0


@pytest.mark.parametrize(
    ("run_at", "ms"),
    [
        ("2027-01-15T08:00:01Z", NOW + 1000),
        ("2027-01-15T08:00:01.0001Z", NOW + 1001),
        ("2027-01-15T10:00:01+02:00", NOW + 1000),
        ("2020-01-01T00:00:00Z", 1_577_836_800_000),
        ("1960-01-01T00:00:00Z", 0),
        ("0001-01-01T00:00:00+14:00", 0),
    ],
)
def test_a_time_is_rounded_up_to_the_millisecond(run_at: str, ms: int) -> None:
    job = made(run_at=run_at)
    assert (job.delay_ms, job.run_at_ms) == (0, ms)


def test_a_delay_and_a_time_exclude_each_other() -> None:
    error = refused(delay=1, run_at="2027-01-15T08:00:01Z")
    assert isinstance(error, Invalid)
    assert pointers(error) == ["/delay", "/run_at"]


def test_a_job_is_not_put_off_beyond_the_limit() -> None:
    settings = {"max_delay": 10.0}
    assert made(settings, delay=10).delay_ms == 10_000
    assert pointers(refused(settings, delay=10.001)) == ["/delay"]
    assert made(settings, run_at="2027-01-15T08:00:10Z").run_at_ms == NOW + 10_000
    error = refused(settings, run_at="2027-01-15T08:00:10.001Z")
    assert pointers(error) == ["/run_at"]
    assert "within 10s from now" in error.message
    assert pointers(refused(run_at="9999-12-31T23:59:59Z")) == ["/run_at"]


def test_seconds_become_milliseconds() -> None:
    assert [to_ms(seconds) for seconds in (0, 0.0011, 0.29, 1.1, 31536000)] == [0, 2, 290, 1100, 31_536_000_000]


# --- text ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"{", "too early"),
        (b'{"type":"t","payload":NaN}', "JSON has no value NaN (byte 22)"),
        (b'{"type":"t","payload":[-Infinity]}', "JSON has no value Infinity (byte 24)"),
        (b'{"type":"t","payload":None}', "JSON has no value None"),
        (b'{"type":"t","payload":{"a":undefined}}', "JSON has no value undefined"),
        (b'{"type":"t","payload":Nan}', "invalid character"),
        (b'{"type":}', "byte 8"),
        (b"{'type':'t'}", "byte 1"),
        (b'{"type":"t"} {}', "trailing characters"),
        (b'{"type":"t","payload":"\xff"}', "UTF-8: byte 23"),
        (b'{"type":"t","payload":"\\ud800"}', "surrogate"),
        (b'{"type":"t","payload":' + b"[" * 65 + b"]" * 65 + b"}", "64 levels"),
        (b'{"type":"t","payload":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "64 levels"),
        (b"[" * 100_000, "64 levels"),
        (b"\xef\xbb\xbf{}", "byte 0"),
    ],
)
def test_what_is_not_json_is_malformed(text: bytes, reason: str) -> None:
    with pytest.raises(Malformed) as caught:
        submission().parse(text)
    assert reason in caught.value.message


def test_a_payload_has_as_many_levels_as_the_setting_says() -> None:
    submission().parse(b'{"type":"t","payload":' + b"[" * 64 + b"]" * 64 + b"}")
    submission(json_depth=1).parse(b'{"type":"t","payload":[]}')
    with pytest.raises(Malformed):
        submission(json_depth=1).parse(b'{"type":"t","payload":[[]]}')


def test_a_payload_has_a_largest_size() -> None:
    settings = {"payload_limit": 100}
    made(settings, payload="x" * 98)
    error = refused(settings, payload="x" * 99)
    assert isinstance(error, TooLarge)
    assert pointers(error) == ["/payload"]
    assert "101 bytes. Send at most 100." in error.message


@pytest.mark.parametrize("payload", [b'"s3cret\\ud800"', b'["s3cret", 1e999]', b'"s3cret' + b"x" * 999 + b'"'])
def test_no_payload_gets_into_an_error(payload: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        submission(payload_limit=500).parse(b'{"type":"t","payload":' + payload + b"}")
    assert "s3cret" not in repr((caught.value.message, caught.value.faults))


# --- payloads of types that are known ----------------------------------------------------------------------------


class Greeting(msgspec.Struct):
    name: str
    tags: list[str] = []


SETTINGS_THAT_CHECK = SubmissionSettings.of(Settings(data_dir=Path("/unused"), check_payloads="yes"))


def no_attempts(job_type: str) -> int | None:
    return None


def known(job_type: str) -> Decoder | None:
    return msgspec.json.Decoder(Greeting).decode if job_type == "greet" else None


def checking(**fields: Any) -> JobRequest:
    return Submission(SETTINGS_THAT_CHECK, no_attempts, known).parse(json.dumps(fields).encode())


@pytest.mark.parametrize(
    ("payload", "pointer", "reason"),
    [
        ({}, "/payload", "missing required field `name`"),
        (None, "/payload", "expected `object`, got `null`"),
        ({"name": 7}, "/payload/name", "expected `str`, got `int`"),
        ({"name": "a", "tags": ["b", 3]}, "/payload/tags/1", "expected `str`, got `int`"),
    ],
)
def test_a_payload_that_its_handler_cannot_take_is_refused_with_its_place(
    payload: object, pointer: str, reason: str
) -> None:
    with pytest.raises(Invalid) as caught:
        checking(type="greet", payload=payload)
    assert pointers(caught.value) == [pointer]
    assert "does not fit jobs of the type greet" in caught.value.message
    assert reason in caught.value.message


def test_pydantic_names_all_faults_of_a_payload() -> None:
    def broken(value: int) -> int:
        raise KeyError("no table")

    late = Annotated[int, pydantic.AfterValidator(broken)]
    model = pydantic.create_model("Order", count=(pydantic.PositiveInt, ...), name=(str, ...), late=(late, 0))
    decode = PydanticType(model).decode
    submission = Submission(SETTINGS_THAT_CHECK, no_attempts, {"order": decode}.get)
    with pytest.raises(Invalid) as caught:
        submission.check_fit("order", b'{"count":0}', "/payload")
    assert pointers(caught.value) == ["/payload/count", "/payload/name"]
    assert "does not fit jobs of the type order: input should be greater than 0" in caught.value.message
    submission.check_fit("order", b'{"count":1,"name":"a"}')
    submission.check_fit("order", b'{"count":1,"name":"a","late":1}')  # an error of the handler, when it runs


def test_what_fits_and_what_nobody_here_knows_is_taken() -> None:
    assert checking(type="greet", payload={"name": "Ada"}).type == "greet"
    assert checking(type="other", payload=None).type == "other"


def test_payloads_are_not_checked_unless_asked_for() -> None:
    text = b'{"type":"greet","payload":{}}'
    settings = SubmissionSettings.of(Settings(data_dir=Path("/unused")))
    assert Submission(settings, no_attempts, known).parse(text).type == "greet"
