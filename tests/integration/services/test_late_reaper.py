"""A store that falls silent while the reaper calls it runs that call when it is back. No lease may end by it."""

from __future__ import annotations

import asyncio
import time

import pytest

from queuey.errors import StoreUnavailable
from queuey.metrics import Metrics
from queuey.services.maintenance.reaper import Reaper
from queuey.services.maintenance.store_watch import StoreWatch
from queuey.store.broker.broker import Broker
from queuey.store.shards import Shards
from tests.support.store import HOUR, Rig
from tests.support.working import Clock, FaultyScripts


async def lapsed(rig: Rig) -> str:
    """A running job whose lease has lapsed, by the store's clock."""
    (job_id,) = await rig.add()
    await rig.claim(now=int(time.time() * 1000) - HOUR)
    return job_id


def reaper_of(rig: Rig, scripts: FaultyScripts, lease: float) -> tuple[Reaper, StoreWatch]:
    broker = Broker(Shards(rig.client), scripts)
    watch = StoreWatch(broker, lease, lambda full: None)
    return Reaper(broker, watch, 5, 0, metrics=Metrics()), watch


async def test_a_call_that_reaches_the_store_late_ends_no_lease(rig: Rig, clock: Clock) -> None:
    reaper, _ = reaper_of(rig, FaultyScripts(), 0)
    job_id = await lapsed(rig)
    await reaper.run_once()
    assert (await rig.state(job_id))["x"] == "1"
    other = await lapsed(rig)
    clock.now -= 10  # the store gets the next call ten seconds after it was sent
    await reaper.run_once()
    assert "x" not in await rig.state(other)
    await reaper.run_once()
    assert (await rig.state(other))["x"] == "1"


async def test_a_slow_reply_does_not_excuse_the_next_call(rig: Rig, clock: Clock) -> None:
    scripts = FaultyScripts()
    reaper, _ = reaper_of(rig, scripts, 0)
    await reaper.run_once()
    gate = scripts.gates["reap"] = asyncio.Event()
    slow = asyncio.create_task(reaper.run_once())
    await scripts.waiting.get()
    clock.now += 4
    gate.set()
    await slow
    job_id = await lapsed(rig)
    clock.now -= 4  # the store gets the next call four seconds after it was sent
    await reaper.run_once()
    assert "x" not in await rig.state(job_id)


async def test_a_silence_that_only_the_reaper_met_spares_the_leases(rig: Rig, clock: Clock) -> None:
    """Its watch asks before each run, so it may find the store there before and after."""
    scripts, job_id = FaultyScripts(), await lapsed(rig)
    reaper, watch = reaper_of(rig, scripts, 30)
    await watch.run_once()
    clock.now += 60  # long after the store was started
    await watch.run_once()
    scripts.calls_to_lose["reap"] = 1
    with pytest.raises(StoreUnavailable):
        await reaper.run_once()
    clock.now += 11
    assert await reaper.run_once() == 5
    assert "x" not in await rig.state(job_id)
    assert 29 <= watch.reap_after - clock.now <= 30
