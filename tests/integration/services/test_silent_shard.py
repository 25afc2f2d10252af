"""Maintenance of several shards, one of which does not answer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from queuey.errors import StoreUnavailable
from queuey.lifecycle import Tasks
from queuey.metrics import Metrics
from queuey.server.roles import Common, ReaperRole
from queuey.services.jobs.submission import Submission, SubmissionSettings
from queuey.services.maintenance.reaper import Reaper
from queuey.services.maintenance.shard_watch import ShardWatch, SilentShards
from queuey.services.maintenance.store_watch import StoreWatch
from queuey.services.maintenance.unknown_types import UnknownTypes
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker
from queuey.store.scripts import Scripts
from queuey.worker.handlers.app import App
from tests.support.connections.silent import Apart, BlackHole, id_on, shards_at
from tests.support.scripts.schedules import MINUTE, Timetable
from tests.support.store import Rig, Server
from tests.support.working import Clock, eventually

SILENT = 1
DAY = 24 * 3_600_000


@pytest.fixture
def shards() -> int:
    return 3


@pytest.fixture
async def broker(server: Server, hole: BlackHole) -> AsyncIterator[Broker]:
    async with shards_at(server.url, 3, Apart(hole, SILENT, 0.5)) as shards:
        yield Broker(shards, Scripts())


async def expired(rig: Rig, shard: int) -> str:
    """A job on this shard whose lease has expired."""
    rig.shard, rig.keys = shard, rig.broker.shards.keys[shard]
    (job_id,) = await rig.add(id=id_on(rig.broker.shards, shard), now=0)
    await rig.claim(now=0, lease_ms=1)
    return job_id


async def crashes(rig: Rig, job_id: str) -> int:
    rig.shard = rig.broker.shards.of_job(job_id)
    return int((await rig.state(job_id)).get("x", "0"))


def store_watch_of(broker: Broker) -> StoreWatch:
    return StoreWatch(broker, 0, lambda full: None)


async def test_the_chores_of_the_others_go_on(rig: Rig, broker: Broker, hole: BlackHole) -> None:
    """And those of the silent one do their work when it answers again."""
    jobs = [await expired(rig, shard) for shard in range(3)]
    due = []
    for rig.shard in range(3):
        due += await rig.add(id=id_on(rig.broker.shards, rig.shard), now=0, delay_ms=1, queue="timed")
    settings = Settings(lease=1.0, reap_interval=0.05)
    common: Any = type("Parts", (), {"settings": settings, "broker": broker, "metrics": Metrics(), "tasks": Tasks()})
    submission = Submission(SubmissionSettings.of(settings), lambda type: None)
    role = ReaperRole(cast(Common, common), store_watch_of(broker), App(), submission, lambda: False)
    hole.silence()
    await role.start()

    async def on_the_others() -> bool:
        found = [await crashes(rig, job_id) for job_id in jobs]
        return found == [1, 0, 1] and await promoted() == [True, False, True]

    async def promoted() -> list[bool]:
        rows = [await rig.broker.queues.queue_status(shard, ["timed"]) for shard in range(3)]
        return [head.ready_for_ms >= 0 for (head,) in rows]

    async def on_all() -> bool:
        return [await crashes(rig, job_id) for job_id in jobs] == [1, 1, 1] and all(await promoted())

    try:
        await eventually(on_the_others)
        assert common.metrics.reaped[SILENT] == 0 < common.metrics.reaped[2]
        hole.speak()
        await eventually(on_all)
    finally:
        await common.tasks.end()


async def test_next_ticks_are_corrected_on_the_others(rig: Rig, broker: Broker, hole: BlackHole) -> None:
    """The chore of each shard is its own: one for all would not come to those behind the silent one."""
    rig.shard = SILENT + 1
    rig.keys = rig.broker.shards.keys[rig.shard]
    plan = Timetable(rig)
    await plan.open_gate()
    wrong = (time.time_ns() // 1_000_000 + 30 * DAY) // MINUTE * MINUTE + 1
    berlin = '{"cron":"30 2 * * *","timezone":"Europe/Berlin","job":{"type":"t"}}'
    await plan.put(spec=berlin, next=wrong)
    common: Any = type("Parts", (), {"settings": Settings(), "broker": broker, "metrics": Metrics(), "tasks": Tasks()})
    submission = Submission(SubmissionSettings.of(Settings()), lambda type: None)
    role = ReaperRole(cast(Common, common), store_watch_of(broker), App(), submission, lambda: False)
    hole.silence()
    await role.start()

    async def is_corrected() -> bool:
        return (await plan.get()).next_ms < wrong

    try:
        await eventually(is_corrected)
    finally:
        hole.speak()
        await common.tasks.end()


async def test_leases_of_a_shard_that_was_away_are_spared(
    rig: Rig, broker: Broker, hole: BlackHole, clock: Clock
) -> None:
    """Nobody could renew them. Those of the others are not."""
    jobs = [await expired(rig, shard) for shard in range(3)]
    watches = [ShardWatch(broker, shard, 30) for shard in range(3)]
    reapers = [
        Reaper(broker, store_watch_of(broker), 5, 0, metrics=Metrics(), only=watches[shard]) for shard in range(3)
    ]
    hole.silence()
    clock.now += 20
    with pytest.raises(StoreUnavailable):
        await reapers[SILENT].run_once()
    hole.speak()
    clock.now += 1
    with capture_logs() as logs:
        for reaper in reapers:
            await reaper.run_once()
    assert [log["away_seconds"] for log in logs if log["event"] == "shard_back"] == [21.0]
    assert [await crashes(rig, job_id) for job_id in jobs] == [1, 0, 1]
    clock.now += 30
    await reapers[SILENT].run_once()
    assert [await crashes(rig, job_id) for job_id in jobs] == [1, 1, 1]


async def test_lists_set_aside_of_the_others_are_looked_at(rig: Rig, broker: Broker, hole: BlackHole) -> None:
    for rig.shard in range(3):
        rig.keys = rig.broker.shards.keys[rig.shard]
        await rig.add(id=id_on(rig.broker.shards, rig.shard))
        await rig.name_asides(("default", "gone"))
    hole.silence()
    with pytest.raises(StoreUnavailable, match=f"Shard {SILENT}"):
        await UnknownTypes(broker, 600).run_once()
    named = [await rig.client.hget(keys.queue("default"), "aside") for keys in rig.broker.shards.keys]
    assert [bool(names) for names in named] == [False, True, False]


async def test_a_silent_shard_is_asked_until_it_answers(broker: Broker, hole: BlackHole) -> None:
    hole.silence()
    await broker.ask(0)
    with pytest.raises(StoreUnavailable):
        await broker.ask(SILENT)
    assert broker.silent == {SILENT}
    await SilentShards(broker).run_once()
    assert broker.silent == {SILENT}
    hole.speak()
    await SilentShards(broker).run_once()
    assert broker.silent == set()
