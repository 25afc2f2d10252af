"""Providers with `per="process"` that hang, or take longer than the job that asked for them first."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import msgspec
import pytest

from queuey import App, Depends
from queuey.worker.execution import Execution
from queuey.worker.handlers.attempt import Outcome, Succeeded
from queuey.worker.providers import kept
from queuey.worker.settings import ExecutionSettings
from tests.support.executions import Events, HeldTimers, executing, failed, make_work

PASSES = 20
"""Passes of the event loop in which a value is left."""


class Steps:
    """What the providers below have done. The first `hang` makings wait for their `go_on`."""

    def __init__(self) -> None:
        self.begin_afresh(0)

    def begin_afresh(self, hang: int, is_stubborn: bool = False) -> None:
        self.seen: list[str] = []
        self.hang = hang
        self.is_stubborn = is_stubborn
        self.fail: set[int] = set()
        self.made = 0
        self.begun = threading.Semaphore(0)
        self.go_on = [threading.Event() for _ in range(hang)]
        self.go_on_in_loop = [asyncio.Event() for _ in range(hang)]

    def begin(self) -> int:
        number, self.made = self.made, self.made + 1
        self.begun.release()
        return number

    async def have_begun(self, makings: int) -> None:
        for _ in range(makings):
            assert await asyncio.to_thread(self.begun.acquire, timeout=30)


steps = Steps()


def pool() -> Iterator[int]:
    number = steps.begin()
    if number < steps.hang:
        assert steps.go_on[number].wait(30)
    if number in steps.fail:
        raise ConnectionError("too late")
    yield number
    steps.seen.append(f"left {number}")


async def client() -> AsyncIterator[int]:
    number = steps.begin()
    while number < steps.hang and not steps.go_on_in_loop[number].is_set():
        try:
            await steps.go_on_in_loop[number].wait()
        except asyncio.CancelledError:
            steps.seen.append(f"ended {number}")
            if not steps.is_stubborn:
                raise
    yield number
    steps.seen.append(f"left {number}")


async def slow_to_leave() -> AsyncIterator[int]:
    yield -1
    for _ in range(PASSES):
        await asyncio.sleep(0)
    steps.seen.append("left slowly")


async def cancels_itself() -> int:
    steps.begin()
    raise asyncio.CancelledError


app = App()


@app.job("thread")
def in_thread(job: None, value: Annotated[int, Depends(pool, per="process")]) -> int:
    return value


@app.job("plain.loop")
async def plain_in_loop(job: None, value: Annotated[int, Depends(pool, per="process")]) -> int:
    return value


@app.job("loop")
async def in_loop(job: None, value: Annotated[int, Depends(client, per="process")]) -> int:
    return value


@app.job("slow")
async def in_slow(job: None, value: Annotated[int, Depends(slow_to_leave, per="process")]) -> int:
    return value


@app.job("cancelled")
async def in_cancelled(job: None, value: Annotated[int, Depends(cancels_itself, per="process")]) -> int:
    return value


def value(outcome: Outcome) -> Any:
    assert isinstance(outcome, Succeeded), outcome
    return msgspec.json.decode(outcome.result_json)


async def stop_one(execution: Execution, type: str, id: str = "stopped") -> None:
    """Run a job, and cancel it once its provider has begun."""
    work = make_work(type, id=id)
    running = asyncio.create_task(execution.run(work))
    await steps.have_begun(1)
    execution.cancel(work)
    failed(await running, "cancelled")


async def test_an_async_one_is_ended_with_its_run_and_the_next_run_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    steps.begin_afresh(2)
    async with executing(app, None) as execution:
        timers = HeldTimers(execution, monkeypatch)
        running = asyncio.create_task(execution.run(make_work("loop", id="late", timeout=0.01)))
        await steps.have_begun(1)
        timers.start("late")
        failed(await running, "timeout")
        await stop_one(execution, "loop")
        assert [value(await execution.run(make_work("loop"))) for _ in range(2)] == [2, 2]
        assert steps.seen == ["ended 0", "ended 1"]
        assert not execution._kept._under_way.total()
    assert steps.seen == ["ended 0", "ended 1", "left 2"]


async def test_a_run_that_waits_for_it_makes_it_then() -> None:
    steps.begin_afresh(1)
    async with executing(app, None) as execution:
        first = make_work("loop", id="first")
        runs = [asyncio.create_task(execution.run(first))]
        await steps.have_begun(1)
        runs += [asyncio.create_task(execution.run(make_work("loop", id=f"{number}"))) for number in range(3)]
        await asyncio.sleep(0)
        assert steps.made == 1
        execution.cancel(first)
        failed(await runs[0], "cancelled")
        assert [value(outcome) for outcome in await asyncio.gather(*runs[1:])] == [1, 1, 1]
    assert (steps.seen, steps.made) == (["ended 0", "left 1"], 2)


async def test_one_that_ignores_its_end_is_made_beside_it() -> None:
    steps.begin_afresh(1, is_stubborn=True)
    async with executing(app, None) as execution:
        await stop_one(execution, "loop")
        assert value(await execution.run(make_work("loop"))) == 1
        steps.go_on_in_loop[0].set()
        await asyncio.gather(*(holder.task for holder in execution._kept._holders if not holder.is_made))
        assert steps.seen == ["ended 0", "left 0"]
    assert steps.seen == ["ended 0", "left 0", "left 1"]


async def test_one_that_ignores_its_end_and_comes_after_all_is_used() -> None:
    steps.begin_afresh(2, is_stubborn=True)
    async with executing(app, None) as execution:
        await stop_one(execution, "loop")
        second = asyncio.create_task(execution.run(make_work("loop", id="second")))
        await steps.have_begun(1)
        steps.go_on_in_loop[0].set()
        assert value(await second) == 0
        steps.go_on_in_loop[1].set()
    assert steps.seen == ["ended 0", "ended 1", "left 1", "left 0"]


async def test_one_whose_task_is_ended_before_it_has_begun() -> None:
    steps.begin_afresh(0)
    async with executing(app, None) as execution:
        ((_, provider),) = (need for need in app.handlers["loop"].needs)
        assert provider is not None
        work = make_work("loop")
        making = execution._kept.value_in_loop(provider, {}, work)
        making.send(None)  # as the executor does
        making.close()
        assert value(await execution.run(make_work("loop", id="second"))) == 0
        assert not execution._kept._under_way.total()
    assert steps.seen == ["left 0"]


async def test_one_that_raises_the_error_of_a_cancellation_is_not_made_again_by_its_run() -> None:
    steps.begin_afresh(0)
    async with executing(app, None) as execution:
        assert "CancelledError" in failed(await execution.run(make_work("cancelled")), "error").message
    assert steps.made == 1


async def test_the_end_of_the_worker_ends_one_that_hangs() -> None:
    steps.begin_afresh(1)
    events = Events()
    async with executing(app, None, events=events) as execution:
        running = asyncio.create_task(execution.run(make_work("loop")))
        await steps.have_begun(1)
    failed(await running, "cancelled")
    assert (steps.seen, events) == (["ended 0"], [])


async def test_in_a_thread_the_next_run_makes_it_beside_one_that_hangs() -> None:
    steps.begin_afresh(1)
    async with executing(app, None) as execution:
        returned = asyncio.Event()
        execution.on_thread_returned(returned.set)
        await stop_one(execution, "thread")
        assert [value(await execution.run(make_work("thread"))) for _ in range(2)] == [1, 1]
        assert value(await execution.run(make_work("plain.loop"))) == 1
        steps.go_on[0].set()
        await returned.wait()
        assert steps.seen == ["left 0"]
    assert steps.seen == ["left 0", "left 1"]


async def test_in_a_thread_the_first_that_is_made_is_used_by_all() -> None:
    steps.begin_afresh(2)
    async with executing(app, None) as execution:
        returned = asyncio.Event()
        execution.on_thread_returned(returned.set)
        await stop_one(execution, "thread")
        second = asyncio.create_task(execution.run(make_work("thread", id="second")))
        await steps.have_begun(1)
        steps.go_on[0].set()
        await returned.wait()
        assert value(await execution.run(make_work("thread"))) == 0
        steps.go_on[1].set()
        assert value(await second) == 0
        assert steps.seen == ["left 1"]
    assert steps.seen == ["left 1", "left 0"]


async def test_in_a_thread_the_error_of_one_that_hung_does_not_fail_those_that_wait_for_the_next() -> None:
    steps.begin_afresh(2)
    steps.fail = {0}
    async with executing(app, None) as execution:
        returned = asyncio.Event()
        execution.on_thread_returned(returned.set)
        await stop_one(execution, "thread")
        runs = [asyncio.create_task(execution.run(make_work("thread", id="second")))]
        await steps.have_begun(1)
        runs.append(asyncio.create_task(execution.run(make_work("plain.loop", id="third"))))
        steps.go_on[0].set()
        await returned.wait()
        steps.go_on[1].set()
        assert [value(outcome) for outcome in await asyncio.gather(*runs)] == [1, 1]


async def test_one_that_ignores_the_end_of_the_worker_is_an_event() -> None:
    steps.begin_afresh(1, is_stubborn=True)
    events = Events()
    async with executing(app, None, events=events, grace=0.05) as execution:
        await stop_one(execution, "loop")
        [holder] = execution._kept._holders
    steps.go_on_in_loop[0].set()
    await holder.task
    assert events.names == ["provider_failed"]
    assert "it did not end in" in str(events[0][1]["error"])
    assert steps.seen == ["ended 0"] * 3 + ["left 0"]


async def test_one_that_ignores_the_end_of_the_worker_leaves_time_for_the_values() -> None:
    steps.begin_afresh(1, is_stubborn=True)
    events = Events()
    async with executing(app, None, events=events, grace=1) as execution:
        assert value(await execution.run(make_work("slow"))) == -1
        await stop_one(execution, "loop")
        [holder] = [holder for holder in execution._kept._holders if not holder.is_made]
    steps.go_on_in_loop[0].set()
    await holder.task
    assert events.names == ["provider_failed"]
    assert steps.seen == [*["ended 0"] * 3, "left slowly", "left 0"]


@pytest.mark.parametrize(("type", "hang"), [("thread", 2), ("plain.loop", 1)])
async def test_no_more_than_a_few_hang(type: str, hang: int, monkeypatch: pytest.MonkeyPatch) -> None:
    steps.begin_afresh(hang)
    monkeypatch.setattr(kept, "MAX_MAKINGS", 2)
    claim, waits = kept.Kept._claim, threading.Event()

    def claims(*arguments: Any) -> Any:
        making, is_maker = claim(*arguments)
        if not is_maker:
            waits.set()
        return making, is_maker

    monkeypatch.setattr(kept.Kept, "_claim", claims)
    async with executing(app, None, thread_slots=3) as execution:
        returned = asyncio.Semaphore(0)
        execution.on_thread_returned(returned.release)
        for number in range(hang):
            await stop_one(execution, "thread", f"{number}")
        waiting = asyncio.create_task(execution.run(make_work(type, id="waiting")))
        assert await asyncio.to_thread(waits.wait, 30)
        assert steps.made == hang
        for go_on in steps.go_on:
            go_on.set()
        assert value(await waiting) in range(hang)
        for _ in steps.go_on:
            await returned.acquire()


async def test_one_that_is_made_after_the_end_of_the_worker_is_left_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    steps.begin_afresh(1)
    leave, left = kept.Kept._leave, threading.Event()

    def leaves(*arguments: Any) -> None:
        leave(*arguments)
        left.set()

    monkeypatch.setattr(kept.Kept, "_leave", leaves)
    settings = ExecutionSettings(thread_slots=1, process_slots=1, default_timeout=30, grace=0.05, result_limit=1000)
    execution = Execution(app, None, settings, on_event=Events())
    await execution.start()
    await stop_one(execution, "thread")
    assert await execution.stop(abandon=True) == 1
    assert steps.seen == []
    steps.go_on[0].set()
    assert await asyncio.to_thread(left.wait, 30)
    assert steps.seen == ["left 0"]
