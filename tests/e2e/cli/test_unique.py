"""`queuey job enqueue` with a unique key."""

from __future__ import annotations

from tests.support.command import Run
from tests.support.serving import Serving


def test_enqueue_makes_a_job_unique(run: Run, server: Serving) -> None:
    flags = ["--queue", "cli-idle", "--unique-key", "cli:2", "-o", "json"]
    first = run("job", "enqueue", "echo", "1", *flags).data
    assert server.job(first["job_id"])["unique"] == {"key": "cli:2", "until": "finished", "ttl": 2592000.0}
    replaced = run("job", "enqueue", "echo", "2", *flags, "--on-conflict", "replace").data
    assert replaced == {"job_id": first["job_id"], "deduplicated": True, "replaced": "payload"}
    flags = ["--queue", "cli-idle", "--unique-key", "cli:3", "-o", "json"]
    debounced = run("job", "enqueue", "echo", *flags, "--debounce", "1h", "--max-wait", "2h").data
    assert server.job(debounced["job_id"])["status"] == "scheduled"
    flags = ["--queue", "cli-idle", "--unique-key", "cli:4", "-o", "json"]
    throttled = run("job", "enqueue", "echo", *flags, "--throttle", "1h").data
    assert server.job(throttled["job_id"])["unique"] == {"key": "cli:4", "until": "ttl", "ttl": 3600.0}
