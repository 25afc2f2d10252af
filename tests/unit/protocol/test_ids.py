"""Job ids: their form and their bucket."""

from __future__ import annotations

import time
import zlib
from itertools import pairwise

import pytest

from queuey.protocol import ids

GOOD = "0001M85W2WTH5WPF3M1CF0E9CA0Z"


def test_an_id_has_a_bucket_and_a_ulid() -> None:
    job_id = ids.new_id()
    assert len(job_id) == ids.LENGTH == 28
    assert ids.is_id(job_id)
    assert not set(job_id) & set("ILOUilou")


@pytest.mark.parametrize(
    "texts",
    [
        *([], [GOOD], [GOOD] * 500, [""], [GOOD, ""], [GOOD[:-1]], [GOOD + "0"], [GOOD + "\n"]),
        *(
            [GOOD[:-1], GOOD[-1] + GOOD],
            [GOOD + GOOD],
            [GOOD, "00Z" + GOOD[3:]],
            [GOOD, GOOD[:-1] + "U"],
            [GOOD.lower()],
        ),
        [GOOD[:-1] + "\u0663", GOOD],
    ],
)
def test_many_ids_are_checked_as_each_is(texts: list[str]) -> None:
    assert ids.are_ids(texts) is all(map(ids.is_id, texts))


def test_the_ulid_begins_with_the_time() -> None:
    before = time.time_ns() // 1_000_000
    job_id = ids.new_id()
    after = time.time_ns() // 1_000_000
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    millis = 0
    for character in job_id[2:12]:
        millis = millis * 32 + alphabet.index(character)
    assert before <= millis <= after


def test_buckets_rotate_without_a_key() -> None:
    buckets = [ids.bucket_of(ids.new_id()) for _ in range(2 * ids.BUCKETS)]
    assert sorted(buckets) == sorted([*range(ids.BUCKETS)] * 2)
    steps = {(later - earlier) % ids.BUCKETS for earlier, later in pairwise(buckets)}
    assert steps == {1}


def test_many_ids_at_once_are_like_as_many_single_ones() -> None:
    first, *many, last = [ids.new_id(), *ids.new_ids(2 * ids.BUCKETS), ids.new_id()]
    assert all(map(ids.is_id, many))
    assert len({job_id[12:] for job_id in many}) == 2 * ids.BUCKETS
    assert first[2:12] <= min(job_id[2:12] for job_id in many) <= last[2:12]
    buckets = list(map(ids.bucket_of, [first, *many, last]))
    assert {(later - earlier) % ids.BUCKETS for earlier, later in pairwise(buckets)} == {1}
    assert ids.new_ids(0) == []


@pytest.mark.parametrize("key", ["a", "file123:200x200", "\u00e4\u00f6\u00fc", "x" * 256])
def test_the_bucket_of_a_key_is_its_crc32(key: str) -> None:
    expected = zlib.crc32(key.encode("utf-8")) % 1024
    assert ids.bucket_of_key(key) == expected
    assert ids.bucket_of(ids.new_id(key)) == expected


def test_a_bucket_never_changes() -> None:
    """Clients in other languages compute it too, and stored ids depend on it."""
    assert ids.bucket_of_key("file123:200x200") == 987
    assert ids.new_id("file123:200x200")[:2] == "YV"
    assert ids.bucket_of("00" + GOOD[2:]) == 0
    assert ids.bucket_of("ZZ" + GOOD[2:]) == 1023
    assert ids.bucket_of("10" + GOOD[2:]) == 32


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD[:-1],
        GOOD + "0",
        GOOD.lower(),
        GOOD[:-1] + "U",
        GOOD[:-1] + "I",
        GOOD[:2] + "8" + GOOD[3:],  # a time after the year 10889
        GOOD[:-1] + "\n",
        GOOD[:-1] + " ",
        GOOD[:-1] + "\u0661",  # a digit, in Arabic
        "*" * 28,
        "550e8400-e29b-41d4-a716-446655440000"[:28],
    ],
)
def test_other_text_is_no_id(text: str) -> None:
    assert ids.is_id(GOOD)
    assert not ids.is_id(text)


def test_short_random_text_fits_a_header_and_does_not_repeat() -> None:
    made = {ids.short_random() for _ in range(10_000)}
    assert len(made) == 10_000
    assert all(len(text) == 12 and text.isalnum() for text in made)


def test_the_id_of_a_tick_is_always_the_same_and_has_the_bucket_of_its_schedule() -> None:
    job_id = ids.of_tick("report", "UID1", 1_800_000_000_000)
    assert ids.is_id(job_id)
    assert job_id == ids.of_tick("report", "UID1", 1_800_000_000_000) == "W401MCC5RM0028BP6PEXWYZKQ3Q4"
    assert ids.bucket_of(job_id) == zlib.crc32(b"report") % 1024
    others = {ids.of_tick("report", "UID2", 1_800_000_000_000), ids.of_tick("report", "UID1", 1_800_000_000_001)}
    assert len(others | {job_id}) == 3
