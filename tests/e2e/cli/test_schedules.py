"""`queuey schedule` against a real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
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


REPORT: Final = ("nightly", "report", '{"year":2027}', "--cron", "30 2 * * *", "--timezone", "Europe/Berlin")
SPAN: Final = ("--from", "2026-03-27T00:00:00Z", "--to", "2026-03-30T12:00:00Z")


@pytest.fixture
def nightly(run: Run) -> Iterator[str]:
    """A schedule, which is deleted at the end."""
    assert run("schedule", "put", *REPORT, "--queue", "unserved", "-o", "json").code == exits.OK
    yield "nightly"
    run("schedule", "delete", "nightly")


def test_put_show_list_and_delete(run: Run, nightly: str) -> None:
    shown = run("schedule", "show", nightly, "-o", "json").data
    assert shown["job"] == {"type": "report", "payload": {"year": 2027}, "queue": "unserved"}
    assert (shown["status"], shown["timezone"], len(shown["next"]), shown["runs"]) == ("active", "Europe/Berlin", 5, [])
    again = run("schedule", "put", *REPORT, "--queue", "unserved")
    assert (again.code, "version          1" in again.out) == (exits.OK, True)
    assert WARNING.search(again.err)
    assert "warnings" not in again.out
    assert run("schedule", "put", "often", "report", "--every", "15m", "--queue", "other").code == exits.OK
    head, *rows = run("schedule", "list").out.splitlines()
    assert head.split() == ["NAME", "STATUS", "WHEN", "TIMEZONE", "QUEUE", "NEXT", "DETAIL"]
    assert sorted(row.split()[0] for row in rows) == ["nightly", "often"]
    assert any("every 15m" in row and "It fires next at" in row for row in rows)
    assert [one["name"] for one in run("schedule", "list", "--queue", "other", "-o", "json").data] == ["often"]
    assert run("schedule", "delete", "often").code == exits.OK
    assert run("schedule", "delete", "often").code == exits.NOT_FOUND
    assert "There is no schedule 'often'" in run("schedule", "show", "often").err


def test_all_flags_of_a_schedule(run: Run) -> None:
    rules = ("--overlap", "queue_one", "--catch-up", "all", "--catch-up-window", "2h", "--jitter", "30s")
    times = ("--at", "2030-01-31T09:00:00Z", "--exclude", "2030-01-01", "--exclude", "2030-01-02")
    job = ("--priority", "high", "--max-attempts", "2", "--timeout", "1m", "--expires-in", "5m", "--retention", "1d")
    labels = ("--tag", "a", "--tag", "b", "--metadata", "tenant=7")
    made = run("schedule", "put", "once", "report", *rules, *times, *job, *labels, "-o", "json").data
    assert {name: made[name] for name in ("overlap", "catch_up", "catch_up_window", "jitter", "at", "exclude")} == {
        "overlap": "queue_one",
        "catch_up": "all",
        "catch_up_window": 7200.0,
        "jitter": 30.0,
        "at": "2030-01-31T09:00:00Z",
        "exclude": ["2030-01-01", "2030-01-02"],
    }
    assert made["job"] == {
        "type": "report",
        "priority": "high",
        "max_attempts": 2,
        "timeout": 60.0,
        "expires_in": 300.0,
        "retention": 86400.0,
        "tags": ["a", "b"],
        "metadata": {"tenant": "7"},
    }
    assert run("schedule", "delete", "once").code == exits.OK


def test_pause_resume_and_trigger(run: Run, nightly: str) -> None:
    paused = run("schedule", "pause", nightly, "--reason", "holidays", "-o", "json").data
    assert (paused["status"], paused["pause_reason"], paused["next"]) == ("paused", "holidays", [])
    assert "holidays" in run("schedule", "list").out
    assert run("schedule", "resume", nightly, "-o", "json").data["status"] == "active"
    fired = run("schedule", "trigger", nightly, "-o", "json").data
    assert fired["outcome"] == "fired"
    assert run("job", "get", fired["job_id"], "-o", "json").data["metadata"]["schedule.name"] == nightly
    assert run("schedule", "trigger", nightly, "-o", "json").data == {"outcome": "skipped", "job_id": None}
    table = run("schedule", "show", nightly).out
    assert re.search(r"\n\nTICK +AT +KIND +OUTCOME +COUNT +JOB ID *\n", table)
    assert fired["job_id"] in table


def test_a_backfill_asks_first(run: Run, nightly: str) -> None:
    asked = run("schedule", "backfill", nightly, *SPAN, "--overlap", "allow", "-o", "json")
    assert asked.code == exits.USAGE
    assert "this would make the jobs of 4 ticks. Pass --yes to confirm." in asked.err
    assert (len(asked.data["ticks"]), asked.data["fired"], asked.data["dry_run"]) == (4, 0, True)
    done = run("schedule", "backfill", nightly, *SPAN, "--overlap", "allow", "--yes", "-o", "json")
    assert (done.code, done.data["fired"]) == (exits.OK, 4)
    assert run("schedule", "backfill", nightly, *SPAN, "--overlap", "allow", "--yes", "-o", "json").data["there"] == 4
    wrong = run("schedule", "backfill", nightly, "--from", "2026-03-27T00:00:00", "--to", "2026-03-30T12:00:00Z")
    assert (wrong.code, "--from: has no time zone" in wrong.err) == (exits.USAGE, True)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("put", "a b", "t", "--cron", "@daily"), "The name of the schedule must be 1 to 128 letters"),
        (("put", "a", "t"), "needs one of cron, every and at"),
        (("put", "a", "t", "{", "--cron", "@daily"), "The payload '{' is not JSON"),
        (("put", "a", "t", "--cron", "@daily", "--metadata", "x"), "--metadata: 'x' has no value"),
        (("put", "a", "t", "--cron", "@daily", "--jitter", "2d"), "jitter must be"),
        (("put", "a", "t", "--at", "2020-01-01T00:00:00Z"), "at must be within the next 8 years"),
    ],
)
def test_what_put_refuses(run: Run, arguments: tuple[str, ...], reason: str) -> None:
    refused = run("schedule", *arguments)
    assert (refused.code, refused.out) == (exits.USAGE, "")
    assert reason in refused.err
