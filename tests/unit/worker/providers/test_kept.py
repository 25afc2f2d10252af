"""Providers with `per="process"`: one value for the process that runs the handlers, until it stops."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from queuey import App, Depends, Testing
from queuey.metrics import Metrics
from queuey.worker.executors.loop_watch import LoopWatch
from queuey.worker.executors.own_loop import OwnLoopExecution
from queuey.worker.handlers.attempt import Outcome, Succeeded
from queuey.worker.providers import kept
from queuey.worker.settings import ExecutionSettings
from tests.support.executions import Events, executing, failed, make_work
from tests.unit.worker.providers import provided_app as ready


def value(outcome: Outcome) -> Any:
    assert isinstance(outcome, Succeeded), outcome
    return msgspec.json.decode(outcome.result_json)


async def test_the_loop_and_the_threads_share_it_until_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "left"
    monkeypatch.setenv("LEFT", str(file))
    ready.made_in_process.clear()
    async with executing(ready.app, ready.PATH) as execution:
        for type in ("pool.loop", "pool.thread", "pool.loop", "pool.thread"):
            assert value(await execution.run(make_work(type))) == [os.getpid()]
        assert not file.exists()
    assert file.read_text().split() == [str(os.getpid())]


@pytest.mark.parametrize("isolated", [False, True])
async def test_a_child_has_one_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolated: bool) -> None:
    file = tmp_path / "left"
    monkeypatch.setenv("LEFT", str(file))
    pids = set()
    async with executing(ready.app, ready.PATH, process_slots=1) as execution:
        for _ in range(2):
            work = make_work("pool.process")
            work.isolated = isolated
            (pid,) = value(await execution.run(work))
            pids.add(pid)
    assert len(pids) == (2 if isolated else 1)
    assert os.getpid() not in pids
    assert {int(line) for line in file.read_text().split()} == pids


@pytest.mark.parametrize("type", ["pool.loop", "pool.thread", "pool.async"])
async def test_an_isolated_handler_has_one_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type: str
) -> None:
    file = tmp_path / "left"
    monkeypatch.setenv("LEFT", str(file))
    if type == "pool.async":
        monkeypatch.setenv("ASYNC", "yes")
    async with executing(ready.app, ready.PATH) as execution:
        work = make_work(type)
        work.isolated = True
        (pid,) = value(await execution.run(work))
    assert file.read_text().split() == [str(pid)]


async def test_in_tests_a_process_handler_does_not_share_that_of_the_worker() -> None:
    ready.made_in_process.clear()
    async with Testing(ready.app) as testing:
        assert (await testing.run("pool.thread")).value() == [os.getpid()]
        assert (await testing.run("pool.process")).value() == [os.getpid()] * 2
        assert (await testing.run("pool.thread")).value() == [os.getpid()] * 2


class Steps:
    """What the providers below have done, and what they wait for."""

    def __init__(self) -> None:
        self.begin_afresh()

    def begin_afresh(self) -> None:
        self.seen: list[str] = []
        self.fails = 0
        self.begun = threading.Event()
        self.go_on = threading.Event()


steps = Steps()
app = App()


@pytest.fixture(autouse=True)
def fresh() -> None:
    steps.begin_afresh()


def fails() -> str:
    steps.seen.append("asked")
    if steps.fails:
        steps.fails -= 1
        raise ConnectionError("no database here")
    return "value"


async def fails_async() -> str:
    await asyncio.sleep(0)
    return fails()


def slow() -> str:
    steps.begun.set()
    assert steps.go_on.wait(30)
    return fails()


async def held() -> AsyncIterator[str]:
    async with asyncio.timeout(None), asyncio.TaskGroup():  # a task group must be left by the task that entered it
        yield "held"
    steps.seen.append("left")


@app.job("plain")
def plain(job: None, value: Annotated[str, Depends(fails, per="process")]) -> str:
    return value


@app.job("loop")
async def loop(job: None, value: Annotated[str, Depends(fails, per="process")]) -> str:
    return value


@app.job("async")
async def in_async(job: None, value: Annotated[str, Depends(fails_async, per="process")]) -> str:
    return value


@app.job("slow")
def in_slow(job: None, value: Annotated[str, Depends(slow, per="process")]) -> str:
    return value


@app.job("slow.loop")
async def in_slow_loop(job: None, value: Annotated[str, Depends(slow, per="process")]) -> str:
    return value


@app.job("held")
async def in_held(job: None, value: Annotated[str, Depends(held, per="process")]) -> str:
    return value


@pytest.mark.parametrize("type", ["plain", "loop", "async"])
async def test_one_that_fails_is_asked_again_by_the_next_run(type: str) -> None:
    steps.fails = 1
    async with executing(app, None) as execution:
        outcome = failed(await execution.run(make_work(type)), "error")
        assert outcome.message.startswith("ConnectionError: no database here (the provider ")
        assert f'Traceback (most recent call last):\n  File "{__file__}"' in str(outcome.detail)
        assert value(await execution.run(make_work(type))) == "value"
        assert value(await execution.run(make_work(type))) == "value"
    assert steps.seen == ["asked", "asked"]


@pytest.mark.parametrize("others", ["slow", "slow.loop"])
@pytest.mark.parametrize("fails", [0, 1])
async def test_it_is_made_once_while_others_wait_for_it(
    others: str, fails: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps.fails = fails
    claim = kept.Kept._claim

    def claims(*arguments: Any) -> Any:
        future, is_first = claim(*arguments)
        if not is_first:
            steps.go_on.set()
        return future, is_first

    monkeypatch.setattr(kept.Kept, "_claim", claims)
    async with executing(app, None) as execution:
        runs = [asyncio.create_task(execution.run(make_work("slow", id="first")))]
        await asyncio.to_thread(steps.begun.wait)
        runs.append(asyncio.create_task(execution.run(make_work(others, id="second"))))
        outcomes = await asyncio.gather(*runs)
    if fails:
        assert {failed(outcome, "error").message.partition(" (")[0] for outcome in outcomes} == {
            "ConnectionError: no database here"
        }
    else:
        assert [value(outcome) for outcome in outcomes] == ["value", "value"]
    assert steps.seen == ["asked"]


async def test_a_job_that_waits_in_a_thread_gives_up_at_its_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    async with executing(app, None) as execution:
        monkeypatch.setattr(kept, "SPARE_SECONDS", 0.1)
        first = asyncio.create_task(execution.run(make_work("slow", id="first")))
        await asyncio.to_thread(steps.begun.wait)
        returned = asyncio.Event()
        execution.on_thread_returned(returned.set)
        failed(await execution.run(make_work("slow", id="second", timeout=0.05)), "timeout")
        await returned.wait()
        assert execution.stuck == 0
        steps.go_on.set()
        assert value(await first) == "value"


async def test_an_async_one_is_left_by_the_task_that_entered_it() -> None:
    async with executing(app, None) as execution:
        assert value(await execution.run(make_work("held"))) == "held"
        assert steps.seen == []
    assert steps.seen == ["left"]


ending = App()


def ends_badly() -> Iterator[int]:
    yield 1
    raise OSError("already closed")


async def ends_badly_async() -> AsyncIterator[int]:
    yield 2
    raise OSError("already closed too")


async def never_ends() -> AsyncIterator[int]:
    yield 3
    await asyncio.Event().wait()


@ending.job("all")
async def all_of_them(
    job: None,
    one: Annotated[int, Depends(ends_badly, per="process")],
    two: Annotated[int, Depends(ends_badly_async, per="process")],
    three: Annotated[int, Depends(never_ends, per="process")],
) -> int:
    return one + two + three


async def test_ends_that_fail_are_events() -> None:
    events = Events()
    async with executing(ending, None, events=events, grace=0.05) as execution:
        assert value(await execution.run(make_work("all"))) == 6
    assert [name for name, _ in events] == ["provider_failed"] * 3
    errors = [str(fields["error"]) for _, fields in events]
    assert "it did not end in" in errors[0]
    assert "never_ends" in errors[0]
    assert errors[1].startswith("OSError: already closed too (the provider ")
    assert errors[2].startswith("OSError: already closed (the provider ")


async def test_in_a_loop_of_the_handlers_own() -> None:
    settings = ExecutionSettings(thread_slots=1, process_slots=1, default_timeout=30, grace=5, result_limit=1000)
    watch = LoopWatch(0, Metrics(), "handlers")
    execution = OwnLoopExecution(app, None, settings, watch, on_event=Events())
    await execution.start()
    try:
        assert value(await execution.run(make_work("held"))) == "held"
        assert value(await execution.run(make_work("plain"))) == value(await execution.run(make_work("loop")))
    finally:
        assert await execution.stop(abandon=True) == 0
    assert steps.seen == ["asked", "left"]
