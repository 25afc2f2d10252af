"""`queuey schedule preview` against a real server."""

from __future__ import annotations

import re
from typing import Final

import pytest

from queuey.cli import exits
from tests.support.command import Run

NIGHTLY: Final = ("schedule", "preview", "--cron", "30 2 * * *", "--timezone", "Europe/Berlin")
WARNING: Final = re.compile(r"queuey: warning: \d{4}-03-\d\d has no 02:30: fires 03:00\n")


def test_a_preview_in_the_zone_and_in_utc(run: Run) -> None:
    shown = run(*NIGHTLY)
    assert shown.code == exits.OK
    head, *rows = shown.out.splitlines()
    assert head.split() == ["NEXT", "UTC"]
    assert len(rows) == 5
    for row in rows:
        assert re.fullmatch(
            r"\w{3} \d{4}-\d\d-\d\d 0[23]:[03]0:00 \+0[12]00 +\d{4}-\d\d-\d\d 0[01]:[03]0:00Z *", row
        ), row
    assert WARNING.search(shown.err)


def test_a_preview_for_programs(run: Run) -> None:
    shown = run(*NIGHTLY, "-o", "json")
    assert len(shown.data["next"]) == 5
    assert any("has no 02:30" in warning for warning in shown.data["warnings"])
    assert WARNING.search(shown.err)
    assert len(run("schedule", "preview", "--every", "15m", "-o", "json").data["next"]) == 5


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ((), "needs one of cron, every and at"),
        (("--cron", "0 0 30 2 *"), "cron names days of the month"),
        (("--cron", "@daily", "--timezone", "Europe"), "timezone is not a known time zone"),
        (("--at", "2027-01-01T00:00:00"), "--at: has no time zone"),
        (("--cron", "@daily", "--exclude", "tomorrow"), "--exclude: 'tomorrow' is not a date"),
    ],
)
def test_what_is_refused(run: Run, flags: tuple[str, ...], reason: str) -> None:
    refused = run("schedule", "preview", *flags)
    assert (refused.code, refused.out) == (exits.USAGE, "")
    assert reason in refused.err
