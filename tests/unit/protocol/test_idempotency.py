from __future__ import annotations

import pytest

from queuey.errors import IdempotencyMismatch, Invalid
from queuey.protocol import ids
from queuey.protocol.idempotency import once


def test_the_same_request_of_the_same_caller_is_the_same() -> None:
    first = once("shop", b"key 1", b"{}")
    assert first == once("shop", b"key 1", b"{}")
    made, again = first.new_id(), first.new_id()
    assert made != again
    for job_id in (made, again):
        assert ids.is_id(job_id)
        assert ids.bucket_of(job_id) == ids.bucket_of_key(first.key)
        first.check(job_id)


def test_another_body_holds_the_same_key_and_is_noticed() -> None:
    first, other = once("shop", b"k", b"{}"), once("shop", b"k", b"{} ")
    assert first.key == other.key
    with pytest.raises(IdempotencyMismatch):
        other.check(first.new_id())


@pytest.mark.parametrize(("caller", "key"), [("mail", b"k"), ("shop", b"K"), ("sho", b"pk")])
def test_other_callers_and_keys_have_nothing_to_do_with_it(caller: str, key: bytes) -> None:
    ours, theirs = once("shop", b"k", b"{}"), once(caller, key, b"{}")
    assert ours.key != theirs.key
    assert ours.id_suffix != theirs.id_suffix


@pytest.mark.parametrize("key", [b"", b"x" * 257, b"a\tb", b"\xc3\xa9", b"\x7f"])
def test_a_key_is_printable_and_short(key: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        once("shop", key, b"{}")
    assert "256 printable" in refused.value.message
