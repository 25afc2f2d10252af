"""TaskPool: what ends without waiting shares a task, what waits has one of its own; nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from queuey.worker.task_pool import TaskPool


class Stage:
    """Items 'quick ...' end at once; 'slow ...' wait for `go`; 'bad ...' raise."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.began: list[str] = []
        self.ended: list[str] = []
        self.tasks: dict[str, asyncio.Task[None] | None] = {}
        self.runners = TaskPool(self.begin)

    def begin(self, item: str) -> Coroutine[Any, Any, None] | None:
        self.began.append(item)
        self.tasks[item] = asyncio.current_task()
        if item.startswith("slow"):
            return self.finish(item)
        if item.startswith("bad"):
            raise RuntimeError(item)
        self.ended.append(item)
        return None

    async def finish(self, item: str) -> None:
        await self.go.wait()
        self.ended.append(item)

    async def settle(self, count: int) -> None:
        while len(self.began) < count:  # noqa: ASYNC110 - passes of the loop are what is waited for
            await asyncio.sleep(0)


@pytest.fixture
async def stage() -> Stage:
    return Stage()


async def test_what_never_waits_shares_one_task(stage: Stage) -> None:
    items = [f"quick {number}" for number in range(100)]
    for item in items:
        stage.runners.add(item)
    await stage.settle(100)
    assert stage.ended == items
    assert len(set(stage.tasks.values())) == 1


async def test_what_waits_holds_up_no_other(stage: Stage) -> None:
    for item in ("quick 1", "slow 1", "slow 2", "quick 2"):
        stage.runners.add(item)
    await stage.settle(4)
    assert stage.began == ["quick 1", "slow 1", "slow 2", "quick 2"]
    assert stage.ended == ["quick 1", "quick 2"]
    assert stage.tasks["quick 1"] is stage.tasks["slow 1"]
    assert stage.tasks["slow 1"] is not stage.tasks["slow 2"]
    stage.go.set()
    await asyncio.gather(*(task for task in stage.tasks.values() if task))
    assert len(stage.ended) == 4


async def test_what_comes_while_all_wait_begins_too(stage: Stage) -> None:
    stage.runners.add("slow 1")
    await stage.settle(1)
    stage.runners.add("quick 1")
    await stage.settle(2)
    assert stage.ended == ["quick 1"]
    stage.go.set()


async def test_an_error_is_its_tasks_and_the_others_run(stage: Stage) -> None:
    for item in ("bad 1", "quick 1", "quick 2"):
        stage.runners.add(item)
    await stage.settle(3)
    assert stage.ended == ["quick 1", "quick 2"]
    task = stage.tasks["bad 1"]
    assert task is not None
    with pytest.raises(RuntimeError, match="bad 1"):
        await task


async def test_a_cancelled_item_leaves_the_others(stage: Stage) -> None:
    for item in ("slow 1", "slow 2", "quick 1"):
        stage.runners.add(item)
    await stage.settle(3)
    first, second = stage.tasks["slow 1"], stage.tasks["slow 2"]
    assert first is not None
    assert second is not None
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    stage.go.set()
    await second
    assert stage.ended == ["quick 1", "slow 2"]


async def test_what_has_not_begun_can_be_withdrawn(stage: Stage) -> None:
    for item in ("slow 1", "quick 2", "quick 3"):
        stage.runners.add(item)
    await stage.settle(1)
    assert stage.runners.withdraw() == ["quick 2", "quick 3"]
    assert stage.runners.withdraw() == []
    stage.runners.add("quick 4")
    await stage.settle(2)
    assert stage.began == ["slow 1", "quick 4"]
    stage.go.set()


async def test_a_cancelled_task_takes_no_more(stage: Stage) -> None:
    """Cancelled before its first item began: another begins with it."""
    stage.runners.add("quick 1")
    (task,) = stage.runners._tasks
    task.cancel()
    stage.runners.add("quick 2")
    await stage.settle(2)
    assert stage.ended == ["quick 1", "quick 2"]
    assert task not in stage.tasks.values()
