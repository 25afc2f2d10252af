"""ctx.progress in the loop, in a thread and in a process."""

from __future__ import annotations

import asyncio

import pytest

from queuey.protocol.models import ProgressReport
from queuey.worker.handlers.attempt import Succeeded, Work
from queuey.worker.handlers.job_lines import JobLines
from tests.support.executions import executing, failed, make_work
from tests.support.gate import Gate
from tests.support.handlers import Deed


class Told(list[ProgressReport]):
    def __init__(self) -> None:
        super().__init__()
        self.last = asyncio.Event()

    def __call__(self, work: Work, report: ProgressReport | JobLines) -> None:
        assert isinstance(report, ProgressReport)
        self.append(report)
        if report.done == 999:
            self.last.set()


@pytest.mark.parametrize("mode", ["loop", "thread", "process"])
async def test_it_is_told_before_the_outcome(mode: str) -> None:
    told = Told()
    async with executing() as execution:
        work = make_work(mode, Deed("progress", [[3, 10, "three"]]))
        work.report = told
        assert await execution.run(work) == Succeeded("null")
        assert told == [ProgressReport(3, 10, "three")]
        assert await execution.run(make_work(mode, Deed("progress", [[1]]))) == Succeeded("null")


@pytest.mark.parametrize("mode", ["loop", "process"])
async def test_half_a_character_in_the_note_is_replaced(mode: str) -> None:
    told = Told()
    async with executing() as execution:
        work = make_work(mode, Deed("half_a_note"))
        work.report = told
        assert await execution.run(work) == Succeeded("null")
    assert told == [ProgressReport(1, 10, "caf?")]


async def test_what_is_no_number_is_refused() -> None:
    async with executing() as execution:
        outcome = failed(await execution.run(make_work("loop", Deed("progress", [["1"]]))), "error")
        assert "done='1'" in outcome.message


async def test_a_child_process_sends_the_first_and_the_last_and_few_between() -> None:
    told = Told()
    async with executing() as execution, Gate() as gate:
        work = make_work("slow", Deed(gate.path))
        work.report = told
        running = asyncio.create_task(execution.run(work))
        visitor = await gate.visitor()
        async with asyncio.timeout(20):
            await told.last.wait()
        visitor.let_go("")
        assert await running == Succeeded("null")
    assert told[0] == ProgressReport(0, 1000)
    assert told[-1] == ProgressReport(999, 1000)
    assert len(told) < 100
