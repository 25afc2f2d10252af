"""The loop watch: what it names, once each time, and what it does not take for a block."""

from __future__ import annotations

import asyncio
import sysconfig
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from queuey.lifecycle import end_tasks
from queuey.metrics import Metrics
from queuey.services.maintenance.loops import run_forever
from queuey.worker.executors.loop_watch import LoopWatch, _stood
from queuey.worker.executors.running import run_to_end
from queuey.worker.handlers.app import App
from tests.support.executions import executing, make_work

PATIENCE = 20.0
LIMIT = 0.05
HERE = threading.get_ident


class Reports(list[dict[str, Any]]):
    """`on_event`: keeps the events, and releases what blocks once the block is reported."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()
        self.over = asyncio.Event()

    def __call__(self, event: str, /, **fields: object) -> None:
        self.append({"event": event, **fields})
        if event == "event_loop_blocked":
            self.released.set()
        else:
            self.over.set()

    def block(self) -> None:
        assert self.released.wait(PATIENCE)


@asynccontextmanager
async def watching(reports: Reports, metrics: Metrics | None = None) -> AsyncIterator[None]:
    watch = LoopWatch(LIMIT, metrics or Metrics(), on_event=reports, beat=0.01)
    watch.start()
    beat = asyncio.create_task(run_forever(watch))
    await asyncio.sleep(0)
    try:
        yield
    finally:
        await end_tasks([beat])
        watch.stop()


def app_of(reports: Reports) -> App:
    app = App()

    @app.job("at.once")
    async def at_once(_: None) -> None:
        reports.block()

    @app.job("later")
    async def later(_: None) -> None:
        await asyncio.sleep(0)
        reports.block()

    @app.job("in.task")
    async def in_task(_: None) -> None:
        async def part() -> None:
            reports.block()

        await asyncio.create_task(part())

    library = f"{sysconfig.get_path('purelib')}/shop/jobs.py"
    names: dict[str, Any] = {"block": reports.block}
    exec(compile("async def pack(_):\n    helper()\n\ndef helper():\n    block()\n", library, "exec"), names)
    app.job("packed")(names["pack"])
    return app


@pytest.mark.parametrize("type", ["at.once", "later"])
async def test_a_handler_that_blocks_is_named_with_its_own_line(type: str) -> None:
    """It blocks in a library, below two functions of the user's."""
    reports, metrics = Reports(), Metrics()
    async with executing(app_of(reports), None) as execution, watching(reports, metrics):
        await execution.run(make_work(type, id="job-7"))
        await asyncio.wait_for(reports.over.wait(), PATIENCE)
    blocked, free = reports
    assert (blocked["event"], blocked["type"], blocked["job_id"]) == ("event_loop_blocked", type, "job-7")
    line = Reports.block.__code__.co_firstlineno + 1
    assert blocked["at"] == f"{__file__}:{line} in Reports.block"
    assert (free["event"], free["type"], free["job_id"]) == ("event_loop_free", type, "job-7")
    assert metrics.loop_blocked.cell(("server",))[0] >= LIMIT


async def test_a_task_of_a_handler_is_named_by_its_code() -> None:
    reports = Reports()
    async with executing(app_of(reports), None) as execution, watching(reports):
        await execution.run(make_work("in.task"))
    assert reports[0]["type"] is None
    assert reports[0]["at"].endswith("in Reports.block")


def test_what_has_no_code_of_the_user_is_named_by_the_place_where_it_is() -> None:
    """And not by what has started the event loop, which is no library either: the script `queuey`, or this test."""
    reports = Reports()

    async def block() -> None:
        async with watching(reports):
            asyncio.get_running_loop().call_soon(reports.released.wait, PATIENCE)
            await asyncio.wait_for(reports.over.wait(), PATIENCE)

    with asyncio.Runner() as runner:
        run_to_end(runner.get_loop(), block())
    assert (reports[0]["type"], reports[0]["job_id"]) == (None, None)
    assert "/threading.py:" in reports[0]["at"]


async def test_a_handler_in_a_library_is_named_by_its_own_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queuey.worker.executors.loop_watch.is_own", lambda filename: False)
    reports = Reports()
    async with executing(app_of(reports), None) as execution, watching(reports):
        await execution.run(make_work("packed"))
    assert reports[0]["at"].endswith("/shop/jobs.py:2 in pack")


# --- without a thread: the times are given --------------------------------------------------------------------------


@asynccontextmanager
async def beating(reports: Reports) -> AsyncIterator[LoopWatch]:
    watch = LoopWatch(1.0, Metrics(), on_event=reports, beat=PATIENCE)
    beat = asyncio.create_task(run_forever(watch))
    await asyncio.sleep(0)
    yield watch
    await end_tasks([beat])
    watch.look(time.monotonic() + 900, HERE())
    assert len(reports) <= 1, "a loop without a beat is not watched"


async def test_a_block_is_reported_once_and_not_before_the_limit() -> None:
    reports = Reports()
    async with beating(reports) as watch:
        now = time.monotonic() + PATIENCE
        watch.look(now + 0.5, HERE())
        assert reports == []
        watch.look(now + 1.5, HERE())
        watch.look(now + 2.5, HERE())
        assert [each["seconds"] for each in reports] == [1.5]


async def test_a_process_that_was_stopped_has_not_blocked_its_loop() -> None:
    reports = Reports()
    async with beating(reports) as watch:
        now = time.monotonic() + PATIENCE
        watch.look(now + 60, HERE(), stood=59.0)
        watch.look(now + 60.25, HERE())
        assert reports == []
        watch.look(now + 60 + PATIENCE + 1.5, HERE())
        assert len(reports) == 1, "it runs again, and the loop is blocked"


def test_a_process_that_computes_does_not_stand_still() -> None:
    assert _stood(6.0, 0.1) == 6.0
    assert _stood(6.0, 5.9) == 0.0
    assert _stood(0.001, 0.001) == 0.0


async def test_a_limit_of_zero_starts_no_thread() -> None:
    before = threading.active_count()
    watch = LoopWatch(0, Metrics())
    watch.start()
    assert threading.active_count() == before
    watch.stop()
