from __future__ import annotations

import json
import sys
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queuey.errors import Invalid, Malformed
from queuey.protocol.json.checks import are_payloads, check_payload, check_text, is_deeper


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        (b"1", 0),
        (b"[]", 1),
        (b'{"a":[]}', 2),
        (b"[[],[],[],[]]", 2),
        (b'["[[[[", "]]", {"[": "{"}]', 2),
        (rb'["\"[[[[", "\\", [1]]', 2),
        (rb'["\\\\\"[[[[\\", {}]', 2),
        (b'["' + b"[" * 1000 + b'"]', 1),
        (nested(300), 300),
    ],
)
def test_the_depth_is_exact(text: bytes, depth: int) -> None:
    assert not is_deeper(text, depth)
    assert depth == 0 or is_deeper(text, depth - 1)


@settings(max_examples=50)
@given(
    st.recursive(st.text(alphabet='[]{}"\\a') | st.none(), lambda v: st.lists(v) | st.dictionaries(st.text('["'), v))
)
def test_the_depth_is_that_of_the_decoded_value(value: object) -> None:
    def depth(part: object) -> int:
        if isinstance(part, dict):
            return 1 + max(map(depth, part.values()), default=0)
        if isinstance(part, list):
            return 1 + max(map(depth, part), default=0)
        return 0

    text = json.dumps(value).encode()
    assert not is_deeper(text, depth(value))
    assert depth(value) == 0 or is_deeper(text, depth(value) - 1)


@pytest.mark.parametrize("text", [b'{"a": [[1], [2], [3]', b"]]]][[[[", b"[}[}[}", b'"[[[[[[['])
def test_what_is_not_json_is_left_to_the_decoder_up_to_its_fault(text: bytes) -> None:
    assert not is_deeper(text, 4)


@pytest.mark.parametrize(
    "text",
    [
        nested(500_000),
        b"[" * 1_000_000,
        b"[" + b"[]," * 333_000 + b"[]]",
        (nested(63) + b",") * 7_900,
        b"[" * 70 + b'"",' * 333_000,
        b"[" * 70 + b'"\\"[",' * 160_000,
        b"[" * 70 + b'"' * 999_000,
    ],
    ids=["nested", "open", "flat", "many", "strings", "escapes", "quotes"],
)
def test_a_megabyte_of_anything_is_looked_through_in_a_moment(text: bytes) -> None:
    started = time.process_time()
    is_deeper(text, 65)
    assert time.process_time() - started < 0.5  # some 50 ms on a quiet core; a quadratic way takes minutes


def test_text_must_be_utf8() -> None:
    check_text("ä€😀".encode(), 1)
    with pytest.raises(Malformed, match="byte 2 "):
        check_text(b'"a\xff"', 1)
    with pytest.raises(Malformed):
        check_text(b'"\xed\xa0\x80"', 1)  # a surrogate, encoded


def test_text_may_not_be_nested_too_deep() -> None:
    check_text(nested(64), 64)
    with pytest.raises(Malformed, match="64 levels"):
        check_text(nested(65), 64)


PAYLOADS = [
    b"null",
    b"true",
    b'"\\u0000\\ud83d\\ude00"',
    b"1" + b"0" * 4_000,
    b"-0.0",
    b"1e308",
    b"1e-999",
    b'{"a": 1, "a": [1, 2, {}]}',
    b' [ 1 ,\n "\xe2\x82\xac" ] ',
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_may_be_a_payload_can_be_decoded(payload: bytes) -> None:
    check_payload(payload)
    msgspec.json.decode(payload)


@pytest.mark.parametrize(
    "payload",
    [b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud800abcdefgh"', b'{"\\udfff12345678":1}', b"NaN", b"01", b"[1,]", b""],
)
def test_what_is_no_json_text_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        check_payload(payload)


@pytest.mark.parametrize("bad", [b'"\\ud800"', b'"\\udc00\\ud800"', b"[1,-1e999]", b"1" * 5_000])
def test_many_payloads_are_checked_at_once_as_each_alone(bad: bytes) -> None:
    """These are values whose text a decoder keeps, so that they must be checked."""
    good = [payload.decode() for payload in PAYLOADS]
    assert are_payloads(good)
    assert are_payloads([])
    for place in range(len(good) + 1):
        assert not are_payloads([*good[:place], bad.decode(), *good[place:]])


def test_two_halves_of_a_pair_in_two_payloads_make_no_whole() -> None:
    assert not are_payloads(['"\\ud83d"', '"\\ude00"'])


def test_half_a_surrogate_pair_at_the_end_is_called_so() -> None:
    with pytest.raises(Malformed, match="surrogate"):
        check_payload(b'"\\uD800"')


@pytest.mark.parametrize("payload", [b"1e999", b"[1,-1e999]", b"1" * 5_000, b'{"a":{"b":[1,1e400]}}'])
def test_a_number_that_fits_nowhere_is_invalid(payload: bytes) -> None:
    with pytest.raises(Invalid, match="out of range") as caught:
        check_payload(payload)
    assert caught.value.faults[0].pointer.startswith("/payload")  # type: ignore[union-attr]


def test_the_stack_is_not_exhausted_by_what_passes() -> None:
    text = nested(256)
    check_text(text, 256)
    check_payload(text)
    assert sys.getrecursionlimit() >= 1000
