"""`queuey job` with tags and metadata, and lists by dedupe key and age."""

from __future__ import annotations

import json

import pytest

from queuey.cli import exits
from tests.support.command import Run
from tests.support.serving import Serving


def test_tags_and_metadata(run: Run, server: Serving) -> None:
    flags = ["--queue", "cli-tags", "--tag", "vip", "--tag", "customer:42", "--metadata", "tenant=a=b"]
    job_id = run("job", "enqueue", "echo", *flags, "--metadata", "request_id=r 1", "-o", "json").data["job_id"]
    run("job", "enqueue", "echo", "--queue", "cli-tags", "--tag", "vip")
    job = server.job(job_id)
    assert (job["tags"], job["metadata"]) == (["vip", "customer:42"], {"tenant": "a=b", "request_id": "r 1"})
    listed = run("job", "list", "--queue", "cli-tags", "--tag", "customer:42", "-o", "jsonl").lines
    assert [found["id"] for found in listed] == [job_id]
    shown = dict(line.split(maxsplit=1) for line in run("job", "get", job_id).out.splitlines())
    assert shown["tags"] == "vip, customer:42"
    assert json.loads(shown["metadata"]) == job["metadata"]


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--metadata", "tenant"], exits.USAGE, "--metadata: 'tenant' has no value. Write KEY=VALUE."),
        (["--metadata", "a=1", "--metadata", "a=2"], exits.USAGE, "--metadata: 'a' is given twice. Leave one out."),
        (["--tag", "a b"], exits.USAGE, "the first is a letter or digit"),
        (["--tag", "a", "--tag", "a"], exits.USAGE, "The tag 'a' is there twice. Leave one out."),
    ],
)
def test_labels_that_are_refused(run: Run, server: Serving, flags: list[str], code: int, message: str) -> None:
    ran = run("job", "enqueue", "echo", *flags)
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err


def test_jobs_of_a_dedupe_key_and_an_age(run: Run, server: Serving) -> None:
    keyed = server.submit("echo", queue="cli-keys", delay=3600, dedupe_key="cli-keys:1")
    server.submit("echo", queue="cli-keys", delay=3600)
    found = run("job", "list", "--dedupe-key", "cli-keys:1", "--younger-than", "1h", "-o", "json").data
    assert [job["id"] for job in found] == [keyed]
    assert run("job", "list", "--dedupe-key", "cli-keys:1", "--older-than", "1h", "-o", "json").data == []
