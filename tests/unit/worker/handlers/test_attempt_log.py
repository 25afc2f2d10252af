"""The lines about attempts: which event, at which level, with which parts of the error."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from queuey import log
from queuey.worker.handlers.attempt import Failed, Work
from queuey.worker.handlers.attempt_log import AttemptLog, LogErrors
from queuey.worker.handlers.context import Context

WORK = Work("j1", "mail.send", "default", "1", "1.t", 2, 5, started_at=10.0)
OF_JOB = {"job_id": "j1", "type": "mail.send", "attempt": 2, "ran_ms": 1500.0}


def failure(errors: LogErrors, failed: Failed, status: str, *, decides: bool = True) -> dict[str, Any]:
    with capture_logs() as logs:
        AttemptLog(errors, decides=decides).failed(WORK, failed, status, 11.5)
    [line] = logs
    return dict(line)


@pytest.mark.parametrize(
    ("kind", "status", "event", "level"),
    [
        ("error", "retry", "job_failed", "warning"),
        ("retry", "retry", "job_failed", "info"),
        ("error", "dead", "job_dead", "error"),
        ("dead", "dead_letter", "job_dead", "error"),
    ],
)
def test_the_level_is_that_of_what_follows(kind: Any, status: str, event: str, level: str) -> None:
    line = failure("full", Failed(kind, "no", "Traceback", retry_after_ms=20), status)
    waits = {"retry_in_ms": 20} if status == "retry" else {}
    told = {"kind": kind, "error": "no", "exception": "Traceback"}
    assert line == {"event": event, "log_level": level, **OF_JOB, **told, **waits}


@pytest.mark.parametrize(
    ("errors", "shown"),
    [("full", {"error": "no", "exception": "Traceback"}), ("message", {"error": "no"}), ("none", {})],
)
def test_what_may_quote_the_payload_can_be_left_out(errors: LogErrors, shown: dict[str, str]) -> None:
    line = failure(errors, Failed("error", "no", "Traceback"), "dead")
    assert line == {"event": "job_dead", "log_level": "error", "kind": "error", **OF_JOB, **shown}


def test_a_cancelled_job_is_no_failure() -> None:
    line = failure("full", Failed("cancelled", "cancelled while it ran"), "cancelled")
    assert line == {"event": "job_cancelled", "log_level": "info", "kind": "cancelled", **OF_JOB}


def test_a_wait_that_the_server_decides_is_not_guessed() -> None:
    assert "retry_in_ms" not in failure("full", Failed("error", "no", retry_after_ms=20), "retry", decides=False)
    asked = Failed("retry", "later", after=3.0, retry_after_ms=3000)
    assert failure("full", asked, "retry", decides=False)["retry_in_ms"] == 3000


def test_a_job_that_has_not_begun_ran_for_no_time() -> None:
    waiting = Work("j1", "mail.send", "default", "1", "1.t", 2, 5)
    with capture_logs() as logs:
        AttemptLog().failed(waiting, Failed("unknown_type", "nobody"), "dead", 11.5)
    assert logs[0]["ran_ms"] == 0


@pytest.mark.parametrize(
    ("debug", "jobs", "level"), [(False, "failed", None), (True, "failed", "debug"), (False, "all", "info")]
)
def test_a_success_is_seen_by_those_who_want_it(
    monkeypatch: pytest.MonkeyPatch, debug: bool, jobs: Any, level: str | None
) -> None:
    monkeypatch.setattr(log, "debug_enabled", lambda: debug)
    with capture_logs() as logs:
        AttemptLog(jobs=jobs).succeeded(WORK, 11.5)
    assert logs == ([{"event": "job_succeeded", "log_level": level, **OF_JOB}] if level else [])


def test_lines_have_the_request_and_the_tenant_of_the_metadata() -> None:
    """Entries of other names are left out, since nobody bounds what they do to a log."""
    work = Work(
        "j1", "mail.send", "default", "1", "1.t", 2, 5, metadata={"tenant": "acme", "request_id": "r", "a": "b"}
    )
    with capture_logs() as logs:
        AttemptLog(jobs="all").succeeded(work, 1.0)
        AttemptLog().failed(work, Failed("error", "no"), "dead", 1.0)
        AttemptLog().lost(work)
        Context(work, None).log.info("said")
    assert [line["event"] for line in logs] == ["job_succeeded", "job_dead", "lease_lost", "said"]
    for line in logs:
        assert (line["request_id"], line["tenant"], "a" in line) == ("r", "acme", False)
