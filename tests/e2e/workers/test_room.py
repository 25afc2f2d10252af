"""Workers in processes of their own hold no more jobs than can begin: servers, and `queuey work`."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.workers.test_remote_worker import Work, boss, work
from tests.support.gate import Gate
from tests.support.serving import PATIENCE, Serving

__all__ = ("boss", "work")  # fixtures
KINDS = ("gate.thread", "gate.process")
ONE_EACH = ("--thread-slots", "1", "--process-slots", "1")


def running(server: Serving) -> Counter[str]:
    """How many jobs each worker runs, as the store says."""
    jobs = server.http.get("/v1/jobs", params={"status": "running", "limit": 100}).json()["jobs"]
    return Counter(job["worker"] for job in jobs)


async def run_eight(server: Serving, kind: str, gate: Gate) -> Counter[str]:
    """Let 8 jobs run two at a time. Returns how many each worker has run."""
    for _ in range(8):
        server.submit(kind, gate.path)
    ran: Counter[str] = Counter()
    for _ in range(4):
        async with asyncio.timeout(PATIENCE):
            visitors = [await gate.visitor(), await gate.visitor()]
        held = await asyncio.to_thread(running, server)
        assert sorted(held.values()) == [1, 1], "each runs one job, and holds no other"
        ran += held
        for visitor in visitors:
            visitor.let_go("done")
    return ran


@pytest.mark.parametrize("kind", KINDS)
async def test_two_servers_with_one_slot_run_half_of_the_jobs_each(serve: Serve, gate: Gate, kind: str) -> None:
    one, _ = serve(*ONE_EACH), serve(*ONE_EACH)
    assert sorted((await run_eight(one, kind, gate)).values()) == [4, 4]


@pytest.mark.parametrize("kind", KINDS)
async def test_two_remote_workers_with_one_slot_run_half_of_the_jobs_each(
    boss: Serving, work: Work, gate: Gate, kind: str
) -> None:
    for name in ("one", "two"):
        work(boss, "--name", name, *ONE_EACH)
    assert await run_eight(boss, kind, gate) == {"one": 4, "two": 4}
