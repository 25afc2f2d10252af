"""Tasks for what is mostly over at once: as many as there are things that wait, not one for each thing."""

from __future__ import annotations

import asyncio
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


class Runners(Generic[Item]):
    """Runs `run(item)` for each item, in the order in which they come.

    One task takes item after item for as long as they end without waiting. When one waits, that task stays with it, and
    another takes on. So a hundred items that never wait need one task, and a hundred that wait run side by side.
    """

    def __init__(self, run: Callable[[Item], Coroutine[Any, Any, None]]) -> None:
        self._run = run
        self._items: deque[Item] = deque()
        self._taker: asyncio.Task[None] | None = None
        """The task that takes the next item."""
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, item: Item) -> None:
        """Run it soon. What `run` raises is its task's, and keeps no other item from running."""
        self._items.append(item)
        if self._taker is None:
            self._start()

    def _start(self) -> None:
        self._taker = task = asyncio.get_running_loop().create_task(self._take())
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _take(self) -> None:
        task = asyncio.current_task()
        while self._taker is task and self._items:
            await _noticed(self._run(self._items.popleft()), self._hand_over)

    def _hand_over(self) -> None:
        """The item of the task that takes waits for something."""
        self._taker = None
        if self._items:
            self._start()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._taker is task:
            self._hand_over()


@types.coroutine
def _noticed(coroutine: Coroutine[Any, Any, None], on_wait: Callable[[], None]) -> Generator[Any, None, None]:
    """What `await coroutine` does, and calls `on_wait` when it first waits."""
    try:
        waits_for = coroutine.send(None)
        on_wait()
        while True:
            try:
                yield waits_for
            except BaseException as error:
                waits_for = coroutine.throw(error)
            else:
                break
    except StopIteration:
        return
    yield from coroutine  # it goes on from where it waits
