"""Waiting for work: which markers a process waits for, what it makes of them, and that it outlives its connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager

import pytest

from queuey.lifecycle import end_tasks
from queuey.services.maintenance.loops import run_forever
from queuey.store import wakeups as waking
from queuey.store.wakeups import BLOCK_SECONDS as DEFAULT_ROUND
from queuey.store.wakeups import Aside, Waker, wake_groups
from tests.support.store import Rig, Server, client_for
from tests.support.working import PATIENCE, QUICKLY, ROUND, FaultyScripts, Stage, eventually, until_blocked, working


class FullQueues:
    """A worker without lists set aside, of which some queues are full."""

    def __init__(self, *full: str) -> None:
        self.full: Collection[str] = full

    def claimable(self, shard: int) -> Iterable[Aside]:
        return ()

    def ate(self, aside: Aside) -> bool:
        raise AssertionError("there are no lists")


class Woken:
    """A Waker on a connection of its own; `next` gives the shards that it names."""

    def __init__(self, taker: FullQueues | None = None) -> None:
        self._taker = taker
        self.may_wait = asyncio.Event()
        self.may_wait.set()
        self._shards: asyncio.Queue[int] = asyncio.Queue()

    async def next(self, *, within: float = PATIENCE) -> int:
        async with asyncio.timeout(within):
            return await self._shards.get()

    @asynccontextmanager
    async def running(self, rig: Rig, url: str, group: Sequence[int], queues: Sequence[str]) -> AsyncIterator[None]:
        client = client_for(url)
        shards = rig.broker.shards
        waker = Waker(client, shards, group, queues, self.may_wait, self._shards.put_nowait, self._taker)
        task = asyncio.create_task(run_forever(waker))
        yield
        await end_tasks([task])
        await client.aclose()


@pytest.fixture(autouse=True)
def long_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "BLOCK_SECONDS", ROUND)


@pytest.fixture
def shards() -> int:
    return 4


async def mark(rig: Rig, shard: int, queue: str = "default") -> None:
    await rig.client.zadd(rig.broker.shards.keys[shard].wake(queue), {"m": 0})


def test_one_call_waits_for_all_shards_but_not_on_a_cluster(rig: Rig) -> None:
    assert wake_groups(rig.broker.shards, cluster=False) == [[0, 1, 2, 3]]
    assert wake_groups(rig.broker.shards, cluster=True) == [[0], [1], [2], [3]]


async def test_a_marker_names_its_shard(rig: Rig, server: Server) -> None:
    woken = Woken()
    async with woken.running(rig, server.url, [0, 1, 2, 3], ["a", "b"]):
        for shard, queue in [(2, "b"), (0, "a"), (3, "a")]:
            await until_blocked(rig.client, 1)
            await mark(rig, shard, queue)
            assert await woken.next(within=QUICKLY) == shard


async def test_markers_of_other_queues_are_left(rig: Rig, server: Server) -> None:
    woken = Woken()
    async with woken.running(rig, server.url, [0, 1, 2, 3], ["a"]):
        await until_blocked(rig.client, 1)
        await mark(rig, 0, "other")
        await mark(rig, 1, "a")
        assert await woken.next(within=QUICKLY) == 1
    assert await rig.client.exists(rig.broker.shards.keys[0].wake("other"))


async def test_without_a_marker_every_shard_is_named_after_a_while(
    rig: Rig, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waking, "BLOCK_SECONDS", 0.05)
    woken = Woken()
    async with woken.running(rig, server.url, [0, 1, 2, 3], ["a"]):
        assert [await woken.next() for _ in range(8)] == [0, 1, 2, 3, 0, 1, 2, 3]


async def test_a_process_that_may_not_wait_takes_no_marker(rig: Rig, server: Server) -> None:
    woken, other = Woken(), Woken()
    woken.may_wait.clear()
    async with woken.running(rig, server.url, [0, 1, 2, 3], ["a"]):
        async with other.running(rig, server.url, [0, 1, 2, 3], ["a"]):
            await until_blocked(rig.client, 1)
            await mark(rig, 3, "a")
            assert await other.next(within=QUICKLY) == 3
        await until_blocked(rig.client, 0)  # or the store gives the next marker to the connection that was just closed
        await mark(rig, 2, "a")
        woken.may_wait.set()
        assert await woken.next(within=QUICKLY) == 2


async def test_the_marker_of_a_full_queue_is_left(rig: Rig, server: Server) -> None:
    """Also if the queue has filled up while the process waited: then it puts the marker back."""
    taker = FullQueues("a")
    woken = Woken(taker)
    async with woken.running(rig, server.url, [0, 1, 2, 3], ["a", "b"]):
        await until_blocked(rig.client, 1)
        await mark(rig, 0, "a")
        await mark(rig, 1, "b")
        assert await woken.next(within=QUICKLY) == 1
        await until_blocked(rig.client, 1)
        taker.full = ["a", "b"]
        await mark(rig, 2, "b")
        assert await woken.next(within=QUICKLY) == 2
        keys = rig.broker.shards.keys
        assert await rig.client.exists(keys[0].wake("a")) == await rig.client.exists(keys[2].wake("b")) == 1
        assert not await rig.client.exists(keys[1].wake("b"))


async def test_a_connection_that_is_lost_or_unblocked_names_every_shard_and_is_made_again(
    rig: Rig, server: Server
) -> None:
    woken = Woken()
    async with woken.running(rig, server.url, [0, 1, 2, 3], ["a"]):
        await until_blocked(rig.client, 1)
        assert await rig.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") >= 1
        assert [await woken.next(within=QUICKLY) for _ in range(4)] == [0, 1, 2, 3]
        await until_blocked(rig.client, 1)
        blocked = [client["id"] for client in await rig.client.client_list() if client["cmd"] == "bzpopmin"]
        assert await rig.client.client_unblock(int(blocked[0]), error=True) == 1
        assert [await woken.next(within=QUICKLY) for _ in range(4)] == [0, 1, 2, 3]
        await until_blocked(rig.client, 1)
        await mark(rig, 1, "a")
        assert await woken.next(within=QUICKLY) == 1


@pytest.mark.parametrize("kind", ["cluster"])
async def test_on_a_cluster_each_shard_is_waited_for_by_itself(rig: Rig, server: Server) -> None:
    """It refuses a call with keys of two slots."""
    stage = Stage()
    async with working(server.url, stage.app, shards=4, cluster=True):
        await until_blocked(rig.client, 4)
        for rig.shard in range(4):
            (job,) = await rig.add(now=0, body='{"type":"held"}')
            assert await stage.next(within=QUICKLY) == job
            stage.finish(job)


@pytest.mark.serial
@pytest.mark.parametrize("shards", [1])
async def test_an_idle_worker_sends_two_commands_a_round(
    rig: Rig, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round is BLOCK_SECONDS: one wait for the markers, and one claim after it."""
    assert DEFAULT_ROUND == 2
    monkeypatch.setattr(waking, "BLOCK_SECONDS", 0.05)
    stage, scripts = Stage(), FaultyScripts()
    async with working(server.url, stage.app, scripts=scripts):
        await until_blocked(rig.client, 1)
        await rig.client.config_resetstat()
        claims_before = len(scripts.calls)

        async def has_claimed_often() -> bool:
            return len(scripts.calls) >= claims_before + 10

        await eventually(has_claimed_often)
    stats = await rig.client.info("commandstats")
    assert {name for name in stats if "evalsha" in name or "pop" in name} == {"cmdstat_evalsha", "cmdstat_bzpopmin"}
    assert stats["cmdstat_bzpopmin"]["calls"] <= 11
    assert stats["cmdstat_evalsha"]["calls"] <= 11
