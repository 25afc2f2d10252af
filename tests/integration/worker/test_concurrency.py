"""`concurrency` of a type: never more of its jobs at a time, all are done, and none is claimed before it can begin."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any, Literal

import pytest

from queuey.store import wakeups as waking
from queuey.worker.handlers.app import App
from queuey.worker.handlers.context import Context
from queuey.worker.worker import Worker
from tests.support.store import Rig, Server
from tests.support.stores import one_of
from tests.support.working import ROUND, body, eventually, working

shards = one_of(1)


@pytest.fixture(autouse=True)
def long_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "BLOCK_SECONDS", ROUND)


class Counts:
    """Counts the handlers that run at the same time, by their type or queue.

    `most` has their peaks, `all` that of all together, and `held` those of the jobs that the worker had claimed.
    """

    def __init__(self, of: Literal["type", "queue"] = "type") -> None:
        self._of = of
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self.held_in_threads = 0
        self.all = 0
        self.done: Counter[str] = Counter()
        self.worker: Worker | None = None
        self._lock = threading.Lock()

    def enter(self, name: str) -> None:
        with self._lock:
            self.running[name] += 1
            self.most[name] = max(self.most[name], self.running[name])
            self.all = max(self.all, self.running.total())
            if self.worker is not None:
                held = Counter(
                    getattr(held.work, self._of) for held in [*self.worker.running.values()] if not held.ended_at
                )
                self.held |= held
                self.held_in_threads = max(self.held_in_threads, held.total() - held["loop"])

    def leave(self, name: str) -> None:
        with self._lock:
            self.running[name] -= 1
            self.done[name] += 1


async def all_done(rig: Rig, count: int) -> None:
    async def finished() -> bool:
        return (await rig.row())["finished"] == count

    await eventually(finished)


@pytest.mark.parametrize("kind", ["valkey"])
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("gate", [True, False])
async def test_threads_are_shared_within_the_limits(rig: Rig, server: Server, threads: int, gate: bool) -> None:
    """With and without lists set aside. One type has no limit, and one of the others a limit that never counts."""
    if gate:
        await rig.open_gate()
    app, counts = App(), Counts()
    limits = {"a": 2, "b": 1, "c": None, "d": 10}
    for type, limit in limits.items():

        @app.job(type, concurrency=limit)
        def handler(payload: Any, ctx: Context) -> None:
            counts.enter(ctx.type)
            counts.leave(ctx.type)

    @app.job("loop")
    async def in_loop(payload: Any) -> None:
        """Makes the claims larger than the number of threads."""

    jobs = [job for _ in range(8) for type in (*limits, "loop") for job in await rig.add(2, now=0, body=body(type))]
    async with working(server.url, app, threads=threads, concurrency=20, listener=True) as worker:
        counts.worker = worker
        await all_done(rig, len(jobs))
    assert counts.done == dict.fromkeys(limits, 16)
    assert counts.all <= threads
    assert counts.held_in_threads <= threads, "no thread was offered twice"
    for type, limit in limits.items():
        assert counts.most[type] <= (limit or threads)
        assert counts.held[type] <= (limit or threads), "no more were claimed than could begin"
    for job in jobs:
        assert "R" not in await rig.state(job), "none was given back"


@pytest.mark.parametrize("kind", ["valkey"])
async def test_a_type_in_the_event_loop_is_full_and_the_others_go_on(rig: Rig, server: Server) -> None:
    await rig.open_gate()
    app, counts, go_on = App(), Counts(), asyncio.Event()
    full = asyncio.Event()

    @app.job("slow", concurrency=3)
    async def slow(payload: Any, ctx: Context) -> None:
        counts.enter("slow")
        if counts.running["slow"] == 3:
            full.set()
        await go_on.wait()
        counts.leave("slow")

    @app.job("quick")
    async def quick(payload: Any) -> None:
        counts.enter("quick")
        counts.leave("quick")

    await rig.add(10, now=0, body=body("slow"))
    await rig.add(10, now=0, body=body("quick"))
    async with working(server.url, app, concurrency=20, listener=True) as worker:
        await full.wait()
        await rig.add(30, now=0, body=body("quick"))
        await all_done(rig, 40)
        assert counts.done == {"quick": 40}
        assert [each.work.type for each in worker.running.values() if not each.ended_at] == ["slow"] * 3
        go_on.set()
        await all_done(rig, 50)
    assert counts.most["slow"] == 3
    assert counts.done["slow"] == 10
