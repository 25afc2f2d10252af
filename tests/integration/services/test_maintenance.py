"""The chores of a replica: what one run does, and that the loop around it outlives the store's absence."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import msgspec
import pytest
from structlog.testing import capture_logs

from queuey.errors import StoreUnavailable
from queuey.lifecycle import end_tasks
from queuey.metrics import Metrics
from queuey.services.maintenance.heartbeat import Heartbeat
from queuey.services.maintenance.loops import Chore, run_forever
from queuey.services.maintenance.promoter import Promoter
from queuey.services.maintenance.reaper import Reaper
from queuey.services.maintenance.store_watch import StoreWatch
from queuey.services.maintenance.trimmer import Trimmer
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker
from queuey.store.replies import Caps, Vitals
from queuey.store.wakeups import BLOCK_SECONDS
from tests.support.store import HOUR, Rig
from tests.support.working import PATIENCE, Clock


@pytest.fixture
def shards() -> int:
    return 2


def ignore(_: bool) -> None:
    return None


async def on_both_shards(rig: Rig, count: int, **fields: object) -> list[str]:
    jobs = []
    for rig.shard in (0, 1):
        rig.keys = rig.broker.shards.keys[rig.shard]
        jobs += await rig.add(count, now=0, **fields)
    return jobs


# --- the loop ----------------------------------------------------------------------------------------------------


class Script:
    """A chore that does what the list says: raise, or return the seconds until the next run."""

    def __init__(self, *runs: float | Exception) -> None:
        self._runs = list(runs)
        self.done = asyncio.Event()

    async def run_once(self) -> float:
        run = self._runs.pop(0)
        if not self._runs:
            self.done.set()
        if isinstance(run, Exception):
            raise run
        return run


async def pauses_of(chore: Script, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of run_forever up to the chore's last run, which are not slept."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        pauses.append(seconds)
        await (asyncio.Event().wait() if chore.done.is_set() else sleep(0))

    monkeypatch.setattr(asyncio, "sleep", note)
    task = asyncio.create_task(run_forever(chore))
    await asyncio.wait_for(chore.done.wait(), PATIENCE)
    await sleep(0)
    await end_tasks([task])
    monkeypatch.setattr(asyncio, "sleep", sleep)
    return pauses


def around(seconds: float) -> object:
    return pytest.approx(seconds, rel=0.11)


async def test_a_chore_runs_again_when_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await pauses_of(Script(3.0, 0.5, 70.0), monkeypatch) == [around(3.0), around(0.5), around(70.0)]


async def test_a_store_that_is_away_is_asked_again_sooner_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = [StoreUnavailable("gone")] * 7
    with capture_logs() as logs:
        pauses = await pauses_of(Script(30.0, *gone, 30.0, StoreUnavailable("again"), 30.0), monkeypatch)
    expected = [30, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 30, 0.2, 30]
    assert pauses == [around(seconds) for seconds in expected]
    assert {(log["event"], log["chore"], log["error"]) for log in logs} == {
        ("chore_failed", "Script", "gone"),
        ("chore_failed", "Script", "again"),
    }


# --- the store watch ---------------------------------------------------------------------------------------------


class FakeStore:
    """Answers `vitals`, or is away."""

    def __init__(self, uptime: int = 1_000_000) -> None:
        self.away = False
        self.run_id = "first"
        self.uptime = uptime
        self.memory_share = 0.1

    async def vitals(self) -> Vitals:
        if self.away:
            raise StoreUnavailable("away")
        return Vitals(self.run_id, self.uptime, self.memory_share)


def watch_of(store: FakeStore, lease: float = 30.0) -> StoreWatch:
    return StoreWatch(cast(Broker, store), lease, ignore)


async def absence(store: FakeStore, watch: StoreWatch, clock: Clock, seconds: float) -> None:
    """The store answers, is away for so long, and answers again."""
    await watch.run_once()
    store.away = True
    clock.now += seconds / 2
    with pytest.raises(StoreUnavailable):
        await watch.run_once()
    clock.now += seconds / 2
    store.away = False
    await watch.run_once()


async def test_after_an_absence_of_over_a_third_of_a_lease_nothing_is_reaped_for_a_lease(clock: Clock) -> None:
    store = FakeStore()
    watch = watch_of(store)
    await absence(store, watch, clock, 10.1)
    assert watch.reap_after == clock.now + 30
    until = watch.reap_after
    clock.now += 1
    assert await watch.run_once() == 1.0
    assert watch.reap_after == until


async def test_a_shorter_absence_is_none(clock: Clock) -> None:
    store = FakeStore()
    watch = watch_of(store)
    await absence(store, watch, clock, 9.9)
    assert watch.reap_after == 0


async def test_a_process_that_slept_is_no_absence_of_the_store(clock: Clock) -> None:
    watch = watch_of(FakeStore())
    await watch.run_once()
    clock.now += 1000
    await watch.run_once()
    assert watch.reap_after == 0


async def test_a_short_lease_is_watched_more_closely() -> None:
    assert await watch_of(FakeStore(), lease=1.5).run_once() == 0.5


async def test_a_store_that_has_just_started_is_given_a_lease(clock: Clock) -> None:
    store = FakeStore(uptime=4)
    watch = watch_of(store)
    await watch.run_once()
    assert watch.reap_after == clock.now + 26
    store.uptime, clock.now = 40, clock.now + 36
    await watch.run_once()
    assert watch.reap_after == clock.now - 10
    store.run_id, store.uptime = "second", 1
    await watch.run_once()
    assert watch.reap_after == clock.now + 29


async def test_a_store_whose_clock_is_set_back_has_not_just_started(clock: Clock) -> None:
    store = FakeStore(uptime=40)
    watch = watch_of(store)
    await watch.run_once()
    store.uptime = -3600
    await watch.run_once()
    assert watch.reap_after == 0


async def test_a_store_that_seems_to_start_in_the_future_is_given_one_lease(clock: Clock) -> None:
    watch = watch_of(FakeStore(uptime=-3600))
    await watch.run_once()
    until = clock.now + 30
    assert watch.reap_after == until
    clock.now += 40
    await watch.run_once()
    assert watch.reap_after == until


async def test_above_85_percent_of_its_memory_the_store_is_full() -> None:
    told: list[bool] = []
    store = FakeStore()
    watch = StoreWatch(cast(Broker, store), 30, told.append)
    with capture_logs() as logs:
        for store.memory_share in (0.85, 0.8501, 0.9, 0.85, 0.8301, 0.83, 0.85):
            assert await watch.run_once() == 1.0
    assert told == [False, True, True, True, True, False, False]
    assert [log["event"] for log in logs] == ["store_full", "store_has_room"]


async def test_the_memory_share_is_the_stores_own(rig: Rig) -> None:
    """With wide margins: what a store uses changes by itself between two looks, by its buffers for one."""
    used = (await rig.client.info("memory"))["used_memory"]
    assert (await rig.broker.vitals()).memory_share == 0, "no limit at all"
    try:
        await rig.client.config_set("maxmemory", used * 100)
        assert 0.005 < (await rig.broker.vitals()).memory_share < 0.02
    finally:
        await rig.client.config_set("maxmemory", 0)


# --- reaper, promoter, trimmer, heartbeat ------------------------------------------------------------------------


async def lapsed(rig: Rig, count: int) -> list[str]:
    """Running jobs of both shards whose leases have just lapsed, by the store's clock."""
    jobs = await on_both_shards(rig, count)
    for rig.shard in (0, 1):
        await rig.claim(count, now=int(time.time() * 1000) - HOUR)
    return jobs


async def places(rig: Rig) -> dict[str, int]:
    """How many jobs are where, in the queue `default` of both shards."""
    total: dict[str, int] = {}
    for shard in (0, 1):
        for row in (await rig.broker.queues.stats(shard)).queues:
            for place, count in msgspec.structs.asdict(row).items():
                if isinstance(count, int):
                    total[place] = total.get(place, 0) + count
    return {place: count for place, count in total.items() if count and not place.endswith("_bytes")}


async def test_the_reaper_gives_lapsed_leases_back_on_every_shard(rig: Rig) -> None:
    jobs = await lapsed(rig, 5)
    reaper = Reaper(rig.broker, watch_of(FakeStore()), interval=5.0, delay_max=100.0, metrics=Metrics(), batch=2)
    before = int(time.time() * 1000)
    with capture_logs() as logs:
        assert await reaper.run_once() == 5.0
    assert await places(rig) == {"scheduled": 10}
    told = {(log["event"], log["job_id"], log["outcome"]) for log in logs}
    assert told == {("lease_reaped", job, "retry") for job in jobs}
    delays = []
    for keys in rig.broker.shards.keys:
        delays += [due - before for due in (await rig.scores(keys.scheduled("default", "default"))).values()]
    assert 0 <= min(delays) < max(delays) <= 110_000
    assert len(set(delays)) > 5


async def test_one_run_of_the_reaper_is_bounded(rig: Rig) -> None:
    await lapsed(rig, 5)
    reaper = Reaper(
        rig.broker, watch_of(FakeStore()), interval=5.0, delay_max=100.0, metrics=Metrics(), batch=2, calls=2
    )
    await reaper.run_once()
    assert await places(rig) == {"running": 2, "scheduled": 8}


async def test_the_reaper_waits_while_the_store_watch_asks_for_quiet(rig: Rig, clock: Clock) -> None:
    await lapsed(rig, 1)
    watch = watch_of(FakeStore())
    reaper = Reaper(rig.broker, watch, interval=5.0, delay_max=0.0, metrics=Metrics())
    watch.settles_at = clock.now + 12
    assert await reaper.run_once() == 5.0
    clock.now += 10
    assert await reaper.run_once() == pytest.approx(2.0)
    assert await places(rig) == {"running": 2}
    clock.now += 2
    assert await reaper.run_once() == 5.0
    assert await places(rig) == {"scheduled": 2}


async def test_a_reaper_that_is_the_first_to_find_the_store_back_waits_too(rig: Rig, clock: Clock) -> None:
    await lapsed(rig, 1)
    store = FakeStore()
    watch = watch_of(store)
    reaper = Reaper(rig.broker, watch, interval=5.0, delay_max=0.0, metrics=Metrics())
    store.away = True
    clock.now += 11
    with pytest.raises(StoreUnavailable):
        await watch.run_once()
    store.away = False
    assert await reaper.run_once() == 5.0
    assert await places(rig) == {"running": 2}
    clock.now += 30
    assert await reaper.run_once() == 5.0
    assert await places(rig) == {"scheduled": 2}


async def test_the_promoter_moves_what_is_due_on_every_shard(rig: Rig) -> None:
    jobs = await on_both_shards(rig, 6, delay_ms=HOUR)
    for shard, due in enumerate([jobs[:5], jobs[6:11]]):
        await rig.client.zadd(rig.broker.shards.keys[shard].scheduled("default", "default"), dict.fromkeys(due, 1))
    assert await Promoter(rig.broker, 7.0, batch=2).run_once() == 7.0
    assert await places(rig) == {"default": 10, "scheduled": 2}


async def finished(rig: Rig, count: int) -> None:
    """Succeeded jobs of both shards, finished an hour ago and to be kept for a second."""
    await on_both_shards(rig, count, retention_ms=1000)
    ago = int(time.time() * 1000) - HOUR
    for rig.shard in (0, 1):
        claimed = await rig.claim(count, now=ago)
        await rig.broker.leases.complete(rig.shard, [(job.id, job.token, "1") for job in claimed.jobs], now=ago)


async def test_the_trimmer_removes_what_need_not_be_kept_on_every_shard(rig: Rig) -> None:
    await finished(rig, 5)
    trimmer = Trimmer(rig.broker, Caps(), 30.0, batch=2)
    with capture_logs() as logs:
        assert await trimmer.run_once() == 30.0
    assert await places(rig) == {}
    assert logs == []


async def test_a_trimmer_that_could_not_finish_comes_back_at_once(rig: Rig) -> None:
    await finished(rig, 5)
    trimmer = Trimmer(rig.broker, Caps(), 30.0, batch=2, calls=2)
    assert await trimmer.run_once() == 0.0
    assert await places(rig) == {"finished": 2}
    assert await trimmer.run_once() == 30.0
    assert await places(rig) == {}


async def test_dead_jobs_that_are_trimmed_are_told_of(rig: Rig) -> None:
    rig.shard, rig.keys = 0, rig.broker.shards.keys[0]
    ((job, token), _) = await rig.held(2)
    await rig.broker.leases.fail(0, [(job, token, "{}", 0, True)])
    with capture_logs() as logs:
        await Trimmer(rig.broker, Caps(dead_count=0), 30.0).run_once()
    assert [(log["event"], log["jobs"], log["shard"]) for log in logs] == [("dead_jobs_trimmed", 1, 0)]
    assert await places(rig) == {"running": 1}


async def test_a_sign_of_life_is_on_the_first_shard_until_the_replica_leaves(rig: Rig) -> None:
    running = 3
    one = Heartbeat(rig.broker, "one", lambda: {"running": running}, 5.0)
    other = Heartbeat(rig.broker, "other", dict, 5.0)
    assert await one.run_once() == 5.0
    await other.run_once()
    running = 4
    await one.run_once()
    workers = {name.decode(): text.decode() for name, text in (await rig.client.hgetall("queuey:{0}:workers")).items()}
    assert set(workers) == {"one", "other"}
    assert workers["one"].endswith(' {"running":4}')
    await one.leave()
    await one.leave()
    assert list(await rig.client.hgetall("queuey:{0}:workers")) == [b"other"]


# --- what it costs -----------------------------------------------------------------------------------------------


@pytest.mark.serial
@pytest.mark.parametrize("shards", [1])
async def test_an_idle_replica_sends_at_most_three_commands_a_second(rig: Rig) -> None:
    """By the intervals that its chores ask for, beside the worker's two commands in 2 s (test_waking.py)."""
    settings = Settings()
    watch = StoreWatch(rig.broker, settings.lease, ignore)
    chores: list[Chore] = [
        watch,
        Reaper(rig.broker, watch_of(FakeStore()), settings.reap_interval, settings.reap_delay_max, metrics=Metrics()),
        Promoter(rig.broker),
        Trimmer(rig.broker, Caps(), settings.trim_interval),
        Heartbeat(rig.broker, "w1", dict, settings.beat_interval),
    ]
    await rig.add(delay_ms=HOUR)  # so that there is a queue to look at
    rate = 2 / BLOCK_SECONDS
    for chore in chores:
        await chore.run_once()
        sent = await sent_by_clients(rig)
        pause = await chore.run_once()
        rate += (await sent_by_clients(rig) - sent - 1) / pause  # one INFO is the question's own
    assert 2.0 < rate <= 3.0


async def sent_by_clients(rig: Rig) -> int:
    """Commands so far, but for those that scripts call."""
    stats = await rig.client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "info", "ping", "script|load"))
