"""Tasks for items that mostly end at once. Only an item that waits needs its own task."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


class TaskPool(Generic[Item]):
    """Calls `begin(item)` for each item in a task, in the order in which they come, and awaits what it returns.

    One task takes the items one by one while `begin` returns None. When `begin` returns an awaitable, the task awaits
    it, and another task takes the next item. So a hundred items that never wait need one task, and a hundred that wait
    run side by side.
    """

    def __init__(self, begin: Callable[[Item], Coroutine[Any, Any, None] | None]) -> None:
        self._begin = begin
        self._items: deque[Item] = deque()
        self._taker: asyncio.Task[None] | None = None
        """The task that takes the next item."""
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, item: Item) -> None:
        """Begin an item soon. An error ends only its own task; the other items run."""
        self._items.append(item)
        if self._taker is None:
            self._start()

    def withdraw(self) -> list[Item]:
        """Remove the items that have not begun, and return them in order. It may be called in any thread."""
        return emptied(self._items)

    def _start(self) -> None:
        self._taker = task = asyncio.get_running_loop().create_task(self._take())
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _take(self) -> None:
        while self._items:
            try:
                item = self._items.popleft()
            except IndexError:  # another thread has withdrawn it just now
                return
            rest = self._begin(item)
            if rest is not None:
                self._hand_over()
                await rest
                return

    def _hand_over(self) -> None:
        self._taker = None
        if self._items:
            self._start()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._taker is task:
            self._hand_over()


def emptied(items: deque[Item]) -> list[Item]:
    """Remove all items, and return them in order. If another thread removes some meanwhile, nobody gets one twice."""
    taken: deque[Item] = deque()
    with suppress(IndexError):
        while True:
            taken.appendleft(items.pop())
    return list(taken)
