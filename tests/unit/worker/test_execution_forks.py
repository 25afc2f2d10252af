"""Results stay with their job: what a child process sends for another job, or twice, is not taken."""

from __future__ import annotations

import pytest

from queuey.forks import EXIT_CODE
from queuey.worker.executors.processes import OTHER_ANSWER
from queuey.worker.handlers.attempt import Succeeded
from tests.support.executions import Events, executing, failed, make_work
from tests.unit.worker import forking_app


@pytest.mark.parametrize("how", ["returns", "raises"])
async def test_a_copy_of_a_child_ends_and_answers_nobody(how: str) -> None:
    events = Events()
    async with executing(forking_app.app, forking_app.PATH, process_slots=1, events=events) as execution:
        assert await execution.run(make_work("fork.process", f'"{how}"')) == Succeeded(str(EXIT_CODE))
        for number in range(3):
            assert await execution.run(make_work("echo", number)) == Succeeded(str(number))
    assert events.names == []


async def test_a_child_that_answers_for_another_job_is_killed_and_its_attempt_has_failed() -> None:
    events = Events()
    async with executing(forking_app.app, forking_app.PATH, process_slots=1, events=events) as execution:
        for other in (0, 3):
            outcome = failed(await execution.run(make_work("forge", other)), "worker_died")
            assert (outcome.message, outcome.dead) == (OTHER_ANSWER, False)
            assert await execution.run(make_work("echo", 1)) == Succeeded("1")
    assert events.names == ["child_died"] * 2


async def test_a_child_that_has_answered_twice_is_killed_before_it_gets_another_job() -> None:
    events = Events()
    async with executing(forking_app.app, forking_app.PATH, process_slots=1, events=events) as execution:
        await execution.run(make_work("forge", 1))
        (child,) = execution._processes._idle
        assert child.has_unread
        assert await execution.run(make_work("echo", 1)) == Succeeded("1")
        await child.exited
    assert events.names == ["child_died"]
