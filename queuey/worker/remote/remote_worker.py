"""`queuey work`: an App's handlers on another machine. Jobs come over HTTP, and so do their outcomes go."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import socket
import time
from collections.abc import Sequence
from typing import Final

from msgspec import Raw

from queuey import log
from queuey.client import Client, ClientError, Forbidden, Invalid, NotFound, Unauthorized
from queuey.errors import StartupError
from queuey.lifecycle import StopSignals, done_before, end_tasks
from queuey.protocol import ids
from queuey.protocol.models import MAX_LEASED, CompleteItem, FailItem, LeasedJob, ReleaseItem, ReportedError
from queuey.settings.client_access import Access
from queuey.settings.settings import Settings
from queuey.worker.execution import Execution
from queuey.worker.handlers.app import load_app
from queuey.worker.handlers.attempt import Failed, Succeeded, Work
from queuey.worker.held_job import HeldJob
from queuey.worker.lease_keeper import LeaseKeeper
from queuey.worker.remote.reports import Outcome, ProgressTelling, Renewal, Reports
from queuey.worker.settings import ExecutionSettings

POLL_SECONDS: Final = 30.0
FIRST_PAUSE: Final = 0.2
LAST_PAUSE: Final = 5.0
RELEASE_SECONDS: Final = 5.0
LEAST_LEASE: Final = 1.0
"""What the API gives at least, in seconds."""

logger = log.get(__name__)


class RemoteWorker:
    """Runs up to `settings.concurrency` jobs at a time from `queues`, until `drain`."""

    def __init__(
        self, client: Client, execution: Execution, settings: Settings, name: str, queues: Sequence[str]
    ) -> None:
        self._client = client
        self._execution = execution
        self._slots = settings.concurrency
        self._grace = settings.grace
        self.lease = max(LEAST_LEASE, settings.lease)
        self._name = name
        self._queues = list(queues)
        self.running: dict[str, HeldJob] = {}
        """All that is held: in a handler, or being reported."""
        self._busy = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._free = asyncio.Event()
        self._free.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._idle_and_reported = asyncio.Event()
        self._idle_and_reported.set()
        self._claim: tuple[str, float] | None = None
        """The claim id of a request for jobs that has not been answered, and until when a repeat brings the same."""
        self.keeper = LeaseKeeper(self.lease, self._on_trouble)
        self._reports = Reports(client, self._told)
        self._progress = ProgressTelling(client, self.lease)
        self._parts = [asyncio.create_task(self._reports.run()), asyncio.create_task(self._progress.run())]

    # --- taking ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Lease whenever a slot is free. Ends when cancelled. Raises StartupError when the server refuses, and what
        ends one of the parts that tell it of the jobs."""
        taking = asyncio.create_task(self._take_jobs())
        try:
            ended, _ = await asyncio.wait({taking, *self._parts}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks([taking])
        for task in ended:
            task.result()

    async def _take_jobs(self) -> None:
        pause = FIRST_PAUSE
        while True:
            await self._free.wait()
            began = time.monotonic()
            try:
                jobs = await self._ask(POLL_SECONDS)
            except (Unauthorized, Forbidden, Invalid, NotFound) as error:
                self._claim = None
                raise StartupError(f"{self._client.url} gives no jobs: {error.message}") from error
            except ClientError as error:
                logger.warning("lease_failed", error=error.message)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST_PAUSE)
                continue
            for job in jobs:
                self._take(job)
            pause = FIRST_PAUSE
            if not jobs and time.monotonic() - began < POLL_SECONDS / 2:
                await asyncio.sleep(1)  # the server stops, or lets this worker rest

    async def _ask(self, wait: float) -> list[LeasedJob]:
        """A request whose answer was lost is made again with its claim id, so that its jobs are not."""
        now = time.monotonic()
        if self._claim is None or now > self._claim[1]:
            self._claim = (ids.short_random(), now + wait + self.lease)
        jobs = await self._client.lease(
            self._queues,
            max=max(1, min(self._slots - self._busy, MAX_LEASED)),
            lease=self.lease,
            wait=wait,
            claim_id=self._claim[0],
            worker=self._name,
        )
        self._claim = None
        return jobs

    def _take(self, job: LeasedJob) -> None:
        work = Work(
            id=job.id,
            type=job.type,
            queue=job.queue,
            payload=bytes(job.payload),
            token=job.token,
            attempt=job.attempt,
            max_attempts=job.max_attempts,
            timeout=job.timeout,
            traceparent=job.traceparent,
            report=self._progress.of_work,
        )
        running = HeldJob(job, 0, work, None, self._execution.timeout_of(work), self._grace)
        self.running[job.id] = running
        self.keeper.hold(running)
        self._busy += 1
        task = asyncio.create_task(self._work(running))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._settle()

    def _settle(self) -> None:
        """No new jobs while twice as many as there are slots have not been told of."""
        _set(self._free, self._busy < self._slots and len(self.running) < 2 * self._slots)
        _set(self._idle, not self._busy)
        _set(self._idle_and_reported, not self.running)

    # --- running --------------------------------------------------------------------------------------------------

    async def _work(self, running: HeldJob) -> None:
        try:
            outcome = await self._execution.run(running.work)
        finally:
            self._busy -= 1
            self._settle()
        if running.lost:
            self._let_go(running)
        elif not (running.releasing and isinstance(outcome, Failed)):
            running.reporting = True
            self._reports.add(self._item(running.work, outcome))

    def _item(self, work: Work, outcome: Succeeded | Failed) -> Outcome:
        if isinstance(outcome, Succeeded):
            return CompleteItem(work.id, work.token, Raw(outcome.result_json.encode()))
        error = ReportedError(outcome.message, outcome.kind, outcome.detail)
        after = None if outcome.dead else self._execution.wanted_wait(work, outcome)
        return FailItem(work.id, work.token, error, after, outcome.dead)

    def _told(self, item: Outcome, status: str) -> None:
        running = self.running.get(item.id)
        if running is not None and running.token == item.token:
            self._let_go(running)
        if status == "lost":
            logger.warning("lease_lost", job_id=item.id)
        elif isinstance(item, FailItem):
            kind = item.error.kind if isinstance(item.error, ReportedError) else "error"
            logger.info("job_failed", job_id=item.id, kind=kind, outcome=status)

    def _let_go(self, running: HeldJob) -> None:
        self.keeper.let_go(running)
        if self.running.get(running.job_id) is running:
            del self.running[running.job_id]
        self._settle()

    def _on_trouble(self, job_id: str, token: str, status: str) -> None:
        """A renewal answered `cancelled` or `lost`."""
        running = self.running.get(job_id)
        if running is None or running.token != token or running.lost or running.reporting:
            return
        if status == "lost":
            running.lost = True
            logger.warning("lease_lost", job_id=job_id, type=running.work.type)
        self._execution.cancel(running.work)

    # --- the end --------------------------------------------------------------------------------------------------

    async def drain(self, seconds: float) -> None:
        """With `run` ended: let what runs finish for so long, and give the rest back."""
        await self._return_unseen()
        if not self._parts[0].done():  # else nothing that finishes could be reported
            await _within(seconds, self._idle_and_reported)
        for running in self._unreported():
            running.releasing = True
            self._execution.cancel(running.work)
        if self.running:
            logger.info("releasing", jobs=len(self.running))
        await _within(self._grace, self._idle)
        await self.release()

    async def _return_unseen(self) -> None:
        """The jobs of a request that was broken off, of which the answer may have been on its way."""
        if self._claim is None:
            return
        with contextlib.suppress(ClientError, TimeoutError):
            async with asyncio.timeout(RELEASE_SECONDS):
                jobs = await self._ask(0)
                await self._client.release_many([ReleaseItem(job.id, job.token) for job in jobs])

    async def release(self) -> None:
        """Give back what has not been reported, without waiting for any handler. Outcomes that are being reported have
        a few seconds more; one that comes to the server just before its job is given back counts."""
        await self._give_back(self._unreported())
        if not self._parts[0].done():
            await _within(RELEASE_SECONDS, self._idle_and_reported)
        await self._give_back(list(self.running.values()))

    def _unreported(self) -> list[HeldJob]:
        return [running for running in self.running.values() if not running.reporting]

    async def _give_back(self, left: Sequence[HeldJob]) -> None:
        for running in left:
            running.releasing = True
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._client.release_many([ReleaseItem(running.job_id, running.token) for running in left])
        except (ClientError, TimeoutError) as error:
            logger.error("not_released", jobs=len(left), error=str(error))
        for running in left:
            self._let_go(running)

    async def close(self) -> None:
        await end_tasks([*self._parts, *self._tasks])
        await self.keeper.stop()


def work(settings: Settings, access: Access, name: str | None) -> int:
    """Run the handlers of `settings.app` for the server, until SIGTERM or SIGINT. Returns the exit code.

    Raises StartupError."""
    log.configure(settings.log_level, settings.log_format)
    return asyncio.run(_work(settings, access, name or _worker_name()))


async def _work(settings: Settings, access: Access, name: str) -> int:
    if settings.app is None:
        raise StartupError("--app is needed: which handlers to run, as module:name, for example thumbnails:app")
    app = load_app(settings.app)
    signals = StopSignals()
    signals.install()
    execution = Execution(app, settings.app, ExecutionSettings.of(settings))
    await execution.start()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(execution.stop, abandon=True)
        client = await stack.enter_async_context(Client(access.url, access.api_key))
        app.sender = client
        queues = settings.queues or app.queues
        worker = RemoteWorker(client, execution, settings, name, queues)
        stack.push_async_callback(worker.close)
        worker.keeper.start(lambda: Renewal(access.url, access.api_key, worker.lease))
        logger.info("started", url=access.url, worker=name, queues=list(queues), types=sorted(app.handlers))
        failure = None
        try:
            await done_before(worker.run(), signals.first)
        except Exception as error:  # raised again below: the jobs that run must not pay for it
            failure = error
        logger.info("draining", running=len(worker.running), timeout=settings.drain_timeout)
        in_order = await done_before(worker.drain(settings.drain_timeout), signals.second)
        if not in_order:
            logger.warning("forced_exit")
            await worker.release()
        if failure is not None:
            raise failure
    logger.info("stopped", worker=name)
    return 0 if in_order else 1


def _worker_name() -> str:
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).lstrip("._-")[:24] or "worker"
    return f"{host}-{os.getpid()}-{secrets.token_hex(2)}"


async def _within(seconds: float, event: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _set(event: asyncio.Event, wanted: bool) -> None:
    if wanted:
        event.set()
    else:
        event.clear()
