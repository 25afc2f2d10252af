"""The lines of `ctx.log`: in the loop, a thread and a child process, and in the testing kit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
import structlog

from queuey import log
from queuey.protocol.models import ProgressReport
from queuey.protocol.stored import job_log
from queuey.worker.handlers.app import App
from queuey.worker.handlers.attempt import Succeeded, Work
from queuey.worker.handlers.context import Context
from queuey.worker.handlers.job_lines import JobLines
from queuey.worker.testing import Testing
from tests.support.executions import executing, make_work
from tests.support.handlers import Deed


@pytest.fixture
def as_configured() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


class Reported(list[str]):
    def __call__(self, work: Work, report: ProgressReport | JobLines) -> None:
        assert isinstance(report, JobLines)
        assert work.lines is report
        self.append(report.text())


def texts(lines: str) -> list[tuple[str, str]]:
    return [(line.level, line.text) for line in job_log.parse(lines)]


def logged(work: Work) -> list[tuple[str, str]]:
    assert work.lines is not None
    return texts(work.lines.text())


@pytest.mark.parametrize("mode", ["loop", "thread", "process"])
async def test_lines_are_reported_before_the_outcome(mode: str) -> None:
    reported = Reported()
    async with executing() as execution:
        work = make_work(mode, Deed("log", ["begun", "done"]))
        work.report = reported
        assert await execution.run(work) == Succeeded("null")
        assert texts(reported[-1]) == [("info", "begun page=3"), ("info", "done page=3")]
        silent = make_work(mode, Deed("echo"))
        silent.report = reported
        count = len(reported)
        assert await execution.run(silent) == Succeeded("null")
    assert (silent.lines, len(reported)) == (None, count)


async def test_a_tight_loop_in_a_child_process_sends_few_messages() -> None:
    reported = Reported()
    async with executing() as execution:
        work = make_work("process", Deed("log", [str(number) for number in range(3000)]))
        work.report = reported
        assert await execution.run(work) == Succeeded("null")
    assert len(reported) < 30
    assert texts(reported[-1])[-1] == ("info", "2999 page=3")
    assert len(texts(reported[-1])) == job_log.MAX_LINES


async def test_lines_in_an_isolated_child() -> None:
    reported = Reported()
    async with executing() as execution:
        work = make_work("loop", Deed("log", ["begun"]))
        work.isolated, work.report = True, reported
        assert await execution.run(work) == Succeeded("null")
    assert texts(reported[-1]) == [("info", "begun page=3")]


def test_levels_fields_and_exceptions(as_configured: None) -> None:
    log.configure("debug", "json")
    work = make_work("t")
    ctx = Context[Any](work, None)
    ctx.log.debug("small", n=1, name="a b", url="redis://user:word@host", password="word")
    ctx.log.warning("two\nlines")
    ctx.log.critical("bad", payload={"a": 1})
    try:
        raise ValueError("no luck")
    except ValueError:
        ctx.log.exception("failed")
    *lines, (level, text) = logged(work)
    assert lines == [
        ("debug", "small n=1 name='a b' url=redis://***@host password=***"),
        ("warning", "two\nlines"),
        ("critical", "bad payload=***"),
    ]
    assert level == "error"
    assert text.startswith("failed\nTraceback")
    assert text.endswith("ValueError: no luck")


def test_what_is_below_the_level_is_not_kept(as_configured: None) -> None:
    log.configure("warning", "json")
    work = make_work("t")
    ctx = Context[Any](work, None)
    ctx.log.info("no")
    ctx.log.error("yes")
    assert logged(work) == [("error", "yes")]


def test_a_line_that_the_apps_own_structlog_drops_or_changes(as_configured: None) -> None:
    def careful(_: Any, __: str, event: Any) -> Any:
        if event["event"] == "noise":
            raise structlog.DropEvent
        return event | {"card": "****"}

    written: list[Any] = []

    def last(_: Any, __: str, event: Any) -> Any:
        written.append(event)
        raise structlog.DropEvent

    structlog.configure(processors=[careful, last])
    work = make_work("t")
    ctx = Context[Any](work, None)
    ctx.log.info("noise")
    ctx.log.info("paid", card="4111")
    assert logged(work) == [("info", "paid card=****")]
    assert written == [{"event": "paid", "card": "****", "job_id": "job-1", "type": "t", "attempt": 1}]


def _dropped(_: Any, __: str, event: Any) -> Any:
    raise structlog.DropEvent


def test_a_value_without_a_repr_harms_nothing(as_configured: None) -> None:
    class Unprintable:
        def __repr__(self) -> str:
            raise RuntimeError

    structlog.configure(processors=[_dropped])
    work = make_work("t")
    Context[Any](work, None).log.info("odd", value=Unprintable())
    assert logged(work) == [("info", "odd value=<Unprintable>")]


def test_threads_of_a_handler_log_together() -> None:
    work = make_work("t")
    ctx = Context[Any](work, None)
    threads = [Thread(target=lambda: [ctx.log.info("x") for _ in range(10)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert logged(work) == [("info", "x")] * 80


async def test_the_testing_kit_has_the_lines_of_each_run() -> None:
    app = App()

    @app.middleware
    def around(ctx: Context) -> Iterator[None]:
        ctx.log.info("before")
        yield
        ctx.log.info("after")

    @app.job("quiet")
    async def quiet(payload: Any, ctx: Context) -> None:
        ctx.log.info("within", n=payload)
        await asyncio.sleep(0)

    @app.job("fails")
    def fails(payload: Any, ctx: Context) -> None:
        ctx.log.error("bad")
        raise ValueError

    async with Testing(app) as testing:
        ran = await testing.run("quiet", 3)
        assert [(line.attempt, line.text) for line in ran.log] == [(1, "before"), (1, "within n=3"), (1, "after")]
        failed = await testing.run("fails", attempt=2)
        assert [(line.attempt, line.level, line.text) for line in failed.log][1] == (2, "error", "bad")
