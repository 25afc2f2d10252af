"""The scripts beside the clock of the testing kit: the same schedule and the same failures give the same attempts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from queuey import App, Context, Retry, Schedule, Testing
from queuey.protocol.records import NewJob
from queuey.services.schedules.specs import TICK
from tests.scripts.schedules.test_fire_overlaps import OVERLAPS
from tests.support.scripts.schedules import MINUTE, Timetable
from tests.support.store import NOW, Rig
from tests.support.stores import one_of

kind, shards = one_of("valkey"), one_of(1)
STEP, END = 10_000, 12 * MINUTE
FAILURES = {"first": (1,), "twice": (1, 2), "never": ()}
Attempts = list[tuple[int, int, int]]
"""Time, tick and attempt, in ms since NOW."""


async def by_kit(overlap: Any, wait: int, failing: tuple[int, ...]) -> Attempts:
    app = App()

    @app.job("t", schedules=[Schedule(every=60, overlap=overlap)], max_attempts=9)
    async def handler(job: None, ctx: Context) -> str:
        if ctx.attempt in failing:
            raise Retry(after=wait / 1000)
        return ""

    found: Attempts = []
    async with Testing(app, now=datetime.fromtimestamp(NOW / 1000, UTC)) as testing:
        ticks: dict[str, int] = {}
        run = testing._attempt

        async def noting(request: Any, attempt: int, checkpoint: Any) -> Any:
            tick = datetime.fromisoformat(request.metadata[TICK])
            ticks[request.id] = round(tick.timestamp() * 1000) - NOW
            at = round(testing.now.timestamp() * 1000) - NOW
            found.append((at, ticks[request.id], attempt))
            return await run(request, attempt, checkpoint)

        testing._attempt = noting  # type: ignore[method-assign]
        await testing.advance(END / 1000)
    return found


async def by_scripts(rig: Rig, plan: Timetable, overlap: Any, wait: int, failing: tuple[int, ...]) -> Attempts:
    """Replay it with a worker that takes each job at once, in steps of ten seconds."""
    await plan.put(next=NOW + MINUTE)
    ticks: dict[str, int] = {}
    found: Attempts = []
    for now in range(NOW, NOW + END + 1, STEP):
        while True:
            if claimed := (await rig.claim(now=now)).jobs:
                (job,) = claimed
                found.append((now - NOW, ticks[job.id] - NOW, job.attempt))
                if job.attempt in failing:
                    await rig.broker.leases.fail(rig.shard, [(job.id, job.token, "{}", wait, False)], now=now)
                else:
                    await rig.broker.leases.complete(rig.shard, [(job.id, job.token, "")], now=now)
                continue
            found_due = await plan.broker.schedules.due_schedules(rig.shard, now=now)
            firings = [plan.firing(each.pending_ms, kind="pending", overlap=overlap) for each in found_due.pending] or [
                plan.firing(each.next_ms, overlap=overlap) for each in found_due.due
            ]
            if not firings:
                break
            (firing,) = firings
            assert isinstance(firing.job, NewJob)
            ticks[firing.job.id] = firing.tick_ms
            await plan.fire(firing, now=now)
    return found


@pytest.mark.parametrize("failing", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("wait", [150_000, 60_000, 30_000])
@pytest.mark.parametrize("overlap", OVERLAPS)
async def test_both_run_the_same_attempts(
    rig: Rig, plan: Timetable, overlap: str, wait: int, failing: tuple[int, ...]
) -> None:
    expected = await by_scripts(rig, plan, overlap, wait, failing)
    assert len(expected) >= 4
    assert await by_kit(overlap, wait, failing) == expected
