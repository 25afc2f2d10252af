"""A claim whose answer comes late: its jobs are renewed before they start, and those that are lost do not."""

from __future__ import annotations

import asyncio
import time

import pytest

from queuey.worker import store_source
from tests.support.store import HOUR, Rig, Server
from tests.support.working import HELD, Clock, FaultyScripts, Stage, eventually, working

LATE = 0.4
"""Of a lease; a third is late."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(store_source, "time", clock)
    return clock


@pytest.mark.parametrize(("late", "renewed"), [(LATE, True), (0.3, False)])
async def test_a_job_whose_claim_was_answered_late_is_renewed_first(
    rig: Rig, server: Server, clock: Clock, late: float, renewed: bool
) -> None:
    (job,) = await rig.add(now=0, body=HELD)
    stage, scripts = Stage(), FaultyScripts()
    scripts.gates["claim"] = asyncio.Event()
    async with working(server.url, stage.app, scripts=scripts, lease=30.0):
        assert await scripts.waiting.get() == "claim"
        clock.now += 30 * late
        scripts.gates["claim"].set()
        assert await stage.next() == job
        token = (await rig.state(job))["h"]
        assert scripts.arguments("extend") == ([[0, 30_000, [[job, f"1.{token}"]]]] if renewed else [])
        stage.finish(job)


async def test_a_job_that_was_lost_meanwhile_does_not_start_with_its_old_token(
    rig: Rig, server: Server, clock: Clock
) -> None:
    (job,) = await rig.add(now=0, body=HELD)
    stage, scripts = Stage(), FaultyScripts()
    scripts.gates["claim"] = asyncio.Event()
    async with working(server.url, stage.app, scripts=scripts, lease=30.0):
        assert await scripts.waiting.get() == "claim"
        later = int(time.time() * 1000) + HOUR
        await rig.broker.maintenance.reap(rig.shard, 10, [0], now=later)
        await rig.broker.maintenance.promote(rig.shard, 10, now=later)
        clock.now += 30 * LATE
        scripts.gates["claim"].set()
        assert await stage.next() == job
        assert (await rig.state(job))["n"] == "2"
        stage.finish(job)
        await eventually(lambda: _finished(rig))
    assert stage.ran == [job]


async def test_a_renewal_that_fails_is_followed_by_the_same_claim(rig: Rig, server: Server, clock: Clock) -> None:
    (job,) = await rig.add(now=0, body=HELD)
    stage, scripts = Stage(), FaultyScripts()
    scripts.gates["claim"] = asyncio.Event()
    scripts.replies_to_drop["extend"] = 1
    async with working(server.url, stage.app, scripts=scripts, lease=30.0):
        assert await scripts.waiting.get() == "claim"
        clock.now += 30 * LATE
        scripts.gates["claim"].set()
        assert await stage.next() == job
        claim_ids = [arguments[1] for arguments in scripts.arguments("claim")]
        assert claim_ids[0] == claim_ids[1]
        assert len(scripts.arguments("extend")) == 2
        stage.finish(job)
    assert stage.ran == [job]


async def _finished(rig: Rig) -> bool:
    return (await rig.row())["finished"] == 1
