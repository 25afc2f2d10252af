"""One load, one queue, and workers of every kind on it: in a server, and over HTTP in Python, in bash and in Node.

One of each kind is killed while it runs jobs. Every job ends exactly once.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from queuey.broker import Broker
from queuey.scripts import Scripts
from queuey.shards import Shards
from queuey.store_socket import SOCKET_NAME
from tests.e2e.conftest import Serve
from tests.support import mixed_jobs
from tests.support.pull_workers import PullWorker, node
from tests.support.serving import ROOT, Serving, eventually
from tests.support.store import client_for

JOBS: Final = 400
NAP: Final = 0.5
"""Seconds that a job takes: long enough for a kill to hit some."""
LEASE: Final = 1.5
KINDS: Final = ("process", "python", "bash", "rested")
"""What the jobs of each kind of worker result in; the one in Node says `rested`."""
NAP_IN_BASH: Final = "import json, sys, time; time.sleep(json.load(sys.stdin)['seconds']); print('\"bash\"')"

Start = Callable[[list[str]], PullWorker]


@pytest.fixture
def start(folder: Path, api: Serving) -> Iterator[Start]:
    workers: list[PullWorker] = []

    def started(command: list[str]) -> PullWorker:
        workers.append(PullWorker(command, api.url, folder / "workers.log", lease=LEASE))
        return workers[-1]

    yield started
    for worker in workers:
        worker.close()
    print((folder / "workers.log").read_text())


@pytest.fixture
def api(serve: Serve) -> Serving:
    """It answers HTTP, reaps, holds the store, and runs no handler."""
    return serve("--roles", "api,reaper", "--reap-interval", "200ms", "--reap-delay-max", "50ms", app=None)


def in_server(serve: Serve) -> Serving:
    flags = ("--roles", "worker", "--lease", f"{LEASE}s", "--concurrency", "4", "--queues", "default")
    return serve(*flags, app=mixed_jobs.PATH, variables={mixed_jobs.WHO: "process"})


def over_http(start: Start, monkeypatch: pytest.MonkeyPatch) -> dict[str, PullWorker]:
    monkeypatch.setenv(mixed_jobs.WHO, "python")
    python = [sys.executable, "-m", "queuey", "work", "--app", mixed_jobs.PATH, "--lease", f"{LEASE}s"]
    bash = [str(ROOT / "examples" / "pull-worker.sh"), "default", sys.executable, "-c", NAP_IN_BASH]
    return {
        "python": start([*python, "--concurrency", "4"]),
        "bash": start(bash),
        "rested": start(node("default")),
    }


def jobs_of(api: Serving) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = []
    page: dict[str, Any] = {"next": None}
    while page["next"] is not None or not jobs:
        cursor = {"cursor": page["next"]} if page["next"] is not None else {}
        page = api.http.get("/v1/jobs", params={"limit": 500, **cursor}).json()
        jobs += page["jobs"]
    return jobs


def results(api: Serving) -> Counter[str]:
    return Counter(job["result"] for job in jobs_of(api) if job["status"] == "succeeded")


@pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("bash", "curl", "node")), reason="bash, curl or Node is missing"
)
def test_every_job_ends_once_whoever_runs_it_and_dies(
    serve: Serve, api: Serving, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    mortal, immortal = in_server(serve), in_server(serve)
    mortals, immortals = over_http(start, monkeypatch), over_http(start, monkeypatch)
    ids = [api.submit("sleep", {"seconds": NAP}) for _ in range(JOBS)]
    eventually(lambda: all(results(api)[kind] for kind in KINDS))
    mortal.process.kill()
    for worker in mortals.values():
        worker.kill()
    eventually(lambda: sum(results(api).values()) == JOBS, within=60)
    jobs = {job["id"]: job for job in jobs_of(api)}
    assert set(jobs) == set(ids)
    assert all(job["attempts"] == 0 for job in jobs.values()), "no kill is a failed attempt"
    crashed = [job for job in jobs.values() if job["crashes"]]
    assert crashed, "the kills hit nothing"
    assert {error["kind"] for job in crashed for error in job["errors"]} == {"lease_lapsed"}
    assert set(results(api)) == set(KINDS)
    assert asyncio.run(counters(api))["succeeded"] == JOBS, "one accepted end for each"
    assert immortal.process.poll() is None
    assert all(worker.terminate() == 0 for worker in immortals.values())


async def counters(api: Serving) -> dict[str, int]:
    """The store's own count of what ended how."""
    client = client_for(f"unix://{api.data_dir / SOCKET_NAME}")
    try:
        stats = await Broker(Shards(client), Scripts()).stats(0)
    finally:
        await client.aclose()
    return {name: total for name, total, _ in stats.counters}
