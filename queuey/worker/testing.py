"""Tests of handlers: they run as in a worker, without a server or a store."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Any, Final, Literal, Self

import msgspec

from queuey.protocol import ids
from queuey.protocol.models import NULL, EnqueueReply, JobRequest
from queuey.protocol.records import DEFAULT_MAX_ATTEMPTS
from queuey.worker.execution import Execution
from queuey.worker.handlers.app import App
from queuey.worker.handlers.attempt import Outcome, Succeeded, Work
from queuey.worker.handlers.functions import JobFunction, Sender
from queuey.worker.handlers.signatures import Mode
from queuey.worker.settings import ExecutionSettings

TIMEOUT: Final = 60.0
GRACE: Final = 1.0
RESULT_LIMIT: Final = 256_000
MOST: Final = 10_000
"""The maximum number of jobs in one `run_all`, so that handlers which enqueue each other endlessly cause an error."""


class Ran(msgspec.Struct, frozen=True):
    """The outcome of one attempt."""

    type: str
    status: Literal["succeeded", "retry", "dead_letter"]
    """The status of the job after the attempt; `retry` means that there would be another one."""
    result: msgspec.Raw
    """The handler's result, as JSON text."""
    kind: str | None = None
    """The kind of a failure: error, retry, dead, payload, timeout ... (docs/handlers.md)."""
    message: str | None = None
    """The message of a failure."""
    retry_after: float | None = None
    """The seconds until the next attempt; None if there is none."""

    def value(self, into: Any = Any) -> Any:
        """Return the result as the type `into`. Raises AssertionError, with the reason, when there is none."""
        if self.status != "succeeded":
            raise AssertionError(f"{self.type} did not succeed: {self.kind}: {self.message}")
        return msgspec.json.decode(self.result, type=into)


class Testing:
    """Runs handlers within `async with`, which enters and leaves the App's lifespan. Process handlers run in threads.

    The jobs that handlers enqueue without a client are kept in `enqueued`, in order.
    """

    __test__ = False  # so that pytest does not collect it

    def __init__(self, app: App) -> None:
        self.enqueued: deque[JobRequest] = deque()
        self._app = app
        self._execution: Execution | None = None
        self._sender_before: Sender | None = None

    async def __aenter__(self) -> Self:
        execution = Execution(
            _without_processes(self._app),
            None,
            ExecutionSettings(
                thread_slots=32, process_slots=1, default_timeout=TIMEOUT, grace=GRACE, result_limit=RESULT_LIMIT
            ),
        )
        await execution.start()
        self._execution = execution
        self._sender_before, self._app.sender = self._app.sender, self
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._app.sender = self._sender_before
        if self._execution is not None:
            await self._execution.stop(abandon=True)

    async def send(self, request: JobRequest) -> EnqueueReply:
        """Keep a job that a handler enqueues. A dedupe key finds the job that was kept with it."""
        if request.dedupe_key is not None:
            for kept in self.enqueued:
                if kept.dedupe_key == request.dedupe_key:
                    return EnqueueReply(str(kept.id), deduplicated=True)
        self.enqueued.append(request)
        return EnqueueReply(str(request.id), deduplicated=False)

    async def run(self, job: str | JobFunction[Any, Any, Any], payload: Any = None, *, attempt: int = 1) -> Ran:
        """Run one attempt. The payload goes through JSON, as on its way through the store."""
        type = job if isinstance(job, str) else job.type
        return await self._run(type, msgspec.json.encode(payload), attempt, None, None)

    async def run_all(self) -> list[Ran]:
        """Run the enqueued jobs in order, one attempt each, and then the jobs that they enqueue."""
        ran: list[Ran] = []
        while self.enqueued:
            if len(ran) == MOST:
                raise AssertionError(f"{MOST:,} jobs were run, and there are still more: do they enqueue one another?")
            request = self.enqueued.popleft()
            ran.append(await self._run(request.type, bytes(request.payload), 1, request.max_attempts, request.timeout))
        return ran

    async def _run(
        self, type: str, payload: bytes, attempt: int, max_attempts: int | None, timeout: float | None
    ) -> Ran:
        if self._execution is None:
            raise RuntimeError("use it in: async with Testing(app) as testing")
        handler = self._app.handlers.get(type)
        of_type = handler.max_attempts if handler else None
        most = max_attempts or of_type or DEFAULT_MAX_ATTEMPTS
        queue = handler.queue if handler else "default"
        token = f"{attempt}.{ids.short_random()}"
        work = Work(ids.new_id(), type, queue, payload, token, attempt, most, timeout)
        return _ran(work, await self._execution.run(work))


def _ran(work: Work, outcome: Outcome) -> Ran:
    if isinstance(outcome, Succeeded):
        return Ran(work.type, "succeeded", msgspec.Raw(outcome.result_json.encode()))
    dead = outcome.dead or work.attempt >= work.max_attempts
    after = None if dead else outcome.retry_after_ms / 1000
    return Ran(work.type, "dead_letter" if dead else "retry", NULL, outcome.kind, outcome.message, after)


def _without_processes(app: App) -> App:
    """Return a copy whose process handlers run in threads, since a child cannot import an App made in a test."""
    handlers = app.handlers
    if all(handler.mode != "process" for handler in handlers.values()):
        return app
    copy = App(name=app.name or None, lifespan=app.lifespan)
    for handler in handlers.values():
        mode: Mode = "thread" if handler.mode == "process" else handler.mode
        copy.add(msgspec.structs.replace(handler, mode=mode))
    return copy
