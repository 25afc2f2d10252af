"""`Testing(app)`: what users test their handlers with."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from queuey import App, Backoff, Context, Dead, Retry, Testing
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
        mail.enqueue("x")


async def test_jobs_that_enqueue_one_another_for_ever_end() -> None:
    async with Testing(app) as testing:
        await endless.enqueue(None)
        with pytest.raises(AssertionError, match=f"{MOST:,} jobs were run"):
            await testing.run_all()


async def test_outside_of_its_block_it_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await Testing(app).run(mail, "x")
