"""Whatever the key, its bucket and its id agree."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from queuey.protocol import ids
from queuey.store.shards import MAX_SHARDS

keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=100)
counts = st.integers(min_value=1, max_value=MAX_SHARDS)


@given(keys)
def test_an_id_is_well_formed_and_bears_the_bucket_of_its_key(key: str) -> None:
    job_id = ids.new_id(key)
    assert ids.is_id(job_id)
    assert 0 <= ids.bucket_of(job_id) == ids.bucket_of_key(key) < ids.BUCKETS


@given(keys, counts)
def test_equal_keys_meet_on_one_shard(key: str, shards: int) -> None:
    assert ids.bucket_of(ids.new_id(key)) % shards == ids.bucket_of_key(key) % shards


@given(st.text(max_size=40))
def test_no_text_makes_the_check_raise(text: str) -> None:
    if ids.is_id(text):
        ids.bucket_of(text)


@given(st.from_regex(r"[0-9A-HJKMNP-TV-Z]{2}[0-7][0-9A-HJKMNP-TV-Z]{25}", fullmatch=True))
def test_every_id_of_the_documented_form_has_a_bucket(job_id: str) -> None:
    assert ids.is_id(job_id)
    assert 0 <= ids.bucket_of(job_id) < ids.BUCKETS
