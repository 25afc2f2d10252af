"""`queuey dlq` against a real server."""

from __future__ import annotations

import pytest

from queuey import SyncClient
from queuey.cli import exits
from tests.e2e.conftest import Serve
from tests.support.command import Run
from tests.support.serving import Serving


@pytest.fixture
def dead(serve: Serve, monkeypatch: pytest.MonkeyPatch, run: Run) -> Serving:
    """A server whose dead-letter queue holds five jobs: four with one error and one with another."""
    own = serve(key="dev")
    monkeypatch.setenv("QUEUEY_URL", own.url)
    ids = [own.submit("dead", f"no user {number}") for number in range(4)] + [own.submit("sum", {"a": 1})]
    for job_id in ids:
        own.until(job_id, "dead_letter")
    return own


def test_list_and_groups(run: Run, dead: Serving) -> None:
    listed = run("dlq", "list", "-o", "json").data
    assert len(listed) == 5
    groups = run("dlq", "groups", "-o", "json").data
    assert sorted((group["type"], group["count"]) for group in groups) == [("dead", 4), ("sum", 1)]
    (users,) = [group["fingerprint"] for group in groups if group["type"] == "dead"]
    assert len(run("dlq", "list", "--fingerprint", users, "-o", "jsonl").lines) == 4
    assert len(run("dlq", "list", "--type", "sum", "-o", "jsonl").lines) == 1
    assert len(run("dlq", "list", "--limit", "2", "-o", "jsonl").lines) == 2
    assert run("dlq", "list", "--older-than", "1h", "-o", "json").data == []
    head, *rows = run("dlq", "list").out.splitlines()
    assert head.split()[:3] == ["ID", "TYPE", "QUEUE"]
    assert len(rows) == 5


def test_replay(run: Run, dead: Serving) -> None:
    tried = run("dlq", "replay", "--type", "dead", "--dry-run", "-o", "json")
    assert (tried.code, tried.data["matched"], tried.data["done"]) == (exits.OK, 4, 0)
    assert all(job["attempts"] == 1 for job in run("dlq", "list", "-o", "json").data)
    (sum_id,) = [job["id"] for job in run("dlq", "list", "--type", "sum", "-o", "json").data]
    before = dead.job(sum_id)["finished_at"]
    ran = run("dlq", "replay", "--type", "dead", "--rate", "1000", "-o", "json")
    assert (ran.code, ran.data["matched"], ran.data["done"]) == (exits.OK, 4, 4)
    assert dead.job(sum_id)["finished_at"] == before


def test_delete_is_asked_for_twice(run: Run, dead: Serving) -> None:
    asked = run("dlq", "delete", "--type", "dead", "-o", "json")
    assert (asked.code, asked.data["matched"], asked.data["done"]) == (exits.USAGE, 4, 0)
    assert "--yes" in asked.err
    assert len(run("dlq", "list", "-o", "jsonl").lines) == 5
    done = run("dlq", "delete", "--type", "dead", "--yes", "-o", "json")
    assert (done.code, done.data["done"]) == (exits.OK, 4)
    assert [job["type"] for job in run("dlq", "list", "-o", "json").data] == ["sum"]


def test_edit(run: Run, dead: Serving) -> None:
    (job,) = run("dlq", "list", "--type", "sum", "-o", "json").data
    kept = run("job", "edit", job["id"], '{"a": 1, "b": 1}', "-o", "json")
    assert (kept.code, kept.data) == (exits.OK, {"job_id": job["id"], "status": "dead_letter"})
    assert dead.job(job["id"])["payload"] == {"a": 1, "b": 1}
    again = run("job", "edit", job["id"], '{"a": 1, "b": 2}', "--requeue", "-o", "json")
    assert again.data["status"] == "queued"
    assert dead.until(job["id"], "succeeded")["result"] == 3
    late = run("job", "edit", job["id"], "null")
    assert (late.code, late.out) == (exits.WRONG_STATE, "")


def test_the_client_that_waits_does_the_same(dead: Serving) -> None:
    with SyncClient(dead.url, "dev") as client:
        assert sorted(job.type for job in client.dlq()) == ["dead"] * 4 + ["sum"]
        assert [group.count for group in client.dlq_groups(type="dead").groups] == [4]
        assert client.dlq_delete(type="dead", limit=3).done == 3
        (job,) = client.dlq(type="sum")
        assert client.edit(job.id, None).status == "dead_letter"
        assert bytes(client.get(job.id).payload) == b"null"
        assert client.dlq_replay(type="sum", dry_run=True).matched == 1
