"""The execution of handlers: one attempt in, one outcome out."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any, Final

import msgspec

from queuey import log
from queuey.errors import StartupError
from queuey.protocol import backoff as retry
from queuey.protocol.json.checks import is_deeper
from queuey.worker.executors.child import Init
from queuey.worker.executors.lifespan import LifespanRunner
from queuey.worker.executors.loop import LoopExecutor
from queuey.worker.executors.processes import ProcessExecutor
from queuey.worker.executors.rooms import ExecutorRoom
from queuey.worker.executors.stopping import OnEvent, Stopper
from queuey.worker.executors.threads import StuckThread, ThreadExecutor
from queuey.worker.handlers.app import App
from queuey.worker.handlers.attempt import Failed, Outcome, Succeeded, Work
from queuey.worker.handlers.functions import Sender
from queuey.worker.handlers.signatures import Mode
from queuey.worker.handlers.tracing import HandlerSpans, handler_spans, send_spans
from queuey.worker.providers import running as providers
from queuey.worker.providers.kept import Kept
from queuey.worker.providers.reading import NO_OVERRIDES, Overrides
from queuey.worker.settings import ExecutionSettings

MAX_ISOLATED: Final = 2
"""The maximum number of attempts that run in a child process of their own at a time."""

MODES: Final[tuple[Mode, ...]] = ("loop", "thread", "process")

logger = log.get(__name__)


class Execution:
    """Runs the handlers of one App in one worker process. Every method belongs to the event loop's thread.

    `app_path` is the "module:attribute" of the App, from which child processes load it; None when no handler has
    run_in="process", and then no attempt is isolated. `on_event` is called with handler_abandoned, thread_abandoned,
    all_threads_stuck, thread_returned, child_died, provider_failed and lifespan_failed. By default these events are
    logged as warnings. `overrides`: providers to replace, in tests.
    """

    def __init__(
        self,
        app: App,
        app_path: str | None,
        settings: ExecutionSettings,
        *,
        on_event: OnEvent | None = None,
        overrides: Overrides = NO_OVERRIDES,
    ) -> None:
        on_event = _warn if on_event is None else on_event
        self._kept = Kept(on_event)
        self._hooks = app.hooks
        self._handlers = self._hooks.prepared(providers.prepared(app.handlers, self._kept, overrides))
        if app_path is None and any(handler.mode == "process" for handler in self._handlers.values()):
            raise StartupError('handlers with run_in="process" need the path of their App, as module:attribute')
        self._settings = settings
        self._random = Random()
        self._closed = False
        self._lifespan = LifespanRunner(app, on_event)
        self._stopper = Stopper(settings.grace, on_event)
        self._loop = LoopExecutor(self._stopper, settings.result_limit)
        self._threads = ThreadExecutor(settings.thread_slots, self._stopper, settings.result_limit, on_event)
        init = _init(app_path, settings)
        self._processes = ProcessExecutor(settings.process_slots, self._stopper, init, on_event)
        self._run_in_process = self._processes.run
        self._substitute: ThreadExecutor | None = None
        self.max_isolated = MAX_ISOLATED if app_path is not None else 0
        """The number of attempts that can run in a child process of their own at a time."""
        isolating = msgspec.structs.replace(init, isolating=True)
        self._isolation = ProcessExecutor(MAX_ISOLATED, self._stopper, isolating, on_event)
        self._spans: HandlerSpans | None = None
        self._events = app.hooks.events if app.hooks.events.any_of(("on_start",)) else None
        self._is_plain = self._events is None
        """Whether an attempt begins without a span and without an event."""
        self.rooms = self._rooms()
        """The room of each executor that has handlers."""

    def _rooms(self) -> list[ExecutorRoom]:
        settings, types, threads = self._settings, self._types, self._threads
        limits = {type: handler.concurrency for type, handler in self._handlers.items() if handler.concurrency}
        of = {mode: {type: limits[type] for type in types(mode) if type in limits} for mode in MODES}
        every = [
            ExecutorRoom("loop", types("loop"), concurrency=of["loop"]),
            ExecutorRoom(
                "thread",
                types("thread"),
                settings.thread_slots,
                lambda: threads.unwanted,
                of["thread"],
                threads.unwanted_of,
            ),
            ExecutorRoom("process", types("process"), settings.process_slots, concurrency=of["process"]),
        ]
        return [room for room in every if room.types]

    def _types(self, mode: Mode) -> list[str]:
        return [type for type, handler in self._handlers.items() if handler.mode == mode]

    async def start(self) -> None:
        """Enter the App's lifespan. Raises StartupError when it fails."""
        self._hooks.hold(self)
        try:
            self._loop.state = self._threads.state = await self._lifespan.enter()
        except BaseException:
            self._hooks.release(self)
            raise
        if self._settings.sends_spans:
            send_spans()  # not before the App, which may set up an SDK
        self._spans = handler_spans(self._settings.tracing)
        self._is_plain = self._spans is None and self._events is None

    def run_processes_in_threads(self, state: object) -> None:
        """Run the handlers of child processes in threads from now on, with this state. Tests do so."""
        slots = self._settings.process_slots
        self._substitute = ThreadExecutor(slots, self._stopper, self._settings.result_limit, _warn)
        self._substitute.state = state
        self._run_in_process = self._substitute.run

    @property
    def is_traced(self) -> bool:
        """Whether handlers run in spans."""
        return self._spans is not None or self._hooks.has_spans

    def begin(self, work: Work) -> Outcome | Coroutine[Any, Any, Outcome]:
        """Begin one attempt in the calling task.

        Return its outcome when it ends at once; else a coroutine for the rest, which the same task must await. Neither
        raises an error of the handler. The coroutine raises CancelledError only if others cancel the task, and only
        after the handler has ended. A handler that awaits a task which does not end keeps its slot, as a stuck thread
        does.
        """
        if self._is_plain:
            return self._begin(work)
        if self._events is not None:
            self._events.started(work)
        return self._begin(work) if self._spans is None else self._in_span(self._spans, work)

    async def _in_span(self, spans: HandlerSpans, work: Work) -> Outcome:
        with spans.of(work) as span:
            begun = self._begin(work)
            outcome = begun if isinstance(begun, (Succeeded, Failed)) else await begun
            span.ended(outcome)
        return outcome

    def _begin(self, work: Work) -> Outcome | Coroutine[Any, Any, Outcome]:
        handler = self._handlers.get(work.type)
        if handler is None:
            return self._rated(Failed("unknown_type", f"there is no handler for the type {work.type!r} here"), work)
        if self._closed or work.stopping is not None:
            return self._rated(self._stopped(work), work)
        timeout = work.limit = work.timeout or handler.timeout or self._settings.default_timeout
        if work.isolated and self.max_isolated:
            return self._attempt(self._isolation.run(handler, work, timeout), work)
        if handler.mode == "thread":
            return self._attempt(self._threads.run(handler, work, timeout), work)
        if handler.mode == "process":
            return self._attempt(self._run_in_process(handler, work, timeout), work)
        begun = self._loop.begin(handler, work, timeout)
        if isinstance(begun, Succeeded):
            return begun if self._is_flat(begun) else self._rated(begun, work)
        return self._rated(begun, work) if isinstance(begun, Failed) else self._attempt(begun, work)

    async def run(self, work: Work) -> Outcome:
        """Run one attempt from its beginning to its outcome."""
        begun = self.begin(work)
        return begun if isinstance(begun, (Succeeded, Failed)) else await begun

    async def _attempt(self, begun: Coroutine[Any, Any, Outcome], work: Work) -> Outcome:
        outcome: Outcome | None = None
        try:
            outcome = await begun
        except asyncio.CancelledError:
            if work.stopping is None:
                raise
        finally:
            cancelled_by_others = self._stopper.leave(work)
        if outcome is None and cancelled_by_others:
            raise asyncio.CancelledError
        # A result that comes after a cancel counts; one that comes after the timeout does not.
        if outcome is None or work.stopping == "timeout" or (work.stopping and isinstance(outcome, Failed)):
            outcome = self._stopped(work)
        return self._rated(outcome, work)

    def _rated(self, outcome: Outcome, work: Work) -> Outcome:
        """Refuse a result that is nested too deep. Set the wait before the next attempt, if there may be one."""
        if isinstance(outcome, Succeeded) and not self._is_flat(outcome):
            depth = self._settings.json_depth
            outcome = Failed("result_not_json", f"the result is nested deeper than {depth} levels (json_depth)")
        if isinstance(outcome, Failed) and not outcome.dead:
            outcome.retry_after_ms = self._retry_after_ms(outcome, work)
        return outcome

    def _is_flat(self, succeeded: Succeeded) -> bool:
        """Return whether the result is nested no deeper than the setting allows."""
        text, depth = succeeded.result_json, self._settings.json_depth
        if depth is None or len(text) <= depth or text.count("[") + text.count("{") <= depth:
            return True
        return not is_deeper(text.encode(), depth)

    def _stopped(self, work: Work) -> Failed:
        if work.stopping == "timeout":
            return Failed("timeout", f"no result within {work.limit:g} s")
        return Failed("cancelled", "cancelled while it ran" if work.started_at else "cancelled before it started")

    def wanted_wait(self, work: Work, failed: Failed) -> float | None:
        """Return the seconds until the next attempt, as its Retry or its type asks for them; else None."""
        handler = self._handlers.get(work.type)
        of_type = handler is not None and handler.backoff is not None
        return failed.retry_after_ms / 1000 if failed.after is not None or of_type else None

    def _retry_after_ms(self, failed: Failed, work: Work) -> int:
        """Return the time that a Retry asked for; else apply the backoff of the job, of its type, or the default."""
        if failed.after is not None:
            return round(failed.after * 1000)
        handler = self._handlers.get(work.type)
        backoff = work.backoff or (handler and handler.backoff) or self._settings.default_backoff
        return retry.delay_ms(backoff, work.attempt, self._random)

    def cancel(self, work: Work) -> None:
        """Stop an attempt. `run` then returns a Failed of the kind "cancelled", or the handler's result if it has one.

        A loop handler gets CancelledError, and is closed if it still runs after the grace. A child process is
        killed. A thread sees `ctx.cancelled`, and `run` does not wait for it.
        """
        self._stopper.stop(work, "cancelled")

    @property
    def stuck(self) -> int:
        """The number of handlers that still run and hold a slot, although their result is no longer wanted."""
        waited_for = sum(1 for work in self._stopper.running if work.abandoned)
        return waited_for + self._threads.unwanted

    def unreturned_in(self, queue: str) -> int:
        """Return the number of this queue's jobs that have an outcome although their handler still runs."""
        return self._threads.unwanted_in(queue)

    @property
    def thread_slots(self) -> int:
        """The maximum number of handlers that run in threads at a time; 0 if none does."""
        return self._settings.thread_slots if self._types("thread") else 0

    def stuck_threads(self) -> list[StuckThread]:
        """Return the threads whose handlers do not return, the one that began first first."""
        return sorted(self._threads.stuck.values(), key=lambda thread: thread.since_ms)

    def blocked_types(self) -> tuple[str, ...]:
        """Return the types whose jobs cannot begin, since every thread is stuck."""
        if len(self._threads.stuck) < self._settings.thread_slots:
            return ()
        return tuple(self._types("thread"))

    def on_thread_returned(self, call: Callable[[], None]) -> None:
        """Have `call` called when a thread is free again after its job had ended without it."""
        self._threads.on_returned = call

    @property
    def is_stalled(self) -> bool:
        """Whether a handler blocks the event loop of the handlers, if they have their own, so that nothing begins."""
        return False

    def on_stall(self, call: Callable[[Sequence[Work]], None]) -> None:
        """Have `call` called when `is_stalled` changes, with the attempts that were withdrawn before they began."""

    def reach(self, sender: Sender) -> Sender:
        """Return a sender for handlers, which passes jobs on to this one of the caller's event loop."""
        return sender

    async def stop(self, *, abandon: bool) -> int:
        """End everything and leave the lifespan. Returns the number of handlers that could not be stopped.

        With `abandon` the running handlers are cancelled at once; otherwise they have the grace to end first. It takes
        at most four times the grace and 4 seconds. `run` must not be called afterwards.
        """
        self._closed = True
        if not abandon:
            await self._stopper.idle(self._settings.grace)
        for work in self._stopper.running.copy():
            self._stopper.stop(work, "cancelled")
        await self._stopper.idle(self._settings.grace + 0.5)
        stuck = self.stuck
        self._threads.close()
        if self._substitute is not None:
            self._substitute.close()
        await asyncio.gather(self._processes.close(), self._isolation.close())
        await self._kept.close(self._settings.grace)
        await self._lifespan.leave(self._settings.grace)
        self._hooks.release(self)
        return stuck


def _init(app_path: str | None, settings: ExecutionSettings) -> Init:
    """Return what a child process is started with."""
    return Init(
        app=app_path or "",
        path=sys.path.copy(),
        result_limit=settings.result_limit,
        log_level=settings.log_level,
        log_format=settings.log_format,
        sends_spans=settings.sends_spans,
    )


def _warn(event: str, /, **fields: object) -> None:
    logger.warning(event, **fields)
