"""Renewal of leases: of what is held and not stuck, whatever the event loop and the store do."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from structlog.testing import capture_logs

from queuey.errors import StoreUnavailable
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import MAX_BATCH
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards
from queuey.worker.handlers.app import App
from queuey.worker.lease_keeper import LeaseKeeper, StoreRenewer
from tests.support.store import Rig, Server, client_for
from tests.support.working import PATIENCE, FaultyScripts, eventually, working


class Lease:
    """What a worker holds, with a time from which it is overdue."""

    def __init__(self, job_id: str, token: str, shard: int = 0, *, overdue_at: float = float("inf")) -> None:
        self.job_id = job_id
        self.token = token
        self.shard = shard
        self.overdue_at = overdue_at

    def is_overdue(self, now: float) -> bool:
        return now > self.overdue_at


class Troubles:
    """What a keeper tells, in order."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()

    def __call__(self, job_id: str, token: str, status: str) -> None:
        assert threading.current_thread() is threading.main_thread()
        self._queue.put_nowait((job_id, token, status))

    async def next(self) -> tuple[str, str, str]:
        async with asyncio.timeout(PATIENCE):
            return await self._queue.get()

    @property
    def empty(self) -> bool:
        return self._queue.empty()


async def held(rig: Rig, count: int = 1) -> list[Lease]:
    """Jobs that were claimed just now, by the store's clock, for a minute."""
    jobs = await rig.add(count, now=0)
    claimed = await rig.claim(count, now=0, lease_ms=60_000)
    assert [job.id for job in claimed.jobs] == jobs
    return [Lease(job.id, job.token, rig.shard) for job in claimed.jobs]


async def expiries(rig: Rig) -> dict[str, int]:
    return await rig.scores(rig.keys.leases("default"))


# --- one renewal -------------------------------------------------------------------------------------------------


async def test_what_is_held_is_extended_and_what_was_let_go_is_not(rig: Rig) -> None:
    kept, let_go = await held(rig, 2)
    before = await expiries(rig)
    keeper = LeaseKeeper(3600, Troubles())
    keeper.hold(kept)
    keeper.hold(let_go)
    keeper.let_go(let_go)
    keeper.let_go(let_go)
    await keeper.renew_once(StoreRenewer(rig.broker), 0)
    after = await expiries(rig)
    assert after[kept.job_id] >= before[kept.job_id] + 3_500_000
    assert after[let_go.job_id] == before[let_go.job_id]


async def test_letting_go_of_a_former_lease_leaves_the_present_one(rig: Rig) -> None:
    (present,) = await held(rig)
    former = Lease(present.job_id, "1.former")
    before = await expiries(rig)
    keeper = LeaseKeeper(3600, Troubles())
    keeper.hold(former)
    keeper.hold(present)
    keeper.let_go(former)
    await keeper.renew_once(StoreRenewer(rig.broker), 0)
    assert (await expiries(rig))[present.job_id] > before[present.job_id]


async def test_a_job_past_its_timeout_and_grace_is_renewed_no_more(rig: Rig) -> None:
    stuck, fine = await held(rig, 2)
    stuck.overdue_at = 100.0
    keeper = LeaseKeeper(3600, Troubles())
    keeper.hold(stuck)
    keeper.hold(fine)
    await keeper.renew_once(StoreRenewer(rig.broker), 100.0)
    first = await expiries(rig)
    assert first[stuck.job_id] >= time.time() * 1000 + 3_500_000
    await rig.broker.leases.extend(0, 1000, [(stuck.job_id, stuck.token), (fine.job_id, fine.token)])
    await keeper.renew_once(StoreRenewer(rig.broker), 100.1)
    second = await expiries(rig)
    assert second[stuck.job_id] < time.time() * 1000 + 3_500_000 < second[fine.job_id]


async def test_leases_that_are_not_renewed_are_named_once(rig: Rig) -> None:
    leases = await held(rig, 12)
    keeper, renewer = LeaseKeeper(3600, Troubles()), StoreRenewer(rig.broker)
    for lease in leases:
        keeper.hold(lease)
    with capture_logs() as logs:
        await keeper.renew_once(renewer, 100.0)
        leases[0].overdue_at = 100.0
        for now in (100.1, 100.2):
            await keeper.renew_once(renewer, now)
        for lease in leases:
            lease.overdue_at = 100.0
        for now in (100.3, 100.4):
            await keeper.renew_once(renewer, now)
    ids = [lease.job_id for lease in leases]
    assert [(log["event"], log["jobs"], log["job_ids"]) for log in logs] == [
        ("leases_not_renewed", 1, ids[:1]),
        ("leases_not_renewed", 11, sorted(ids[1:])[:10]),
    ]


async def test_a_job_whose_outcome_is_being_reported_is_not_overdue(rig: Rig, server: Server) -> None:
    """Its handler has ended in time. Another worker would run it again if the store took long for the outcome."""
    app, scripts = App(), FaultyScripts()

    @app.job("t", timeout=50)
    async def handler(payload: Any) -> None: ...

    reply = scripts.gates["complete"] = asyncio.Event()
    await rig.add(now=0)
    async with working(server.url, app, scripts=scripts, grace=7.0) as worker:
        assert await asyncio.wait_for(scripts.waiting.get(), PATIENCE) == "complete"
        (lease,) = worker.running.values()
        assert lease.work.started_at is not None
        assert not lease.is_overdue(lease.work.started_at + 57.1)
        reply.set()


async def test_a_job_that_waits_for_its_handler_is_not_overdue(rig: Rig, server: Server) -> None:
    """A worker's own lease: its clock runs from the handler's start, for the timeout and the grace."""
    app, running, over = App(), asyncio.Event(), asyncio.Event()

    @app.job("t", timeout=50)
    async def handler(payload: Any) -> None:
        running.set()
        await over.wait()

    await rig.add(now=0)
    async with working(server.url, app, grace=7.0) as worker:
        await asyncio.wait_for(running.wait(), PATIENCE)
        (lease,) = worker.running.values()
        started = lease.work.started_at
        assert started is not None
        assert not lease.is_overdue(started + 56.9)
        assert lease.is_overdue(started + 57.1)
        lease.work.started_at = None
        assert not lease.is_overdue(started + 1e9)
        over.set()


async def test_more_leases_than_one_call_takes_on_every_shard(rig: Rig) -> None:
    rig.broker = Broker(Shards(rig.client, 2), rig.scripts)
    leases = []
    for rig.shard in (0, 1):
        rig.keys = rig.broker.shards.keys[rig.shard]
        for _ in range(2):
            leases += await held(rig, 300)
    keeper = LeaseKeeper(3600, Troubles())
    for lease in leases:
        keeper.hold(lease)
    scripts = FaultyScripts()
    await keeper.renew_once(StoreRenewer(Broker(Shards(rig.client, 2), scripts)), 0)
    assert [len(arguments[2]) for arguments in scripts.arguments("extend")] == [MAX_BATCH, MAX_BATCH, 88, 88]
    for shard in (0, 1):
        scores = await rig.scores(rig.broker.shards.keys[shard].leases("default"))
        assert min(scores.values()) > time.time() * 1000 + 3_500_000


async def test_what_was_lost_or_cancelled_is_told_in_the_loop_that_made_the_keeper(rig: Rig) -> None:
    fine, cancelled, lost = await held(rig, 3)
    await rig.broker.jobs.cancel(0, [cancelled.job_id])
    lost.token = "7.other"
    troubles = Troubles()
    keeper = LeaseKeeper(60, troubles)
    for lease in (fine, cancelled, lost):
        keeper.hold(lease)
    await asyncio.to_thread(asyncio.run, _renew_elsewhere(keeper, rig.client.connection_pool.connection_kwargs["path"]))
    assert await troubles.next() == (cancelled.job_id, cancelled.token, "cancelled")
    assert await troubles.next() == (lost.job_id, "7.other", "lost")
    assert troubles.empty


async def _renew_elsewhere(keeper: LeaseKeeper, socket: str) -> None:
    client = client_for(f"unix://{socket}")
    await keeper.renew_once(StoreRenewer(Broker(Shards(client), Scripts())), 0)
    await client.aclose()


# --- the thread --------------------------------------------------------------------------------------------------


class Brokers:
    """Opens Brokers for a keeper's thread; their `extend` does what the test says."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.errors: list[Exception] = []
        self.extended = threading.Semaphore(0)

    def __call__(self) -> StoreRenewer:
        broker = Broker(Shards(client_for(self._url)), Scripts())
        extend = broker.leases.extend

        async def faulty(*arguments: Any) -> list[str]:
            if self.errors:
                raise self.errors.pop()
            answer = await extend(*arguments)
            self.extended.release()
            return answer

        broker.leases.extend = faulty  # type: ignore[assignment]
        return StoreRenewer(broker)


@asynccontextmanager
async def keeping(lease: float, brokers: Brokers, *leases: Lease) -> AsyncIterator[LeaseKeeper]:
    keeper = LeaseKeeper(lease, Troubles())
    for each in leases:
        keeper.hold(each)
    keeper.start(brokers)
    yield keeper
    async with asyncio.timeout(PATIENCE):
        await keeper.stop()
    assert "queuey-leases" not in {thread.name for thread in threading.enumerate()}


async def test_a_renewal_that_fails_is_tried_again_soon_whatever_failed(rig: Rig, server: Server) -> None:
    brokers = Brokers(server.url)
    brokers.errors = [ValueError("no such word"), StoreUnavailable("gone")]
    with capture_logs() as logs:
        async with keeping(0.3, brokers, *await held(rig, 2)):
            assert await asyncio.to_thread(brokers.extended.acquire, timeout=PATIENCE)
            assert await asyncio.to_thread(brokers.extended.acquire, timeout=PATIENCE)
    assert [(log["event"], log["error"], log["jobs"]) for log in logs] == [
        ("renewal_failed", "gone", 2),
        ("renewal_failed", "no such word", 2),
    ]


async def test_the_thread_ends_at_once_though_the_next_renewal_is_far_off(rig: Rig, server: Server) -> None:
    async with keeping(3600, Brokers(server.url)):
        pass


def reap_until_past(url: str, job_id: str, past: threading.Event, outcomes: list[tuple[str, str]]) -> None:
    """Another replica, which reaps all the time; `past` is set when the job's first lease would have lapsed."""

    async def reap() -> None:
        client = client_for(url)
        broker = Broker(Shards(client), Scripts())
        expiry = await client.zscore(broker.shards.keys[0].leases("default"), job_id)
        assert expiry is not None
        now = 0.0
        while now < expiry + 300:
            outcomes.extend((await broker.maintenance.reap(0, 10, [0])).outcomes)
            seconds, micros = await client.time()
            now = seconds * 1000 + micros / 1000
            await asyncio.sleep(0.02)
        await client.aclose()

    try:
        asyncio.run(reap())
    finally:
        past.set()


async def test_a_handler_that_blocks_the_event_loop_for_longer_than_its_lease_keeps_it(
    rig: Rig, server: Server
) -> None:
    app, past = App(), threading.Event()
    outcomes: list[tuple[str, str]] = []
    (job,) = await rig.add(now=0)

    @app.job("t")
    async def block(payload: Any) -> str:
        reaper = threading.Thread(target=reap_until_past, args=[server.url, job, past, outcomes])
        reaper.start()
        assert past.wait(PATIENCE)  # the event loop stands still
        reaper.join()
        return "done"

    async with working(server.url, app, keeper=True, lease=0.9):
        await eventually(lambda: _succeeded(rig, job))
    assert outcomes == []
    assert (await rig.state(job))["n"] == "1"


async def _succeeded(rig: Rig, job_id: str) -> bool:
    return (await rig.state(job_id)).get("s") == "s"


async def test_a_handler_that_blocks_past_its_timeout_and_grace_loses_its_lease(rig: Rig, server: Server) -> None:
    app, past = App(), threading.Event()
    outcomes: list[tuple[str, str]] = []
    (job,) = await rig.add(now=0)

    @app.job("t", timeout=0.05)
    async def block(payload: Any) -> str:
        if not past.is_set():
            reaper = threading.Thread(target=reap_until_past, args=[server.url, job, past, outcomes])
            reaper.start()
            assert past.wait(PATIENCE)
            reaper.join()
        return "done"

    async with working(server.url, app, keeper=True, lease=0.5, grace=0.05):
        await eventually(lambda: _succeeded(rig, job))
    assert outcomes == [(job, "retry")]
    state = await rig.state(job)
    assert (state["n"], state["x"]) == ("2", "1")
