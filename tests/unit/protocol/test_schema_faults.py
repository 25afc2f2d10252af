from __future__ import annotations

import msgspec
import pytest

from queuey.errors import Invalid
from queuey.protocol.models import Backoff, Batch, Debounce, JobRequest, Throttle, Unique
from queuey.protocol.schema_faults import ALLOWED, explain, to_pointer


def refused(text: str) -> tuple[str, str, str]:
    """Return the pointer, the detail and the message for a body that the schema refuses."""
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(text, type=JobRequest)
    error = explain(caught.value)
    assert isinstance(error, Invalid)
    (fault,) = error.faults
    return fault.pointer, fault.detail, error.message  # type: ignore[union-attr]


def test_every_field_says_what_it_takes() -> None:
    fields = {f"/{name}" for name in JobRequest.__struct_fields__}
    fields |= {f"/backoff/{name}" for name in Backoff.__struct_fields__}
    for name, struct in (("batch", Batch), ("debounce", Debounce), ("throttle", Throttle), ("unique", Unique)):
        fields |= {f"/{name}/{field}" for field in struct.__struct_fields__}
    assert set(ALLOWED) == fields | {"", "/tags/*"}


@pytest.mark.parametrize(
    ("field", "value", "instead"),
    [
        ("type", "1", ", not a number"),
        ("type", '""', ""),
        ("type", '"a b"', ""),
        ("type", '"-a"', ""),
        ("type", '"a\\n"', ""),
        ("type", f'"{"a" * 65}"', ""),
        ("id", "5", ", not a number"),
        ("priority", "null", ", not null; leave it out instead"),
        ("queue", '"a:b"', ""),
        ("priority", '"urgent"', ""),
        ("priority", "3", ", not a number"),
        ("tags", '"a"', ", not a string"),
        ("tags", '["1","2","3","4","5","6","7","8","9"]', ""),
        ("metadata", "[]", ", not an array"),
        ("metadata", '{"a":1}', ". One of its values is a number"),
        ("metadata", '{"a b":"1"}', ""),
        ("dedupe_key", "[]", ", not an array"),
        ("dedupe_ttl", "0", ""),
        ("dedupe_ttl", "31536001", ""),
        ("max_attempts", "1" + "0" * 30, ""),
        ("max_attempts", "1" + "0" * 5000, ""),
        ("max_attempts", "0", ""),
        ("max_attempts", "1001", ""),
        ("max_attempts", "2.5", ", not a number"),
        ("max_attempts", "true", ", not true or false"),
        ("max_attempts", '"5"', ", not a string"),
        ("timeout", "0", ""),
        ("timeout", "1e999", ""),
        ("timeout", "86401", ""),
        ("delay", "-1", ""),
        ("delay", "{}", ", not an object"),
        ("run_at", '"2030-01-01T00:00:00"', ""),
        ("run_at", '"2030-01-01"', ""),
        ("run_at", '"tomorrow"', ""),
        ("run_at", "1893456000", ", not a number"),
        ("backoff", "[]", ", not an array"),
        ("backoff/base", "0", ""),
        ("backoff/factor", "0.5", ""),
        ("backoff/cap", '"1m"', ", not a string"),
        ("retention", "-0.1", ""),
        ("expires_in", "0", ""),
        ("expires_in", "31536001", ""),
        ("expires_in", '"1m"', ", not a string"),
    ],
)
def test_a_fault_names_its_place_and_what_is_allowed_there(field: str, value: str, instead: str) -> None:
    outer, _, inner = field.partition("/")
    text = f'{{"{outer}":{{"{inner}":{value}}}}}' if inner else f'{{"{outer}":{value}}}'
    if outer != "type":
        text = '{"type":"t",' + text[1:]
    pointer, detail, message = refused(text)
    assert pointer == f"/{field}"
    assert detail == f"must be {ALLOWED[pointer]}{instead}"
    assert message == f"{field} {detail}."


@pytest.mark.parametrize("text", ["[]", '"x"', "1", "null"])
def test_a_job_is_an_object(text: str) -> None:
    pointer, detail, message = refused(text)
    assert pointer == ""
    assert detail.startswith("must be a JSON object, not ")
    assert message.startswith("The job must be")


def test_a_missing_type_is_named() -> None:
    assert refused('{"payload":1}')[:2] == ("/type", f"is missing. It must be {ALLOWED['/type']}")


@pytest.mark.parametrize(
    ("text", "pointer", "hint"),
    [
        ('{"type":"t","max_attempt":1}', "/max_attempt", "Did you mean max_attempts?"),
        ('{"typ":"t"}', "/typ", "Did you mean type?"),
        ('{"type":"t","backoff":{"bas":1}}', "/backoff/bas", "Did you mean base?"),
        ('{"type":"t","backoff":{"zzzz":1}}', "/backoff/zzzz", "Allowed: base, factor, cap"),
        ('{"type":"t","a/b~c":1}', "/a~1b~0c", "Allowed: type, payload"),
        ('{"type":"t","x`y":1}', "/x`y", "Allowed: type"),
        ('{"type":"t","":1}', "/", "Allowed: type"),
        ('{"type":"t","a\\nb":1}', "/a\nb", "Allowed: type"),
    ],
)
def test_an_unknown_field_is_named_with_a_guess(text: str, pointer: str, hint: str) -> None:
    found, detail, _ = refused(text)
    assert (found, hint in detail) == (pointer, True)


def test_a_long_field_name_is_cut() -> None:
    pointer, detail, message = refused('{"type":"t","' + "x" * 100_000 + '":1}')
    assert len(pointer) < 80
    assert len(detail + message) < 600


@pytest.mark.parametrize(
    ("message", "pointer"),
    [
        ("Expected `int`, got `str` - at `$.a.b`", "/a/b"),
        ("Expected `int`, got `str` - at `$[3].a`", "/3/a"),
        ("Expected `int`, got `str` - at `$[...].a`", ""),
        ("Expected `int`, got `str`", ""),
    ],
)
def test_a_path_becomes_a_pointer(message: str, pointer: str) -> None:
    assert to_pointer(message) == pointer
