"""`queuey job list`, `cancel`, `retry` and `delete` with filters, against a real server."""

from __future__ import annotations

import pytest

from queuey import SyncClient
from queuey.cli import exits
from queuey.cli.commands.jobs import matching
from tests.e2e.conftest import Serve
from tests.support.command import Run
from tests.support.serving import Serving


@pytest.fixture
def own(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Serving:
    """A server with three jobs that are due in an hour, and two that died."""
    own = serve(key="dev")
    monkeypatch.setenv("QUEUEY_URL", own.url)
    for number in range(3):
        own.submit("echo", {"to": f"user {number}"}, queue="mail", delay=3600)
    for job_id in [own.submit("dead", f"no user {number}") for number in range(2)]:
        own.until(job_id, "dead_letter")
    return own


def test_what_needs_a_yes_is_only_counted_without(run: Run, own: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """In requests of a bounded size, each of which goes on where the one before ended."""
    monkeypatch.setattr(matching, "JOBS_PER_DRY_RUN", 1)
    monkeypatch.setattr(matching, "JOBS_PER_CALL", 1)
    for verb, filters in (("cancel", ["--text", "user", "--queue", "mail"]), ("delete", ["--error", "no user"])):
        number = {"cancel": 3, "delete": 2}[verb]
        asked = run("job", verb, *filters, "-o", "json")
        assert (asked.code, asked.data["matched"], asked.data["done"]) == (exits.USAGE, number, 0)
        assert "Pass --yes to confirm" in asked.err
        tried = run("job", verb, *filters, "--yes", "--dry-run", "-o", "json")
        assert (tried.code, tried.data["matched"], tried.data["done"]) == (exits.OK, number, 0)
        one = run("job", verb, *filters, "--yes", "--limit", "1", "-o", "json")
        assert (one.code, one.data["done"], one.data["more"]) == (exits.OK, 1, True)
        rest = run("job", verb, *filters, "--yes", "-o", "json")
        assert (rest.code, rest.data["done"], rest.data["more"]) == (exits.OK, number - 1, False)
    assert len(run("job", "list", "--status", "cancelled", "-o", "jsonl").lines) == 3
    assert run("job", "delete", "--all", "--yes", "-o", "json").data["done"] == 3


def test_lists_and_retries_by_text_and_time(run: Run, own: Serving) -> None:
    assert len(run("job", "list", "--text", "user", "-o", "jsonl").lines) == 5
    assert len(run("job", "list", "--error", "no user 1", "-o", "jsonl").lines) == 1
    assert len(run("job", "list", "--finished-after", "2001-01-01T00:00:00Z", "-o", "jsonl").lines) == 2
    assert run("job", "list", "--finished-before", "2001-01-01T00:00:00Z", "-o", "json").data == []
    (first, *_) = run("job", "list", "--status", "dead_letter", "-o", "json").data
    tried = run("job", "retry", "--error", "no user", "--dry-run", "-o", "json")
    assert (tried.code, tried.data["matched"], tried.data["done"]) == (exits.OK, 2, 0)
    assert run("job", "retry", "--error", "no user", "-o", "json").data["done"] == 2
    own.until(first["id"], "dead_letter")
    assert run("job", "retry", "--status", "scheduled", "-o", "json").data["done"] == 3


def test_what_is_refused(run: Run, own: Serving) -> None:
    (job, *_) = run("job", "list", "--status", "dead_letter", "-o", "json").data
    for args, word in (
        (["cancel"], "Give ids of jobs, a filter, or --all"),
        (["delete", job["id"], "--queue", "mail"], "Give either ids or filters"),
        (["retry", "--finished-after", "2001-01-01T00:00:00"], "Append Z for UTC"),
        (["delete", "--status", "queued", "--yes"], "status"),
    ):
        refused = run("job", *args)
        assert (refused.code, refused.out) == (exits.USAGE, ""), args
        assert word in refused.err
    assert len(run("job", "list", "-o", "jsonl").lines) == 5


def test_the_client_that_waits_does_the_same(own: Serving) -> None:
    with SyncClient(own.url, "dev") as client:
        assert client.cancel_matching(queue="mail", limit=2).done == 2
        assert client.retry_matching(type="dead", dry_run=True).matched == 2
        assert client.delete_matching(status="cancelled").done == 2
        assert len(list(client.jobs(error="no user"))) == 2
