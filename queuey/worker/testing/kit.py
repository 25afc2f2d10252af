"""The testing kit: it runs handlers as a worker does, in a time that the test moves."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, Final, Literal, ParamSpec, Self, TypeVar

import msgspec

from queuey import log
from queuey.protocol import ids
from queuey.protocol.json import foreign, strict
from queuey.protocol.json.codecs import Codec, unseal_json
from queuey.protocol.models import NULL, EnqueueReply, JobRequest, LogLine
from queuey.protocol.models.readable import readable
from queuey.protocol.records import DEFAULT_MAX_ATTEMPTS
from queuey.protocol.stored import job_log
from queuey.services.times import to_ms
from queuey.worker.execution import Execution
from queuey.worker.executors.lifespan import ProcessLifespan
from queuey.worker.handlers.app import App
from queuey.worker.handlers.attempt import Outcome, Succeeded, Work
from queuey.worker.handlers.context import Context
from queuey.worker.handlers.functions import JobFunction, Sender
from queuey.worker.providers.reading import NO_OVERRIDES, Overrides
from queuey.worker.settings import ExecutionSettings
from queuey.worker.testing.batches import KeptBatches
from queuey.worker.testing.keys import KeptKeys
from queuey.worker.testing.timeline import MOST, Timeline, WaitingJob, to_epoch_ms

TIMEOUT: Final = 60.0
GRACE: Final = 1.0
SLOTS: Final = 32
RESULT_LIMIT: Final = 256_000
OTHER_LOOP: Final = (
    "Testing, and with it the lifespan, was entered in another event loop: enter it in the test, or give its fixture "
    "the loop of the test, as with loop_scope of pytest-asyncio"
)

P = ParamSpec("P")
R = TypeVar("R")
Status = Literal["succeeded", "retry", "snoozed", "dead_letter"]

_NO_PATH: Final = ""
"""The place of the App for child processes, of which there are none: a child cannot import an App made in a test."""


class Ran(msgspec.Struct, frozen=True):
    """The outcome of one attempt."""

    type: str
    status: Status
    """The status of the job after the attempt; `retry` and `snoozed` mean that it would run again."""
    result: msgspec.Raw
    """The handler's result, as JSON text."""
    kind: str | None = None
    """The kind of a failure: error, retry, snooze, dead, payload, timeout ... (docs/handlers.md)."""
    message: str | None = None
    """The message of a failure."""
    retry_after: float | None = None
    """The seconds until it runs again; None if it does not."""
    checkpoint: Any = None
    """The last checkpoint, as JSON gives it. Pass it to the next `run`; None after a success."""
    log: list[LogLine] = []
    """The lines of `ctx.log`, as many as are kept with a job."""
    attempt: int = 1
    at: datetime | None = None
    """The time of the test's clock."""
    schedule: str | None = None
    """The name of the schedule whose tick enqueued the job."""

    def __repr__(self) -> str:
        return readable(self)

    def value(self, into: Any = Any) -> Any:
        """Return the result as the type `into`. Raises AssertionError, with the reason, when there is none."""
        if self.status != "succeeded":
            raise AssertionError(f"{self.type} did not succeed: {self.kind}: {self.message}")
        return foreign.decode(self.result, into)


class Testing:
    """Runs handlers within `async with`, which enters and leaves the App's lifespans.

    Process handlers run in threads, with the state that they have in a child process.

    The jobs that handlers enqueue without a client are kept in `enqueued`, in order. `overrides` has providers, each
    with the function that makes its value in this test.

    `now` is where the clock of the test begins; without it, at the present time. It moves only by `advance` and
    `advance_to`. The schedules of the App count as made at its beginning. Handlers see the real time.
    """

    __test__ = False  # so that pytest does not collect it

    def __init__(self, app: App, *, overrides: Overrides = NO_OVERRIDES, now: datetime | None = None) -> None:
        self.enqueued: deque[JobRequest] = deque()
        self._timeline = Timeline(now, self.enqueued)
        self._batches = KeptBatches(self._timeline, self.enqueued)
        self._keys = KeptKeys(self._timeline, self.enqueued)
        self._app = app
        self._overrides = overrides
        self._execution: Execution | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process_lifespan = ProcessLifespan(app, _warn)
        self._sender_before: Sender | None = None

    async def __aenter__(self) -> Self:
        settings = ExecutionSettings(
            thread_slots=SLOTS, process_slots=SLOTS, default_timeout=TIMEOUT, grace=GRACE, result_limit=RESULT_LIMIT
        )
        execution = Execution(self._app, _NO_PATH, settings, overrides=self._overrides)
        await execution.start()
        try:
            execution.run_processes_in_threads(self._process_lifespan.enter())
        except BaseException:
            await execution.stop(abandon=True)
            raise
        self._timeline.plan(self._app.schedules.values(), self._app.codec)
        self._execution = execution
        self._loop = asyncio.get_running_loop()
        self._sender_before, self._app.sender = self._app.sender, self
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._app.sender = self._sender_before
        if self._execution is not None:
            await self._execution.stop(abandon=True)
            self._process_lifespan.leave()

    @property
    def now(self) -> datetime:
        """The time of the test's clock, in UTC."""
        return self._timeline.now

    async def send(self, request: JobRequest) -> EnqueueReply:
        """Keep a job that a handler enqueues, unless another one holds its key (docs/unique.md). The items of a batch
        are kept as one job, whose payload is their list.
        """
        if request.batch is not None:
            return self._batches.add(request, request.batch)
        found = self._keys.find(request)
        if found is not None:
            return found
        self._timeline.add(request)
        return EnqueueReply(str(request.id), deduplicated=False)

    async def run(
        self,
        job: str | JobFunction[Any, Any, Any],
        payload: Any = None,
        *,
        attempt: int = 1,
        checkpoint: Any = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> Ran:
        """Run one attempt. The payload goes through JSON, as on its way through the store.

        The attempt has `checkpoint` as its last checkpoint.
        """
        type = job if isinstance(job, str) else job.type
        request = JobRequest(type, msgspec.Raw(strict.encode(payload, "/payload")), tags=tags, metadata=metadata)
        return await self._run(WaitingJob(request, attempt, checkpoint))

    async def run_all(self) -> list[Ran]:
        """Run the enqueued jobs in order, one attempt each, and then the jobs that they enqueue."""
        ran: list[Ran] = []
        while self.enqueued:
            if len(ran) == MOST:
                raise AssertionError(f"{MOST:,} jobs were run, and there are still more: do they enqueue one another?")
            request = self.enqueued.popleft()
            ran.append(await self._run(WaitingJob(request)))
        return ran

    async def advance(self, by: float | timedelta) -> list[Ran]:
        """Move the clock by some seconds, or by a timedelta, as `advance_to` does."""
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        return await self._advance(self._timeline.now_ms + to_ms(seconds))

    async def advance_to(self, time: datetime) -> list[Ran]:
        """Move the clock, and run what becomes due on the way, each at its time: a worker that never sleeps.

        These are the jobs in `enqueued`, after their delay; the next attempts of jobs that have failed or were snoozed,
        also in `run` and `run_all`; and the jobs of the App's schedules. Raises ValueError for an earlier time.
        """
        return await self._advance(to_epoch_ms(time))

    async def _advance(self, until_ms: int) -> list[Ran]:
        self._check_open()
        if until_ms < self._timeline.now_ms:
            raise ValueError(f"the clock of a test only moves forward, and it is {self.now.isoformat()}")
        ran: list[Ran] = []
        self._timeline.begin()
        while (job := self._timeline.next(until_ms)) is not None:
            ran.append(await self._run(job))
        return ran

    def _check_open(self) -> Execution:
        if self._execution is None:
            raise RuntimeError("use it in: async with Testing(app) as testing")
        return self._execution

    async def _run(self, job: WaitingJob) -> Ran:
        self._keys.started(job.request)
        ran = await self._attempt(job.request, job.attempt, job.checkpoint)
        ran = msgspec.structs.replace(ran, attempt=job.attempt, at=self.now, schedule=job.schedule)
        if ran.retry_after is not None:
            attempt = job.attempt + (ran.status == "retry")
            self._timeline.add_again(WaitingJob(job.request, attempt, ran.checkpoint, job.schedule), ran.retry_after)
        self._keys.over(job.request, ran.status)
        return ran

    async def _attempt(self, request: JobRequest, attempt: int, checkpoint: Any) -> Ran:
        execution = self._check_open()
        handler = self._app.handlers.get(request.type)
        of_type = handler.max_attempts if handler else None
        most = request.max_attempts or of_type or DEFAULT_MAX_ATTEMPTS
        queue = handler.queue if handler else "default"
        token = f"{attempt}.{ids.short_random()}"
        payload = bytes(request.payload)
        work = Work(ids.new_id(), request.type, queue, payload, token, attempt, most, request.timeout)
        work.tags = tuple(request.tags or ())
        work.metadata = dict(request.metadata) if request.metadata else None
        work.batch_key = request.batch.key if request.batch else None
        context = Context(work, None)
        context._codec = self._app.codec
        await context.checkpoint(checkpoint)
        ran = _ran(work, outcome := await execution.run(work), self._app.codec)
        if ran.status != "succeeded":
            ran = msgspec.structs.replace(ran, checkpoint=context.last_checkpoint)
        if self._loop is not asyncio.get_running_loop() and "different loop" in (ran.message or ""):
            ran = msgspec.structs.replace(ran, message=f"{ran.message}. {OTHER_LOOP}")
        self._notify(work, outcome, ran)
        return ran

    def _notify(self, work: Work, outcome: Outcome, ran: Ran) -> None:
        """Report the outcome to the App, as a worker does."""
        events = self._app.hooks.events
        if isinstance(outcome, Succeeded):
            events.succeeded(work, None)
        else:
            events.failed(work, outcome, ran.status, None)


def _blocking(
    method: Callable[Concatenate[Testing, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[SyncTesting, P], R]:
    """Return a method that blocks until the coroutine is done."""

    @wraps(method)
    def call(self: SyncTesting, /, *arguments: P.args, **named: P.kwargs) -> R:
        _check_no_loop()
        return self._runner.run(method(self._testing, *arguments, **named))

    return call


class SyncTesting:
    """Runs handlers like Testing, in tests that are not async. Use it in `with`.

    Its event loop runs while a method runs.
    """

    __test__ = False

    def __init__(self, app: App, *, overrides: Overrides = NO_OVERRIDES, now: datetime | None = None) -> None:
        self._testing = Testing(app, overrides=overrides, now=now)
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)  # it leaves the thread's own loop alone

    @property
    def enqueued(self) -> deque[JobRequest]:
        """The jobs that handlers enqueued without a client, in order."""
        return self._testing.enqueued

    @property
    def now(self) -> datetime:
        """The time of the test's clock, in UTC."""
        return self._testing.now

    def __enter__(self) -> Self:
        _check_no_loop()
        with ExitStack() as stack:
            stack.callback(self._runner.close)
            self._runner.run(self._testing.__aenter__())
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._runner:
            self._runner.run(self._testing.__aexit__(kind, error, trace))

    run = _blocking(Testing.run)
    run_all = _blocking(Testing.run_all)
    advance = _blocking(Testing.advance)
    advance_to = _blocking(Testing.advance_to)


def _check_no_loop() -> None:
    if asyncio._get_running_loop() is not None:
        raise RuntimeError(
            "SyncTesting is for tests that are not async. Use async with Testing(app), or its fixture queuey_testing"
        )


def _ran(work: Work, outcome: Outcome, codec: Codec | None) -> Ran:
    lines = [] if work.lines is None else job_log.parse(work.lines.text())
    if isinstance(outcome, Succeeded):
        text = outcome.result_json.encode()
        result = msgspec.Raw(text if codec is None else unseal_json(codec, text))
        return Ran(work.type, "succeeded", result, log=lines)
    is_snoozed = outcome.kind == "snooze"
    dead = not is_snoozed and (outcome.dead or work.attempt >= work.max_attempts)
    after = None if dead else outcome.retry_after_ms / 1000
    status: Status = "snoozed" if is_snoozed else "dead_letter" if dead else "retry"
    return Ran(work.type, status, NULL, outcome.kind, outcome.message, after, log=lines)


def _warn(event: str, /, **fields: object) -> None:
    log.get(__name__).warning(event, **fields)
