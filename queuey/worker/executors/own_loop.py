"""An execution in a thread with an event loop of its own, so that handlers which block do not stop the server.

All that runs handlers is in that loop: the executors, their timers, the App's lifespan. Attempts go there and outcomes
come back, each time all that have gathered. docs/adr/0024-handler-loop.md has the price.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Generic, TypeVar

from queuey import loops
from queuey.lifecycle import end_tasks
from queuey.protocol.models import EnqueueReply, JobRequest
from queuey.worker.execution import Execution
from queuey.worker.executors.loop_watch import LoopWatch
from queuey.worker.executors.running import run_to_end
from queuey.worker.executors.stopping import OnEvent
from queuey.worker.handlers.app import App
from queuey.worker.handlers.attempt import Failed, Outcome, Succeeded, Work
from queuey.worker.handlers.functions import Sender
from queuey.worker.settings import ExecutionSettings
from queuey.worker.task_pool import TaskPool, emptied

JOIN_SECONDS: Final = 1.0

Item = TypeVar("Item")
Reply = TypeVar("Reply")
_Attempt = tuple[Work, "asyncio.Future[Outcome]"]


def execution_of(
    app: App, app_path: str | None, settings: ExecutionSettings, own_loop: bool, watch: LoopWatch
) -> Execution:
    """Return the execution of an App: in the caller's event loop, or in its own one, which `watch` then watches."""
    return OwnLoopExecution(app, app_path, settings, watch) if own_loop else Execution(app, app_path, settings)


class Crossing(Generic[Item]):
    """Hands items over to an event loop, in order. `put` may be called in any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, take: Callable[[Item], object]) -> None:
        self._loop = loop
        self._take = take
        self._items: deque[Item] = deque()
        self._is_due = False

    def put(self, item: Item) -> None:
        """Hand an item over. Each step is atomic under the interpreter's lock, and in this order no item is missed."""
        self._items.append(item)
        if not self._is_due:
            self._is_due = True
            _call_in(self._loop, self._take_all)

    def withdraw(self) -> list[Item]:
        """Remove the items that were not taken, and return them in order. It may be called in any thread."""
        return emptied(self._items)

    def _take_all(self) -> None:
        self._is_due = False
        while self._items:
            try:
                item = self._items.popleft()
            except IndexError:  # another thread has withdrawn it just now
                return
            self._take(item)


class OwnLoopExecution(Execution):
    """An Execution whose handlers run in another thread. Its methods belong to the event loop that starts it."""

    _main: asyncio.AbstractEventLoop
    _own: asyncio.AbstractEventLoop
    _down: Crossing[_Attempt]
    _up: Crossing[tuple[asyncio.Future[Outcome], Outcome | None]]

    def __init__(
        self,
        app: App,
        app_path: str | None,
        settings: ExecutionSettings,
        watch: LoopWatch,
        *,
        on_event: OnEvent | None = None,
    ) -> None:
        super().__init__(app, app_path, settings, on_event=on_event)
        self._watch = watch
        self._patience = 4 * settings.grace + 5
        """The seconds that `Execution.stop` may take, unless a handler blocks the loop."""
        self._pool = TaskPool(self._begin_there)
        self._on_stall: Callable[[Sequence[Work]], None] = lambda withdrawn: None
        self._is_stalled = False
        self._ending = asyncio.Event()
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """Start the thread, and enter the App's lifespan in it. Raises StartupError when it fails."""
        self._main = asyncio.get_running_loop()
        self._own = type(self._main)()
        self._down, self._up = Crossing(self._own, self._pool.add), Crossing(self._main, _settle)
        self._watch.on_change = partial(_call_in, self._main, self._stall_changed)
        self._thread = threading.Thread(target=self._serve, daemon=True, name="queuey-handlers")
        self._thread.start()
        try:
            await self._there(super().start())
        except BaseException:
            await self._end_thread(self._thread)
            raise

    def begin(self, work: Work) -> Coroutine[Any, Any, Outcome]:
        """Begin one attempt. Return a coroutine for its outcome."""
        outcome: asyncio.Future[Outcome] = self._main.create_future()
        self._down.put((work, outcome))
        if self._is_stalled:
            self._main.call_soon(self._stall_changed)
        return self._outcome(work, outcome)

    async def _outcome(self, work: Work, outcome: asyncio.Future[Outcome]) -> Outcome:
        try:
            return await outcome
        except asyncio.CancelledError:
            self.cancel(work)
            raise

    def cancel(self, work: Work) -> None:
        """Stop an attempt, as Execution does."""
        _call_in(self._own, partial(super().cancel, work))

    def on_thread_returned(self, call: Callable[[], None]) -> None:
        """Have `call` called in the event loop of the caller."""
        super().on_thread_returned(partial(_call_in, asyncio.get_running_loop(), call))

    @property
    def is_stalled(self) -> bool:
        """Whether a handler blocks the loop of the handlers. It is known once the watch has reported it."""
        return self._is_stalled

    def on_stall(self, call: Callable[[Sequence[Work]], None]) -> None:
        """Have `call` called when `is_stalled` changes, with the attempts that were withdrawn before they began."""
        self._on_stall = call

    def _stall_changed(self) -> None:
        self._is_stalled = self._watch.is_blocked
        withdrawn = [*self._pool.withdraw(), *self._down.withdraw()] if self._is_stalled else []
        for _, outcome in withdrawn:
            outcome.cancel()
        self._on_stall([work for work, _ in withdrawn])

    def reach(self, sender: Sender) -> Sender:
        """Return a sender for handlers, which passes jobs on to that of the caller's event loop."""
        return SenderElsewhere(sender, asyncio.get_running_loop())

    async def stop(self, *, abandon: bool) -> int:
        """End everything, as Execution does. A handler that blocks the loop is left behind, with its thread."""
        thread = self._thread
        if thread is None:
            return 0
        try:
            async with asyncio.timeout(self._patience):
                stuck = await self._there(super().stop(abandon=abandon))
        except TimeoutError:
            stuck = 1
        await self._end_thread(thread)
        return stuck

    async def _there(self, coroutine: Coroutine[Any, Any, Reply]) -> Reply:
        """Run a coroutine in the loop of the handlers."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._own))

    async def _end_thread(self, thread: threading.Thread) -> None:
        self._thread = None
        self._own.call_soon_threadsafe(self._ending.set)
        await asyncio.to_thread(thread.join, JOIN_SECONDS)

    # --- in the thread --------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._own) as runner:
            run_to_end(runner.get_loop(), self._until_ended())

    async def _until_ended(self) -> None:
        self._watch.start()
        with loops.serving():
            while not self._ending.is_set():
                beat = asyncio.create_task(self._beat())
                with suppress(asyncio.CancelledError):  # by a handler that cancels every task of its event loop
                    await self._ending.wait()
                await end_tasks([beat])
        self._watch.stop()

    async def _beat(self) -> None:
        while True:
            await self._watch.run_once()

    def _begin_there(self, attempt: _Attempt) -> Coroutine[Any, Any, None] | None:
        work, outcome = attempt
        begun = super().begin(work)
        if isinstance(begun, (Succeeded, Failed)):
            self._up.put((outcome, begun))
            return None
        return self._go_on_there(begun, outcome)

    async def _go_on_there(self, begun: Coroutine[Any, Any, Outcome], outcome: asyncio.Future[Outcome]) -> None:
        ended: Outcome | None = None
        try:
            ended = await begun
        finally:
            self._up.put((outcome, ended))


def _call_in(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop is closed, so nothing waits for the call
        loop.call_soon_threadsafe(call)


def _settle(ended: tuple[asyncio.Future[Outcome], Outcome | None]) -> None:
    """Set an outcome. None: the handler's task was cancelled by others, so its job has none."""
    future, outcome = ended
    if outcome is None:
        future.cancel()
    elif not future.done():
        future.set_result(outcome)


class SenderElsewhere:
    """Passes the jobs of handlers on to a sender of another event loop."""

    def __init__(self, sender: Sender, loop: asyncio.AbstractEventLoop) -> None:
        self._sender = sender
        self._loop = loop

    async def send(self, request: JobRequest) -> EnqueueReply:
        """Enqueue one job. Raises what the sender raises."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._send(request), self._loop))

    async def _send(self, request: JobRequest) -> EnqueueReply:
        return await self._sender.send(request)
