"""One queue for all: handlers in the server, and workers in Python, bash and Node that pull, some of each killed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Serve
from tests.support import jobs
from tests.support.pull.workers import PullWorker, bash, node
from tests.support.serving import Serving, eventually

JOBS = 800
PARTS = 4
QUEUE = "pulled"
LEASE = 2
KINDS = ("python", "bash", "node")

pytestmark = pytest.mark.needs("bash", "curl", "node")


def command(kind: str, url: str) -> list[str]:
    if kind == "python":
        flags = ["--url", url, "--app", jobs.PATH, "--queues", QUEUE, "--concurrency", "4"]
        return [sys.executable, "-m", "queuey", "work", *flags]
    return bash(QUEUE) if kind == "bash" else node(QUEUE)


@pytest.fixture
def api(serve: Serve) -> Serving:
    flags = ("--queues", QUEUE, "--concurrency", "2", "--lease", "2s", "--reap-interval", "200ms")
    return serve("--processes", "2", *flags, "--reap-delay-max", "50ms")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_every_job_ends_once_whoever_does_it_and_whoever_is_killed(
    api: Serving, stack: ExitStack, folder: Path
) -> None:
    def start(kind: str) -> PullWorker:
        worker = PullWorker(command(kind, api.url), api.url, folder / f"{kind}.log", lease=LEASE)
        stack.callback(worker.close)
        return worker

    def finished() -> int:
        """-1 where the connection was to the replica that is killed."""
        try:
            queues = {queue["name"]: queue for queue in api.http.get("/v1/queues/metrics").json()["queues"]}
        except httpx.TransportError:
            return -1
        return int(queues[QUEUE]["finished"]) if QUEUE in queues else 0

    workers = {kind: start(kind) for kind in KINDS}
    sent: list[str] = []
    for part in range(PARTS):
        body = [{"type": "sleep", "queue": QUEUE, "payload": {"seconds": 0.05}}] * (JOBS // PARTS)
        reply = api.http.post("/v1/jobs/batch", json=body)
        sent += [item["job_id"] for item in reply.json()["results"]]
        wanted = (part + 0.5) * JOBS // PARTS
        eventually(lambda least=wanted: finished() > least)  # type: ignore[misc]
        if part < len(KINDS):
            workers[KINDS[part]].kill()
            workers[KINDS[part]] = start(KINDS[part])
        else:
            os.kill(api.event("started")["pids"][0], signal.SIGKILL)
    eventually(lambda: finished() == JOBS, lambda: f"{finished()} are finished", within=60)
    shown = [api.http.get(f"/v1/jobs/{job_id}").json() for job_id in sent]
    assert {(job["status"], job["result"]) for job in shown} == {("succeeded", "rested")}
    assert finished() == JOBS == len(set(sent))
    assert "anonymous-127.0.0.1" in {job["worker"] for job in shown}
    assert {job["worker"] for job in shown} & {event["replica"] for event in api.events("replica_started")}
