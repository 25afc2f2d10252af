"""`Testing(app)`: what users test their handlers with."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

import msgspec
import pytest

from queuey import App, Backoff, Context, Dead, Debounce, Retry, SyncTesting, Testing, Unique
from queuey.errors import StartupError
from queuey.protocol.models import EnqueueReply
from queuey.worker.testing import MOST


class Order(msgspec.Struct):
    number: int
    fail: str = ""


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[list[str]]:
    said = ["opened"]
    LIVES.append(said)
    yield said
    said.append("closed")


LIVES: list[list[str]] = []
app = App(lifespan=lifespan)


@app.job("order", queue="orders", max_attempts=2, backoff=Backoff(base=10, factor=1, cap=10))
async def order(job: Order, ctx: Context) -> dict[str, Any]:
    if job.fail == "dead":
        raise Dead("no such order")
    if job.fail == "retry":
        raise Retry("later", after=60)
    if job.fail == "error":
        raise ValueError("broken")
    await mail.enqueue(f"order {job.number}", dedupe_key=str(job.number))
    return {"number": job.number, "queue": ctx.queue, "attempt": ctx.attempt, "state": ctx.state[0]}


@app.job("mail")
def mail(job: str) -> str:
    return f"{job} in {threading.current_thread().name}"


@app.job("compute", run_in="process")
def compute(job: int) -> int:
    return job * 2


@app.job("slow", timeout=0.01)
async def slow(job: None) -> None:
    await asyncio.Event().wait()


@app.job("endless")
async def endless(job: None) -> None:
    await endless.enqueue(None)


async def test_a_handler_runs_as_by_a_worker() -> None:
    async with Testing(app) as testing:
        ran = await testing.run(order, Order(7), attempt=2)
        assert ran.value() == {"number": 7, "queue": "orders", "attempt": 2, "state": "opened"}
        assert (await testing.run("mail", "x")).value(str).startswith("x in queuey-handler")
        assert (await testing.run(compute, 4)).value() == 8
        assert LIVES[-1] == ["opened"]
    assert LIVES[-1] == ["opened", "closed"]


@pytest.mark.parametrize(
    ("fail", "attempt", "expected"),
    [
        ("dead", 1, ("dead_letter", "dead", "no such order")),
        ("retry", 1, ("retry", "retry", "later")),
        ("error", 1, ("retry", "error", "ValueError: broken")),
        ("error", 2, ("dead_letter", "error", "ValueError: broken")),
    ],
)
async def test_failures_are_told_by_what_would_follow(fail: str, attempt: int, expected: tuple[str, ...]) -> None:
    async with Testing(app) as testing:
        ran = await testing.run(order, Order(7, fail), attempt=attempt)
    assert (ran.status, ran.kind, ran.message) == expected
    assert (ran.retry_after is None) == (ran.status == "dead_letter")
    with pytest.raises(AssertionError, match=rf"order did not succeed: {expected[1]}"):
        ran.value()


async def test_the_wait_before_the_next_attempt_is_the_workers() -> None:
    async with Testing(app) as testing:
        assert (await testing.run(order, Order(7, "retry"))).retry_after == 60
        after = (await testing.run(order, Order(7, "error"))).retry_after
    assert after is not None
    assert 5 <= after <= 10


async def test_a_payload_goes_through_json() -> None:
    async with Testing(app) as testing:
        ran = await testing.run("order", {"number": "seven"})
        assert (ran.status, ran.kind) == ("dead_letter", "payload")
        assert ran.message is not None
        assert "$.number" in ran.message
        assert (await testing.run("nobody", 1)).kind == "unknown_type"
        assert (await testing.run(slow)).kind == "timeout"


async def test_what_handlers_enqueue_is_kept_and_can_be_run() -> None:
    async with Testing(app) as testing:
        for number in (1, 2, 1):
            await testing.run(order, Order(number))
        assert [(job.type, bytes(job.payload)) for job in testing.enqueued] == [
            ("mail", b'"order 1"'),
            ("mail", b'"order 2"'),
        ]
        ran = await testing.run_all()
        assert [one.value().partition(" in ")[0] for one in ran] == ["order 1", "order 2"]
        assert not testing.enqueued
    with pytest.raises(RuntimeError, match="no worker"):
        _ = mail.enqueue("x")


async def test_jobs_that_enqueue_one_another_for_ever_end() -> None:
    async with Testing(app) as testing:
        await endless.enqueue(None)
        with pytest.raises(AssertionError, match=f"{MOST:,} jobs were run"):
            await testing.run_all()


async def test_outside_of_its_block_it_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await Testing(app).run(mail, "x")


def test_without_asyncio() -> None:
    with SyncTesting(app) as testing:
        assert testing.run(order, Order(1)).status == "succeeded"
        assert [job.type for job in testing.enqueued] == ["mail"]
        assert [ran.status for ran in testing.run_all()] == ["succeeded"]
    assert app.sender is None


def test_without_asyncio_the_thread_keeps_its_event_loop() -> None:
    with closing(asyncio.new_event_loop()) as loop:
        asyncio.set_event_loop(loop)
        try:
            with SyncTesting(app) as testing:
                testing.run(mail, "x")
                assert asyncio.get_event_loop() is loop
            assert asyncio.get_event_loop() is loop
        finally:
            asyncio.set_event_loop(None)


def refuse(why: str) -> Any:
    raise ConnectionError(why)


def test_without_asyncio_a_lifespan_that_fails_ends_the_test() -> None:
    @asynccontextmanager
    async def fails(app: App) -> AsyncIterator[None]:
        yield refuse("no database here")

    failing = App(lifespan=fails)
    with pytest.raises(StartupError, match="no database here"), SyncTesting(failing):
        pass
    assert failing.sender is None


async def test_tags_and_metadata_are_given_with_a_run_and_kept_with_a_job_that_is_enqueued() -> None:
    labels = App()

    @labels.job("child")
    async def child(job: None, ctx: Context) -> Any:
        return [list(ctx.tags), dict(ctx.metadata)]

    @labels.job("parent")
    async def parent(job: None, ctx: Context) -> None:
        await child.enqueue(None, tags=[*ctx.tags, "child"], metadata=ctx.metadata)

    async with Testing(labels) as testing:
        given = await testing.run(parent, tags=["vip"], metadata={"tenant": "acme"})
        (ran,) = await testing.run_all()
    assert given.status == "succeeded"
    assert ran.value() == [["vip", "child"], {"tenant": "acme"}]


def test_what_fails_in_another_event_loop_says_what_to_change() -> None:
    @asynccontextmanager
    async def bound(app: App) -> AsyncIterator[asyncio.Future[int]]:
        yield asyncio.get_running_loop().create_future()

    other = App(lifespan=bound)

    @other.job("waits")
    async def waits(job: None, ctx: Context) -> int:
        return int(await ctx.state)

    with asyncio.Runner() as first, asyncio.Runner() as second:
        testing = Testing(other)
        first.run(testing.__aenter__())
        ran = second.run(testing.run("waits"))
        first.run(testing.__aexit__(None, None, None))
    assert "attached to a different loop" in str(ran.message)
    assert str(ran.message).endswith("give its fixture the loop of the test, as with loop_scope of pytest-asyncio")


async def test_sync_testing_in_an_async_test_says_what_to_use() -> None:
    with pytest.raises(RuntimeError, match=r"for tests that are not async. Use async with Testing\(app\)"):
        SyncTesting(app).__enter__()
    testing = SyncTesting(app)
    await asyncio.to_thread(testing.__enter__)
    with pytest.raises(RuntimeError, match="for tests that are not async"):
        testing.run("order")
    await asyncio.to_thread(testing.__exit__, None, None, None)


async def test_a_unique_job_is_found_replaced_or_rejected() -> None:
    async with Testing(app) as testing:
        first = await mail.enqueue("1", unique=Unique("k"))
        assert await mail.enqueue("2", unique=Unique("k")) == EnqueueReply(first.job_id, deduplicated=True)
        assert (await mail.enqueue("3", dedupe_key="k")).deduplicated is False
        replaced = await mail.enqueue("4", unique=Unique("k", on_conflict="replace"))
        assert replaced == EnqueueReply(first.job_id, deduplicated=True, replaced="payload")
        with pytest.raises(AssertionError, match=f"The job {first.job_id} holds the key 'k'"):
            await mail.enqueue("5", unique=Unique("k", on_conflict="reject"))
        with pytest.raises(AssertionError, match=f"The job {first.job_id} holds the key 'k'"):
            await mail.enqueue("6", debounce=Debounce("k", wait=5))
        assert [bytes(request.payload) for request in testing.enqueued] == [b'"4"', b'"3"']


async def test_a_debounced_job_runs_once_when_requests_have_stopped() -> None:
    async with Testing(app) as testing:
        await mail.enqueue("1", debounce=Debounce("k", wait=10, max_wait=18))
        assert await testing.advance(8) == []
        await mail.enqueue("2", debounce=Debounce("k", wait=10, max_wait=18))
        assert await testing.advance(8) == []
        await mail.enqueue("3", debounce=Debounce("k", wait=10, max_wait=18))
        (ran,) = await testing.advance(2)
        assert b"3 in" in bytes(ran.result)
