"""`queuey job enqueue --batch-key`: items of a batch from a shell."""

from __future__ import annotations

from queuey.cli import exits
from tests.support.command import Run
from tests.support.serving import Serving

FLAGS = ("--batch-key", "cli-rows", "--batch-size", "3", "--batch-wait", "10m", "--queue", "cli-idle")


def test_items_of_a_batch(run: Run, server: Serving) -> None:
    first = run("job", "enqueue", "rows", "1", *FLAGS, "-o", "json")
    assert first.data["items"] == 1
    second = run("job", "enqueue", "rows", "2", *FLAGS)
    assert second.out.split() == ["job_id", first.data["job_id"], "deduplicated", "no", "items", "2"]
    job = server.job(first.data["job_id"])
    assert (job["payload"], job["batch_key"], job["status"]) == ([1, 2], "cli-rows", "scheduled")
    shown = run("job", "explain", first.data["job_id"], "-o", "json")
    assert shown.data["reason"] == "waits_for_items"


def test_a_batch_needs_all_its_flags(run: Run) -> None:
    ran = run("job", "enqueue", "rows", "--batch-key", "k", "--batch-wait", "5s")
    assert ran.code == exits.USAGE
    assert "--batch-size: is missing. A batch needs --batch-key, --batch-size, --batch-wait." in ran.err
