"""Jobs of types that a worker does not know: it gives them back at once, and others get them. No attempt is spent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from queuey.store import wakeups as waking
from queuey.worker.handlers.app import App
from queuey.worker.handlers.context import Context
from queuey.worker.worker import Worker
from tests.support.store import Rig, Server
from tests.support.stores import one_of
from tests.support.working import (
    PATIENCE,
    QUICKLY,
    ROUND,
    FaultyScripts,
    ThreadStage,
    body,
    eventually,
    until_blocked,
    working,
)

WANTED = slice(-4, None)
"""The places of room, others, take and woken in the arguments of claim_typed: the last ones."""
shards = one_of(1)


@pytest.fixture(autouse=True)
def long_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "BLOCK_SECONDS", ROUND)


class Knower:
    """An App that knows some types, and notes the jobs that it runs."""

    def __init__(self, *types: str) -> None:
        self.app = App()
        self.ran: list[str] = []
        self._ended: asyncio.Queue[str] = asyncio.Queue()
        for type in types:
            self.app.job(type)(self._run)

    async def _run(self, payload: Any, ctx: Context) -> None:
        self.ran.append(ctx.job_id)
        self._ended.put_nowait(ctx.job_id)

    async def take(self, count: int, *, within: float = PATIENCE) -> list[str]:
        async with asyncio.timeout(within):
            return [await self._ended.get() for _ in range(count)]


async def finished(rig: Rig, count: int) -> None:
    async def all_finished() -> bool:
        return (await rig.row())["finished"] == count

    await eventually(all_finished)


async def idle(worker: Worker, *, within: float = PATIENCE) -> None:
    async with asyncio.timeout(within):
        await worker.may_wait.wait()


async def assert_no_attempt_was_spent(rig: Rig, jobs: Sequence[str], status: str = "s") -> None:
    for job in jobs:
        state = await rig.state(job)
        assert (state["s"], "a" in state, "x" in state) == (status, False, False)


async def aside(rig: Rig, type: str) -> list[str]:
    return [entry.decode() for entry in await rig.client.lrange(rig.keys.aside("default", "default", type), 0, -1)]


async def test_two_apps_with_other_types_each_on_one_queue(rig: Rig, server: Server) -> None:
    await rig.open_gate()
    by_type: dict[str, list[str]] = {"a": [], "b": []}
    for number in range(60):
        type = "ab"[number % 2]
        by_type[type] += await rig.add(now=0, body=body(type), max_attempts=1)
    one, two = Knower("a"), Knower("b")
    async with (
        working(server.url, one.app, listener=True, concurrency=8),
        working(server.url, two.app, listener=True, concurrency=8, worker_id="w2"),
    ):
        assert sorted(await one.take(30)) == sorted(by_type["a"])
        assert sorted(await two.take(30)) == sorted(by_type["b"])
        await finished(rig, 60)
    await assert_no_attempt_was_spent(rig, [*by_type["a"], *by_type["b"]])


async def test_a_worker_meets_unknown_types_once_and_they_keep_their_order(rig: Rig, server: Server) -> None:
    """The claims that are under way when it meets them bring more of them. All are given back together."""
    await rig.open_gate()
    jobs = await rig.add(50, now=0, body=body("newer"))
    scripts = FaultyScripts()
    old = Knower("old")
    async with working(server.url, old.app, concurrency=8, scripts=scripts) as worker:
        await eventually(lambda: _are_aside(rig, "newer", jobs))
        await idle(worker)
        assert len(scripts.arguments("release")) == 1
        met = len(scripts.arguments("release")[0][1])
        assert met <= 8
        plain = len(scripts.arguments("claim"))
        (mine,) = await rig.add(now=0, body=body("old"))
        more = await rig.add(5, now=0, body=body("newer"))
        assert await old.take(1) == [mine]
        await eventually(lambda: _are_aside(rig, "newer", [*jobs, *more]))
        assert len(scripts.arguments("release")) == 1
        assert len(scripts.arguments("claim")) == plain
        assert scripts.arguments("claim_typed")[-1][WANTED][:2] == [[[8, ["old"]]], False]
        await finished(rig, 1)
    claims = [(await rig.state(job)).get("n") for job in jobs]
    assert claims == ["1"] * met + [None] * (50 - met)
    new = Knower("newer")
    async with working(server.url, new.app):
        assert await new.take(55) == [*jobs, *more]
        await finished(rig, 56)
    await assert_no_attempt_was_spent(rig, jobs)


async def _are_aside(rig: Rig, type: str, jobs: list[str]) -> bool:
    return await aside(rig, type) == jobs


async def test_a_worker_that_waits_hears_of_a_list_that_it_can_take(rig: Rig, server: Server) -> None:
    """A marker names only the queue. The worker that eats it sets the jobs aside, and the message wakes the other."""
    await rig.open_gate()
    ignorant, knowing = Knower("old"), Knower("newer")
    async with (
        working(server.url, ignorant.app),
        working(server.url, knowing.app, listener=True, waker=False, worker_id="w2") as worker,
    ):
        await idle(worker)
        await until_blocked(rig.client, 1)
        jobs = await rig.add(3, now=0, body=body("newer"))
        assert await knowing.take(3, within=QUICKLY) == jobs
        await finished(rig, 3)


async def test_a_wait_starts_again_for_the_marker_of_a_new_list_and_the_marker_is_put_back(
    rig: Rig, server: Server
) -> None:
    await rig.open_gate()
    scripts, knowing = FaultyScripts(), Knower("newer")
    async with working(server.url, knowing.app, scripts=scripts, concurrency=1) as worker:
        await idle(worker)
        await until_blocked(rig.client, 1)
        await rig.client.hset(rig.keys.queue("default"), "aside", " d:newer")
        worker.asides.hear(f"{rig.keys.base} default d:newer")
        await eventually(lambda: _has_claimed_typed(scripts, 1))
        await idle(worker)
        late = await rig.add(2, now=0, body=body("newer"), queue="elsewhere")
        await rig.client.delete(rig.keys.ready("elsewhere", "default"))
        await rig.client.rpush(rig.keys.aside("default", "default", "newer"), *late)
        await rig.client.zadd(rig.keys.wake_type("default", "newer"), {"m": 0})
        assert await knowing.take(2, within=QUICKLY) == late
        await eventually(lambda: _have_succeeded(rig, late))
        assert ["newer"] in [arguments[WANTED][3] for arguments in scripts.arguments("claim_typed")]


async def _have_succeeded(rig: Rig, jobs: Sequence[str]) -> bool:
    return [(await rig.state(job))["s"] for job in jobs] == ["s"] * len(jobs)


async def _has_claimed_typed(scripts: FaultyScripts, times: int) -> bool:
    return len(scripts.arguments("claim_typed")) == times


async def test_a_quiet_worker_that_alone_knows_a_type_takes_none_and_the_jobs_wait(rig: Rig, server: Server) -> None:
    await rig.open_gate()
    quiet, other = Knower("rare"), Knower("old")
    async with (
        working(server.url, quiet.app, listener=True) as worker,
        working(server.url, other.app, listener=True, worker_id="w2") as second,
    ):
        await idle(worker)
        worker.be_quiet()
        rare = await rig.add(3, now=0, body=body("rare"), max_attempts=1)
        (known,) = await rig.add(now=0, body=body("old"))
        assert await other.take(1) == [known]
        await eventually(lambda: _are_aside(rig, "rare", rare))
        await finished(rig, 1)
        await idle(second)
    assert quiet.ran == []
    knower = Knower("rare")
    async with working(server.url, knower.app, worker_id="w3"):
        assert await knower.take(3) == rare
        await finished(rig, 4)
    await assert_no_attempt_was_spent(rig, rare)


async def test_a_worker_of_one_name_may_know_other_types_each_time_it_starts(rig: Rig, server: Server) -> None:
    await rig.open_gate()
    a, b = await rig.add(2, now=0, body=body("a")), await rig.add(2, now=0, body=body("b"))
    first, second, third = Knower("a"), Knower("c"), Knower("b", "c")
    async with working(server.url, first.app):
        assert await first.take(2) == a
        await eventually(lambda: _are_aside(rig, "b", b))
        await finished(rig, 2)
    c = await rig.add(2, now=0, body=body("c"))
    async with working(server.url, second.app):
        assert await second.take(2) == c
        await finished(rig, 4)
    async with working(server.url, third.app):
        assert await third.take(2) == b
        await finished(rig, 6)
    await assert_no_attempt_was_spent(rig, [*a, *b, *c])


@pytest.mark.parametrize("count", [1_000, 1_001])
async def test_a_worker_may_know_very_many_types(rig: Rig, server: Server, count: int) -> None:
    """Above 1,000 it names those that it does not know instead of its own."""
    await rig.open_gate()
    scripts = FaultyScripts()
    knower = Knower(*(f"t{number}" for number in range(count)))
    strange = await rig.add(3, now=0, body=body("strange"))
    jobs = [(await rig.add(now=0, body=body(f"t{number}")))[0] for number in (0, 7, count - 1)]
    async with working(server.url, knower.app, scripts=scripts) as worker:
        assert await knower.take(3) == jobs
        await eventually(lambda: _are_aside(rig, "strange", strange))
        await finished(rig, 3)
        await idle(worker)
        (late,) = await rig.add(now=0, body=body("strange"))
        await eventually(lambda: _are_aside(rig, "strange", [*strange, late]))
    room, others, *_ = scripts.arguments("claim_typed")[-1][WANTED]
    assert (len(room[0][1]), others) == ((1_000, False) if count == 1_000 else (1, True))
    assert len(scripts.arguments("release")) == 1


async def test_a_worker_with_very_many_types_claims_nothing_while_one_executor_is_full(
    rig: Rig, server: Server
) -> None:
    """It cannot name those that fit, so a claim would be for no job, again and again."""
    knower, scripts = Knower(*(f"t{number}" for number in range(1_000))), FaultyScripts()
    stage = ThreadStage(app=knower.app)
    threads = await rig.add(3, now=0, body=body("thread"))
    async with working(server.url, knower.app, scripts=scripts, concurrency=8, threads=2):
        assert await stage.take(2) == threads[:2]
        stage.finish(threads[0])
        assert await stage.next() == threads[2]
        stage.finish(*threads[1:])
        await finished(rig, 3)
    assert 0 not in [arguments[4] for arguments in scripts.arguments("claim")]


async def test_a_worker_without_a_handler_gives_everything_back(rig: Rig, server: Server) -> None:
    await rig.open_gate()
    jobs = await rig.add(30, now=0, body=body("any"))
    async with working(server.url, App(), concurrency=4) as worker:
        await eventually(lambda: _are_aside(rig, "any", jobs))
        await idle(worker)
        assert worker.running == {}


async def test_what_is_given_back_while_the_store_is_away_is_given_back_later(rig: Rig, server: Server) -> None:
    await rig.open_gate()
    jobs = await rig.add(3, now=0, body=body("newer"))
    scripts = FaultyScripts()
    scripts.replies_to_drop["release"] = 2
    async with working(server.url, Knower("old").app, scripts=scripts) as worker:
        await eventually(lambda: _are_aside(rig, "newer", jobs))
        await eventually(lambda: _holds_nothing(worker))
    assert len(scripts.arguments("release")) == 3


async def _holds_nothing(worker: Worker) -> bool:
    return not worker.running
