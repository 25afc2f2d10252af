"""Handlers in an event loop of their own: what crosses between the two loops, and what a handler that blocks stops."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from queuey import loops
from queuey.errors import Full, StartupError
from queuey.metrics import Metrics
from queuey.protocol.models import EnqueueReply, JobRequest
from queuey.worker.executors.loop_watch import LoopWatch
from queuey.worker.executors.own_loop import Crossing, OwnLoopExecution
from queuey.worker.handlers.app import App
from queuey.worker.handlers.attempt import StopReason, Succeeded, Work
from queuey.worker.handlers.context import Context
from queuey.worker.settings import ExecutionSettings
from tests.support.executions import Events, failed, make_work

PATIENCE = 20.0
MANY = 500


def made(app: App, grace: float = 5.0, watch: LoopWatch | None = None) -> OwnLoopExecution:
    settings = ExecutionSettings(thread_slots=2, process_slots=1, default_timeout=30.0, grace=grace, result_limit=1000)
    return OwnLoopExecution(app, None, settings, watch or LoopWatch(0, Metrics(), "handlers"), on_event=Events())


@asynccontextmanager
async def executing(app: App, *, grace: float = 5.0, watch: LoopWatch | None = None) -> AsyncIterator[OwnLoopExecution]:
    """An execution that has started. Leaving it ends it, with its thread."""
    execution = made(app, grace, watch)
    await execution.start()
    thread = execution._thread
    assert thread is not None
    try:
        yield execution
    finally:
        assert await execution.stop(abandon=True) == 0
        assert not thread.is_alive()
        assert await execution.stop(abandon=True) == 0, "a second time, too"


async def until(event: threading.Event) -> None:
    """Wait for what happens in another thread."""
    assert await asyncio.to_thread(event.wait, PATIENCE)


async def test_a_handler_that_blocks_does_not_block_the_loop_of_the_server() -> None:
    app, begun, released = App(), threading.Event(), threading.Event()

    @app.job("t")
    async def block(_: None) -> bool:
        begun.set()
        return released.wait(PATIENCE)

    async with executing(app) as execution:
        outcome = asyncio.create_task(execution.run(make_work("t")))
        await until(begun)
        released.set()  # by the loop that would stand still
        assert await outcome == Succeeded("true")


async def test_outcomes_are_those_of_any_execution() -> None:
    app = App()

    @app.job("returns")
    async def returns(value: int) -> int:
        return value

    @app.job("waits")
    async def waits(value: int) -> int:
        await asyncio.sleep(0)
        return value

    @app.job("raises")
    async def raises(_: int) -> None:
        raise ValueError("no")

    @app.job("thread")
    def thread(value: int) -> int:
        return value

    async with executing(app) as execution:
        for type in ("returns", "waits", "thread"):
            assert await execution.run(make_work(type, 7)) == Succeeded("7")
        error = failed(await execution.run(make_work("raises", 7)), "error")
        assert (error.message, error.retry_after_ms > 0) == ("ValueError: no", True)
        failed(await execution.run(make_work("returns", "seven")), "payload")
        failed(await execution.run(make_work("none")), "unknown_type")


async def test_none_of_many_is_missed() -> None:
    app = App()

    @app.job("t")
    async def handler(number: int) -> int:
        if number % 3:
            await asyncio.sleep(0)
        return number

    async with executing(app) as execution:
        works = [make_work("t", number) for number in range(MANY)]
        assert await asyncio.gather(*map(execution.run, works)) == [Succeeded(str(number)) for number in range(MANY)]


async def test_items_cross_in_order_also_while_others_are_taken() -> None:
    taken: list[int] = []
    crossing = Crossing(asyncio.get_running_loop(), taken.append)

    def put() -> None:
        for number in range(10_000):
            crossing.put(number)

    await asyncio.to_thread(put)
    await asyncio.sleep(0)
    assert taken == list(range(10_000))


class Held:
    """A handler that waits until it is stopped."""

    def __init__(self, app: App, *, stays: bool = False) -> None:
        self.begun = threading.Event()
        self.stopped: list[str] = []
        app.job("t")(self._stay if stays else self._wait)

    async def _wait(self, _: None) -> str:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.stopped.append(threading.current_thread().name)
            raise
        return "done"

    async def _stay(self, _: None) -> str:
        self.begun.set()
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.stopped.append("stays")


async def test_a_timeout_and_a_cancel_reach_the_handler_in_its_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    app, cancelled_in = App(), list[str]()
    held = Held(app)
    async with executing(app) as execution:
        stop = execution._stopper.stop

        def recorded(work: Work, reason: StopReason) -> None:
            cancelled_in.append(threading.current_thread().name)
            stop(work, reason)

        failed(await execution.run(make_work("t", timeout=0.01)), "timeout")
        held.begun.clear()
        work = make_work("t")
        outcome = asyncio.create_task(execution.run(work))
        await until(held.begun)
        monkeypatch.setattr(execution._stopper, "stop", recorded)
        execution.cancel(work)
        failed(await outcome, "cancelled")
        assert held.stopped == ["queuey-handlers"] * 2
        assert cancelled_in == ["queuey-handlers"]


async def test_a_job_that_is_cancelled_before_it_begins_does_not_run() -> None:
    app = App()
    held = Held(app)
    async with executing(app) as execution:
        work = make_work("t")
        outcome = execution.begin(work)
        execution.cancel(work)
        execution.cancel(work)
        failed(await outcome, "cancelled")
        assert held.stopped in ([], ["queuey-handlers"])


async def test_a_handler_that_ignores_a_cancel_is_closed_after_the_grace() -> None:
    app = App()
    held = Held(app, stays=True)
    async with executing(app, grace=0.05) as execution:
        failed(await execution.run(make_work("t", timeout=0.01)), "timeout")
        assert held.stopped == ["stays"]


async def test_a_result_after_a_cancel_counts() -> None:
    app, begun, go_on = App(), threading.Event(), threading.Event()

    @app.job("t")
    async def handler(_: None) -> str:
        begun.set()
        assert go_on.wait(PATIENCE)
        return "done"

    async with executing(app) as execution:
        work = make_work("t")
        outcome = asyncio.create_task(execution.run(work))
        await until(begun)
        execution.cancel(work)
        go_on.set()
        assert await outcome == Succeeded('"done"')


async def test_the_lifespan_is_in_the_loop_of_the_handlers() -> None:
    left: list[object] = []

    @asynccontextmanager
    async def lifespan(_: App) -> AsyncIterator[object]:
        yield asyncio.get_running_loop()
        left.append(asyncio.get_running_loop())

    app = App(lifespan=lifespan)

    @app.job("t")
    async def handler(_: None, ctx: Context) -> bool:
        return ctx.state is asyncio.get_running_loop() and loops.serves_here()

    async with executing(app) as execution:
        assert await execution.run(make_work("t")) == Succeeded("true")
    assert left == [execution._own]
    assert execution._own is not asyncio.get_running_loop()
    assert type(execution._own) is type(asyncio.get_running_loop())


async def test_a_lifespan_that_fails_ends_the_thread() -> None:
    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        if not app.handlers:
            raise RuntimeError("no database")
        yield

    before = threading.active_count()
    with pytest.raises(StartupError, match="no database"):
        async with executing(App(lifespan=lifespan)):
            pass
    assert threading.active_count() <= before + 1, "only a thread of asyncio.to_thread may be new"
    assert [thread for thread in threading.enumerate() if thread.name == "queuey-handlers"] == []


class Sender:
    """Takes jobs in one loop only."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.error: Exception | None = None

    async def send(self, request: JobRequest) -> EnqueueReply:
        assert asyncio.get_running_loop() is self._loop
        if self.error is not None:
            raise self.error
        return EnqueueReply("id", deduplicated=False)


async def test_a_handler_enqueues_in_the_loop_of_the_server() -> None:
    app, sender = App(), Sender()

    @app.job("t")
    async def handler(payload: Any) -> str:
        return (await handler.enqueue(payload)).job_id

    async with executing(app) as execution:
        app.sender = execution.reach(sender)
        assert await execution.run(make_work("t")) == Succeeded('"id"')
        sender.error = Full("no room")
        assert "no room" in failed(await execution.run(make_work("t")), "error").message


async def test_a_thread_that_returns_late_is_reported_in_the_loop_of_the_server() -> None:
    app, begun, released = App(), threading.Event(), threading.Event()
    returned: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    @app.job("t")
    def handler(_: None) -> None:
        begun.set()
        assert released.wait(PATIENCE)

    async with executing(app) as execution:
        execution.on_thread_returned(lambda: returned.set_result(asyncio.get_running_loop()))
        failed(await execution.run(make_work("t", timeout=0.01)), "timeout")
        released.set()
        assert await returned is asyncio.get_running_loop()


async def test_a_handler_that_blocks_is_left_behind_at_the_end() -> None:
    app, begun, released = App(), threading.Event(), threading.Event()

    @app.job("t")
    async def block(_: None) -> None:
        begun.set()
        assert released.wait(PATIENCE)

    execution = made(app)
    await execution.start()
    outcome = asyncio.create_task(execution.run(make_work("t")))
    await until(begun)
    thread = execution._thread
    assert thread is not None
    execution._patience = 0.01
    assert await execution.stop(abandon=True) == 1
    released.set()
    await asyncio.to_thread(thread.join, PATIENCE)
    assert not thread.is_alive()
    assert await outcome == Succeeded("null")


async def test_what_cannot_begin_is_withdrawn_while_a_handler_blocks() -> None:
    app, begun, released, ran = App(), threading.Event(), threading.Event(), list[int]()
    changes: asyncio.Queue[tuple[bool, list[Work]]] = asyncio.Queue()

    @app.job("t")
    async def handler(number: int) -> None:
        ran.append(number)
        if number == 0:
            begun.set()
            assert released.wait(PATIENCE)

    watch = LoopWatch(3600, Metrics(), "handlers", on_event=lambda event, /, **fields: None, beat=0.01)
    async with executing(app, watch=watch) as execution:
        execution.on_stall(lambda withdrawn: changes.put_nowait((execution.is_stalled, list(withdrawn))))
        works = [make_work("t", number) for number in range(6)]
        first, *others = [asyncio.create_task(execution.run(work)) for work in works[:4]]
        await until(begun)
        assert execution._thread is not None
        assert execution._thread.ident is not None
        watch.look(time.monotonic() + 4000, execution._thread.ident)
        assert await changes.get() == (True, works[1:4])
        others.append(asyncio.create_task(execution.run(works[4])))
        assert await changes.get() == (True, works[4:5])
        await asyncio.wait(others)
        assert [task.cancelled() for task in others] == [True] * 4
        released.set()
        assert await changes.get() == (False, [])
        assert await execution.run(works[5]) == Succeeded("null")
        await first
    assert ran == [0, 5]


async def test_the_watch_of_the_handlers_loop_names_what_blocks_it() -> None:
    app, released, reports = App(), threading.Event(), list[dict[str, object]]()

    def report(event: str, /, **fields: object) -> None:
        reports.append({"event": event, **fields})
        released.set()

    @app.job("t")
    async def block(_: None) -> bool:
        await asyncio.sleep(0)
        return released.wait(PATIENCE)

    metrics = Metrics()
    watch = LoopWatch(0.05, metrics, "handlers", on_event=report, beat=0.01)
    async with executing(app, watch=watch) as execution:
        assert await execution.run(make_work("t")) == Succeeded("true")
    assert (reports[0]["event"], reports[0]["loop"], reports[0]["type"]) == ("event_loop_blocked", "handlers", "t")
