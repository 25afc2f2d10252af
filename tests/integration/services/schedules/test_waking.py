"""When the loop looks for due ticks: an idle one sends nothing, and learns of other ticks by messages and replies."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from queuey.errors import StoreUnavailable
from queuey.lifecycle import Tasks
from queuey.metrics import Metrics
from queuey.server.roles import Common, ReaperRole
from queuey.services.maintenance.loops import run_forever
from queuey.services.maintenance.promoter import Promoter
from queuey.services.maintenance.store_watch import StoreWatch
from queuey.services.schedules.firing import firer as firing
from queuey.services.schedules.firing.firer import WAIT_SECONDS
from queuey.settings.settings import Settings
from queuey.store.keys import ticks_channel
from queuey.store.pubsub import Subscriber
from queuey.worker.handlers.app import App
from tests.integration.services.schedules.conftest import MINUTE, Plans, Replica, submission
from tests.support.store import HOUR, NOW, SECOND, Rig
from tests.support.stores import SHARDS, one_of
from tests.support.working import eventually

shards = one_of(*SHARDS)
FAR = 1_000_000_000.0


def now() -> int:
    return time.time_ns() // 1_000_000


class Running:
    """The reaper's part of a replica. `calls` counts the scripts that it has called."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.calls, self.tasks, self.metrics = rig, Counter[str](), Tasks(), Metrics()
        parts = {"settings": Settings(), "broker": rig.broker, "metrics": self.metrics, "tasks": self.tasks}
        watch = StoreWatch(rig.broker, 30, lambda full: None)
        self.role = ReaperRole(cast(Common, type("Parts", (), parts)), watch, App(), submission(), lambda: False)
        self.firers = self.role._firers

    async def promote(self) -> None:
        """Let a promoter look at each shard once."""
        for shard in range(self.rig.broker.shards.count):
            await Promoter(self.rig.broker, only=shard, on_ticks=self.role._expect_ticks).run_once()

    def start(self) -> None:
        """Start the loops that fire, and nothing else."""
        for firer in self.firers:
            self.tasks.spawn("firer", run_forever(firer))

    def wakes_in(self, shard: int) -> float:
        return self.firers[shard]._wake_at - asyncio.get_running_loop().time()


@pytest.fixture
async def running(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    running = Running(rig)
    call = rig.broker.scripts.call

    async def counted(client: Any, name: str, *arguments: Any) -> Any:
        running.calls[name] += 1
        return await call(client, name, *arguments)

    monkeypatch.setattr(rig.broker.scripts, "call", counted)
    yield running
    await running.tasks.end()


async def test_an_idle_replica_sends_nothing_more(rig: Rig, plans: Plans, running: Running) -> None:
    """The reply to promote, which it sends anyway, says when the next tick is due."""
    for number in range(20):
        await plans.put(plans.named(f"n{number}-"), next=now() + HOUR)
    await running.promote()
    running.calls.clear()
    running.start()
    for _ in range(3):
        await asyncio.sleep(0)
        await running.promote()
    assert running.calls == {"promote": 3 * rig.broker.shards.count}
    assert HOUR / 1000 - 60 < running.wakes_in(rig.shard) <= HOUR / 1000
    others = set(range(rig.broker.shards.count)) - {rig.shard}
    assert all(running.wakes_in(shard) > FAR for shard in others)


async def test_ticks_that_wait_are_looked_at_once_a_second_on_all_shards_together(
    rig: Rig, plans: Plans, running: Running
) -> None:
    await plans.make(every=60, overlap="queue_one", created=now() - 2 * MINUTE - SECOND)
    stored = await plans.get()
    for tick in (stored.next_ms, stored.next_ms + MINUTE):
        firing = plans.firing(tick, mark=stored.mark, overlap="queue_one")
        await rig.broker.schedules.fire(rig.shard, [firing])
    assert await plans.waiting_ticks()
    await running.promote()
    seconds = WAIT_SECONDS * rig.broker.shards.count
    assert 0 < running.wakes_in(rig.shard) <= seconds


async def test_a_put_and_a_resume_tell_every_replica_of_an_earlier_tick(
    rig: Rig, plans: Plans, running: Running
) -> None:
    subscribed, heard = asyncio.Event(), asyncio.Queue[str]()

    async def on_open() -> None:
        subscribed.set()

    def hear(message: str) -> None:
        running.role.hear_ticks(message)
        heard.put_nowait(message)

    subscriber = Subscriber(rig.client, {ticks_channel(): hear}, on_open)
    running.tasks.spawn("subscriber", run_forever(subscriber))
    await subscribed.wait()
    await plans.put(next=now() + HOUR, now=0)
    message = await heard.get()
    shard, in_ms = map(int, message.split(" "))
    assert (shard, HOUR - 60_000 < in_ms <= HOUR) == (rig.shard, True)
    assert running.wakes_in(rig.shard) <= HOUR / 1000
    await plans.put("later" + plans.name, next=now() + 2 * HOUR, now=0)
    await heard.get()
    assert running.wakes_in(rig.shard) <= HOUR / 1000, "a later one changes nothing"
    await plans.pause(now=0)
    await plans.pause("", next=now() - 1, now=0)
    assert await heard.get() == f"{rig.shard} 0"
    assert running.wakes_in(rig.shard) <= 0


@pytest.mark.parametrize("message", ["", "0", "x 5", "0 x", "99 5", "0 -1", "0 5 6"])
async def test_a_message_that_means_nothing_changes_nothing(running: Running, message: str) -> None:
    running.role.hear_ticks(message)
    assert running.wakes_in(0) > FAR


async def test_the_loop_wakes_up_for_an_earlier_tick(rig: Rig, plans: Plans, running: Running) -> None:
    await plans.make(every=3600, created=now() - 2 * HOUR)
    running.firers[rig.shard].expect(HOUR)
    running.start()
    await asyncio.sleep(0)
    assert not running.calls["fire"]
    running.role.hear_ticks(f"{rig.shard} 0")

    async def fired() -> bool:
        return running.calls["fire"] == 1 and bool(await plans.history())

    await eventually(fired)
    assert (await plans.history())[-1].outcome == "fired"
    assert running.wakes_in(rig.shard) > 60, "it sleeps until the next tick"
    assert running.calls["due_schedules"] == 1


async def test_a_store_that_does_not_answer_is_asked_again(
    rig: Rig, plans: Plans, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    await plans.make(every=3600, created=now() - 2 * HOUR)
    fire, failures = rig.broker.schedules.fire, 2

    async def failing(*arguments: Any, **options: Any) -> Any:
        nonlocal failures
        if failures:
            failures -= 1
            raise StoreUnavailable("away")
        return await fire(*arguments, **options)

    monkeypatch.setattr(rig.broker.schedules, "fire", failing)
    running.start()
    running.firers[rig.shard].expect(0)

    async def fired() -> bool:
        return bool(await plans.history())

    await eventually(fired)
    assert failures == 0


@pytest.mark.parametrize("pages", [1, 50])
async def test_a_full_store_is_asked_again_after_a_while(
    plans: Plans, replica: Replica, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    """Also if more ticks are due than a run reads: the next run begins with the same ones."""
    monkeypatch.setattr(firing, "PAGE", 1)
    monkeypatch.setattr(firing, "PAGES", pages)
    for number in range(3):
        await plans.make(plans.named(f"due{number}"), every=60)
    replica.full = True
    await replica.look(NOW + MINUTE)
    in_seconds = replica._wake_at - asyncio.get_running_loop().time()
    assert 1 < in_seconds <= firing.FULL_SECONDS
