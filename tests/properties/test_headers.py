"""Headers and keys read back as they were written, whatever stands in them."""

from __future__ import annotations

import string

from hypothesis import example, given
from hypothesis import strategies as st

from queuey.protocol.models import PRIORITIES, Priority
from queuey.protocol.records import decode_key, encode_key, from_ms, job_head, parse_fields

values = st.text(string.ascii_letters + string.digits + "_.:-", min_size=1, max_size=70)
headers = st.dictionaries(st.sampled_from(string.ascii_letters), values, max_size=52)
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)


@given(headers, st.text())
def test_a_header_reads_back_whatever_follows_it(fields: dict[str, str], rest: str) -> None:
    line = " ".join(f"{letter}={value}" for letter, value in fields.items())
    assert parse_fields(line) == fields
    assert parse_fields(f"{line}\n{rest}") == fields


@given(st.text())
def test_no_text_makes_the_parser_raise(text: str) -> None:
    parse_fields(text)


@given(keys)
@example("=")
@example("\x00")
def test_a_key_reads_back_and_fits_a_header_and_a_key_name(key: str) -> None:
    encoded = encode_key(key)
    assert decode_key(encoded) == key
    assert parse_fields(f"k={encoded} z=1") == {"k": encoded, "z": "1"}


@given(keys, keys)
def test_two_keys_are_never_one(first: str, second: str) -> None:
    assert (encode_key(first) == encode_key(second)) == (first == second)


@given(names, st.sampled_from(PRIORITIES), st.integers(1, 1000), st.integers(0, 10**11), keys, st.integers(1, 10**11))
def test_a_job_header_reads_back(
    queue: str, priority: Priority, max_attempts: int, retention_ms: int, key: str, dedupe_ttl_ms: int
) -> None:
    head = job_head(
        queue=queue,
        priority=priority,
        max_attempts=max_attempts,
        retention_ms=retention_ms,
        dedupe=encode_key(key),
        dedupe_ttl_ms=dedupe_ttl_ms,
    )
    fields = parse_fields(head)
    assert fields.get("q", "default") == queue
    assert fields.get("l", "default") == priority
    assert int(fields.get("m", 5)) == max_attempts
    assert int(fields.get("t", 3_600_000)) == retention_ms
    assert decode_key(fields["k"]) == key
    assert int(fields.get("e", 86_400_000)) == dedupe_ttl_ms
    assert "\n" not in head


@given(st.integers(min_value=0, max_value=253_402_300_799_999))
def test_a_time_keeps_its_milliseconds(millis: int) -> None:
    moment = from_ms(millis)
    whole, rest = divmod(millis, 1000)
    assert (int(moment.replace(microsecond=0).timestamp()), moment.microsecond) == (whole, rest * 1000)
