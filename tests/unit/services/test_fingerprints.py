"""Errors that are the same but for what differs from job to job have one fingerprint, and others have another."""

from __future__ import annotations

import re

import pytest

from queuey.services.dlq.fingerprints import fingerprint, normalised


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("no such user 17", "no such user #"),
        ("timeout after 2.5 s at 12:30:01", "timeout after # s at #"),
        ("10.0.0.7:5432 refused", "# refused"),
        ("row 3b241101-e2bb-4255-8caf-4136c566a962 is gone", "row # is gone"),
        ("object at 0x7f2a is dead", "object at # is dead"),
        ("commit deadbeef1 not found", "commit # not found"),
        ("job 4C01M85WK1F481TEH724WFD9NG9Z failed", "job # failed"),
        ("two\n  spaces", "two spaces"),
        ("the decade was faded", "the decade was faded"),
        ("", ""),
    ],
)
def test_what_differs_from_job_to_job_is_taken_out(message: str, expected: str) -> None:
    assert normalised(message) == expected


def test_the_same_but_for_a_number_is_the_same() -> None:
    assert fingerprint("t", "error", "user 1") == fingerprint("t", "error", "user 23")


@pytest.mark.parametrize("other", [("u", "error", "m"), ("t", "dead", "m"), ("t", "error", "n"), ("te", "rror", "m")])
def test_type_kind_and_message_count(other: tuple[str, str, str]) -> None:
    assert fingerprint("t", "error", "m") != fingerprint(*other)


def test_crashes_are_the_same_whichever_worker_died() -> None:
    one = fingerprint("t", "lease_lapsed", "crash 3 of 3: no heartbeat from worker vm-1-ab12")
    assert one == fingerprint("t", "lease_lapsed", "crash 3 of 3: no heartbeat from worker box-7-cd34")


def test_it_stays_what_it_is() -> None:
    """Scripts of users name it."""
    assert fingerprint("mail.send", "error", "timeout after 3 s") == "6b1b843ed8694fac"
    assert re.fullmatch("[0-9a-f]{16}", fingerprint("", "", ""))
