"""Stopping async handlers, and what they share with each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest

from queuey.worker.execution import Execution
from queuey.worker.handlers.app import App
from queuey.worker.handlers.attempt import Succeeded
from queuey.worker.handlers.context import Retry
from tests.support.executions import Events, executing, failed, make_work
from tests.support.virtual_time import block, in_virtual_time

GRACE = 0.05
setting: ContextVar[str] = ContextVar("setting", default="unset")


def app_with(function: Callable[[Any], Awaitable[Any]]) -> App:
    app = App()
    app.job("t")(function)
    return app


class Started:
    """Runs one job in a task of its own, up to the point where its handler calls `here`."""

    def __init__(self) -> None:
        self._reached = asyncio.Event()

    def here(self) -> None:
        self._reached.set()

    async def run(self, execution: Execution) -> asyncio.Task[Any]:
        self.work = make_work("t")
        task = asyncio.create_task(execution.run(self.work))
        await self._reached.wait()
        return task


async def wait_for_ever() -> None:
    await asyncio.get_running_loop().create_future()


@in_virtual_time
async def test_a_handler_that_waits_is_not_stopped_because_another_one_blocks() -> None:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    async def handler(job: None) -> str:
        loop.call_soon(block, 60)
        loop.call_soon(loop.call_soon, loop.call_soon, answer.set_result, "here")  # read after the timers
        return await answer

    async with executing(app_with(handler), None) as execution:
        assert await execution.run(make_work("t", timeout=5)) == Succeeded('"here"')


async def test_a_timeout_cancels_the_handler() -> None:
    seen: list[str] = []

    async def handler(job: None) -> None:
        try:
            await wait_for_ever()
        finally:
            seen.append("cleaned up")

    async with executing(app_with(handler), None) as execution:
        work = make_work("t", timeout=0.01)
        outcome = failed(await execution.run(work), "timeout")
        assert (outcome.message, outcome.dead) == ("no result within 0.01 s", False)
        assert 1000 <= outcome.retry_after_ms <= 2000
        assert seen == ["cleaned up"]
        assert work.started_at is not None


@pytest.mark.parametrize("reaction", ["returns", "raises", "retries"])
async def test_a_timeout_is_one_however_the_handler_takes_it(reaction: str) -> None:
    async def handler(job: None) -> str:
        try:
            await wait_for_ever()
        except asyncio.CancelledError:
            if reaction == "raises":
                raise ValueError from None
            if reaction == "retries":
                raise Retry(after=0) from None
        return "too late"

    async with executing(app_with(handler), None) as execution:
        assert failed(await execution.run(make_work("t", timeout=0.01)), "timeout").retry_after_ms >= 1000


async def test_a_timeout_of_the_handlers_own_is_an_error() -> None:
    async def handler(job: None) -> None:
        async with asyncio.timeout(0.001):
            await wait_for_ever()

    async with executing(app_with(handler), None) as execution:
        assert failed(await execution.run(make_work("t")), "error").message == "TimeoutError"


async def test_a_cancelled_inner_task_is_an_error() -> None:
    async def handler(job: None) -> None:
        inner = asyncio.create_task(wait_for_ever())
        asyncio.get_running_loop().call_soon(inner.cancel)
        await inner

    async with executing(app_with(handler), None) as execution:
        assert failed(await execution.run(make_work("t")), "error").message == "CancelledError"


async def test_a_cancel_stops_the_handler() -> None:
    started = Started()

    async def handler(job: None) -> None:
        started.here()
        await wait_for_ever()

    async with executing(app_with(handler), None) as execution:
        task = await started.run(execution)
        execution.cancel(started.work)
        outcome = failed(await task, "cancelled")
        assert (outcome.message, outcome.dead) == ("cancelled while it ran", False)


async def test_a_result_in_spite_of_a_cancel_counts() -> None:
    started = Started()

    async def handler(job: None) -> str:
        started.here()
        try:
            await wait_for_ever()
        except asyncio.CancelledError:
            return "done all the same"
        return "never"

    async with executing(app_with(handler), None) as execution:
        task = await started.run(execution)
        execution.cancel(started.work)
        assert await task == Succeeded('"done all the same"')


async def test_a_cancel_after_the_end_does_nothing() -> None:
    async def handler(job: None) -> None:
        await asyncio.sleep(0)

    async with executing(app_with(handler), None) as execution:
        work = make_work("t")
        assert await execution.run(work) == Succeeded("null")
        execution.cancel(work)
        await asyncio.sleep(0)  # Were this task cancelled, it would end here.


@pytest.mark.parametrize("swallow", [False, True])
async def test_the_callers_task_can_go_on_after_a_stop(swallow: bool) -> None:
    async def handler(job: None) -> None:
        try:
            await wait_for_ever()
        except asyncio.CancelledError:
            if not swallow:
                raise

    async with executing(app_with(handler), None) as execution:
        failed(await execution.run(make_work("t", timeout=0.01)), "timeout")
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        async with asyncio.timeout(5):
            await asyncio.sleep(0)


async def test_a_cancel_of_the_callers_task_is_passed_on() -> None:
    started = Started()

    async def handler(job: None) -> None:
        started.here()
        await wait_for_ever()

    async with executing(app_with(handler), None) as execution:
        task = await started.run(execution)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert execution.stuck == 0


async def test_a_cancel_of_the_callers_task_is_not_lost_behind_our_own() -> None:
    started = Started()

    async def handler(job: None) -> None:
        started.here()
        await wait_for_ever()

    async with executing(app_with(handler), None) as execution:
        task = await started.run(execution)
        execution.cancel(started.work)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_handler_that_swallows_its_cancel_is_closed_after_the_grace() -> None:
    steps: list[str] = []
    stubborn = asyncio.Event()

    async def handler(job: None) -> None:
        try:
            while True:
                try:
                    await stubborn.wait()
                except asyncio.CancelledError:
                    steps.append("swallowed")
        finally:
            steps.append("closed")

    events = Events()
    async with executing(app_with(handler), None, events=events, grace=GRACE) as execution:
        failed(await execution.run(make_work("t", timeout=0.01)), "timeout")
        assert steps == ["swallowed", "closed"]
        assert events == [("handler_abandoned", {"job_id": "job-1", "type": "t", "reason": "timeout"})]
        assert execution.stuck == 0


async def test_a_handler_that_awaits_a_stubborn_task_is_counted_as_stuck_until_that_ends() -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async def handler(job: None) -> None:
        await asyncio.create_task(stubborn())

    events = Events()
    async with executing(app_with(handler), None, events=events, grace=GRACE) as execution:
        task = asyncio.create_task(execution.run(make_work("t", timeout=0.01)))
        await events.came.wait()
        assert events.names == ["handler_abandoned"]
        assert execution.stuck == 1
        release.set()
        failed(await task, "timeout")
        assert execution.stuck == 0


async def test_context_variables_do_not_reach_the_next_job() -> None:
    async def handler(job: str) -> str:
        before = setting.get()
        setting.set(job)
        await asyncio.sleep(0)
        return f"{before} -> {setting.get()}"

    async with executing(app_with(handler), None) as execution:
        assert await execution.run(make_work("t", '"a"')) == Succeeded('"unset -> a"')
        assert await execution.run(make_work("t", '"b"')) == Succeeded('"unset -> b"')
        assert setting.get() == "unset"


async def test_everything_that_asyncio_offers_works_in_a_handler() -> None:
    async def handler(job: None) -> list[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        loop.call_soon(future.set_result, "future")
        async with asyncio.TaskGroup() as group:
            child = group.create_task(asyncio.sleep(0, "task"))
        done: list[Any] = list(await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0.001, 2)))
        try:
            await asyncio.wait_for(wait_for_ever(), 0.001)
        except TimeoutError:
            done.append("timeout")
        return [await future, child.result(), *done, await asyncio.to_thread(lambda: "thread")]

    async with executing(app_with(handler), None) as execution:
        outcome = await execution.run(make_work("t"))
        assert outcome == Succeeded('["future","task",1,2,"timeout","thread"]')


class TestStop:
    async def test_what_runs_may_end_within_the_grace(self) -> None:
        started, go_on = Started(), asyncio.Event()

        async def handler(job: None) -> str:
            started.here()
            await go_on.wait()
            return "ended"

        async with executing(app_with(handler), None) as execution:
            task = await started.run(execution)
            stop = asyncio.create_task(execution.stop(abandon=False))
            await asyncio.sleep(0)
            go_on.set()
            assert await stop == 0
            assert await task == Succeeded('"ended"')

    @pytest.mark.parametrize("abandon", [False, True])
    async def test_what_does_not_is_cancelled(self, abandon: bool) -> None:
        started = Started()

        async def handler(job: None) -> None:
            started.here()
            await wait_for_ever()

        async with executing(app_with(handler), None, grace=GRACE) as execution:
            task = await started.run(execution)
            assert await execution.stop(abandon=abandon) == 0
            failed(await task, "cancelled")
