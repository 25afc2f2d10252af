"""Attempts in a child process of their own, which may kill the process that runs them."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from queuey.worker.execution import MAX_ISOLATED, Execution
from queuey.worker.handlers.app import App
from queuey.worker.handlers.attempt import Outcome, Succeeded, Work
from tests.support.executions import Events, executing, failed, make_work
from tests.support.gate import Gate, Visitor
from tests.unit.worker import isolated_app as isolated


def suspect(type: str, gate: Gate, **options: float) -> Work:
    work = make_work(type, f'"{gate.path}"', **options)  # type: ignore[arg-type]
    work.isolated = True
    return work


async def begin(execution: Execution, type: str, gate: Gate) -> tuple[asyncio.Task[Outcome], Visitor]:
    task = asyncio.create_task(execution.run(suspect(type, gate)))
    return task, await gate.visitor()


@pytest.mark.parametrize("type", ["loop", "thread"])
async def test_a_handler_runs_in_a_process_with_a_lifespan_of_its_own(type: str) -> None:
    async with executing(isolated.app, isolated.PATH) as execution, Gate() as gate:
        pids = []
        for _ in range(2):
            task, visitor = await begin(execution, type, gate)
            pids.append(visitor.pid)
            visitor.let_go("")
            assert await task == Succeeded(f'"state of {visitor.pid}"')
        assert len({os.getpid(), *pids}) == 3


async def test_a_handler_of_a_child_process_has_no_lifespan_there_either() -> None:
    async with executing(isolated.app, isolated.PATH) as execution, Gate() as gate:
        task, visitor = await begin(execution, "process", gate)
        visitor.let_go("")
        assert await task == Succeeded("null")


@pytest.mark.parametrize("type", ["loop", "thread", "process"])
async def test_a_job_that_kills_its_own_process_is_dead_and_takes_nobody_along(type: str) -> None:
    events = Events()
    async with executing(isolated.app, isolated.PATH, events=events) as execution, Gate() as gate:
        poison, killed = await begin(execution, type, gate)
        neighbour, other = await begin(execution, "thread", gate)
        killed.let_go("die")
        outcome = failed(await poison, "worker_died")
        assert outcome.dead
        assert outcome.message == "the child process ended with exit code 9"
        other.let_go("")
        assert isinstance(await neighbour, Succeeded)
        assert events.names == ["child_died"]


async def test_an_ordinary_fault_is_a_failed_attempt() -> None:
    async with executing(isolated.app, isolated.PATH) as execution:
        work = make_work("fails")
        work.isolated = True
        outcome = failed(await execution.run(work), "error")
        assert not outcome.dead
        assert outcome.message == "ValueError: an ordinary fault"


async def test_a_lifespan_that_fails_in_the_child_is_a_failed_attempt() -> None:
    async with executing(App(), isolated.PATH_OF_BROKEN) as execution, Gate() as gate:
        execution._handlers.update(isolated.app.handlers)
        outcome = failed(await execution.run(suspect("loop", gate)), "error")
        assert not outcome.dead
        assert "no database here" in outcome.message


async def test_a_child_that_cannot_load_the_app_is_a_failed_attempt() -> None:
    async with executing(isolated.app, "tests.support.nowhere:app") as execution, Gate() as gate:
        assert not failed(await execution.run(suspect("loop", gate)), "worker_died").dead


async def test_few_run_at_a_time_and_the_others_wait() -> None:
    async with executing(isolated.app, isolated.PATH) as execution, Gate() as gate:
        begun = [await begin(execution, "loop", gate) for _ in range(MAX_ISOLATED)]
        waiting = suspect("loop", gate)
        task = asyncio.create_task(execution.run(waiting))
        await asyncio.sleep(0)
        assert waiting.started_at is None
        for _, visitor in begun:
            visitor.let_go("")
        (await gate.visitor()).let_go("")
        for each in [task, *(task for task, _ in begun)]:
            assert isinstance(await each, Succeeded)


@pytest.mark.parametrize("type", ["loop", "thread"])
async def test_a_timeout_kills_the_child_and_spends_an_attempt(type: str) -> None:
    async with executing(isolated.app, isolated.PATH) as execution, Gate() as gate:
        task = asyncio.create_task(execution.run(suspect(type, gate, timeout=0.01)))
        assert not failed(await task, "timeout").dead


async def test_without_the_path_of_its_app_a_worker_isolates_nothing() -> None:
    app = App()

    @app.job("pid")
    async def pid(payload: Any) -> int:
        return os.getpid()

    async with executing(app, None) as execution:
        assert execution.max_isolated == 0
        work = make_work("pid")
        work.isolated = True
        assert await execution.run(work) == Succeeded(str(os.getpid()))
