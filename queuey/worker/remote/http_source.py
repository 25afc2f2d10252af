"""A remote server as a worker's source of jobs. Claims and outcomes go over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from msgspec import UNSET, Raw

from queuey import log
from queuey.client import Client, ClientError, Forbidden, Invalid, NotFound, Unauthorized
from queuey.errors import StartupError
from queuey.lifecycle import Retrying, end_tasks
from queuey.protocol import ids
from queuey.protocol.models import (
    MAX_ISOLATES,
    MAX_LEASE_TYPES,
    MAX_LEASED,
    NAME_PATTERN,
    CompleteItem,
    FailItem,
    LeasedJob,
    LeaseRoom,
    ProgressReport,
    ReleaseItem,
    ReportedError,
)
from queuey.worker.handlers.app import App
from queuey.worker.handlers.attempt import Failed, Kind, Succeeded, Work
from queuey.worker.handlers.attempt import Outcome as Attempted
from queuey.worker.handlers.job_lines import JobLines
from queuey.worker.held_job import HeldJob, read_leased
from queuey.worker.hooks.event_log import attempt_log
from queuey.worker.hooks.events import Events
from queuey.worker.remote.log_reports import LogReports
from queuey.worker.remote.reports import UNREPORTED, Checkpoints, Outcome, ProgressReports, Reports
from queuey.worker.settings import WorkerSettings
from queuey.worker.source import Claim, ClaimRequest, Confirmed, Offered

POLL_SECONDS: Final = 30.0
FIRST_PAUSE: Final = 0.2
LAST_PAUSE: Final = 5.0
LOG_SECONDS: Final = 2.0
"""The seconds in which the last lines of jobs are sent when the worker ends."""
LEAST_LEASE: Final = 1.0
"""The shortest lease that the API gives, in seconds."""

logger = log.get(__name__)


class _Terms(NamedTuple):
    """The jobs that a request asks for: of which queues, how many, of which types, at most how many of some types, and
    of suspects."""

    queues: Sequence[str]
    most: int
    types: Sequence[str] | None
    room: Sequence[LeaseRoom] | None
    isolates: int | None


class AppReport(NamedTuple):
    """The report of an App to the server: its name, and the queues of its types, by queue.

    `type_queues` None: each type belongs to the one queue that the worker asks for.
    """

    name: str | None = None
    type_queues: Mapping[str, Sequence[str]] | None = None

    @classmethod
    def of(cls, app: App, queues: Sequence[str]) -> AppReport:
        """Return the report of an App to which a worker of these queues belongs. It names no other queue."""
        by_queue: dict[str, list[str]] = {}
        for handler in app.handlers.values():
            by_queue.setdefault(handler.queue, []).append(handler.type)
        name = app.name if re.fullmatch(NAME_PATTERN, app.name) else None
        if len(queues) == 1 and set(by_queue) <= set(queues):
            return cls(name)
        return cls(name, {queue: types for queue, types in by_queue.items() if queue in queues})


NO_REPORT: Final = AppReport()


class HttpSource:
    """Claims by long polls, and reports in batches. The loops that report run from the start until `close`.

    Each request names the types that the worker knows, the room of each executor that has less than all, and how many
    suspects can have a child process of their own. A server of an older release knows none of these; then no job is
    asked for unless one of any type can begin. `report` goes with each request that names types, unless the server
    does not know it.

    `wanted_wait(work, failed)` returns the seconds until the next attempt, or None to let the server decide.
    """

    shards = 1
    gives_back_unconfirmed = True
    asides = None
    sets_aside = False

    def __init__(
        self,
        client: Client,
        settings: WorkerSettings,
        wanted_wait: Callable[[Work, Failed], float | None],
        report: AppReport = NO_REPORT,
        events: Events | None = None,
    ) -> None:
        self.lease = max(LEAST_LEASE, settings.lease)
        self._client = client
        self._settings = settings
        self._log = attempt_log(events, settings.log_errors, settings.log_jobs, decides=False)
        self._wanted_wait = wanted_wait
        self._report_of_app = report
        self.ignores_room = False
        self._grew: asyncio.Event | None = None
        """Set when a job can begin that the present request could not ask for; None if there is no such request."""
        self._claim: tuple[str, float] | None = None
        """The claim id of a request without an answer, and the time until which a repeat brings the same jobs."""
        self._terms = _Terms(settings.queues, 1, None, None, None)
        """The jobs that this request asked for."""
        self._retries = Retrying(FIRST_PAUSE, LAST_PAUSE)
        self._unconfirmed: dict[tuple[str, str], tuple[HeldJob, Attempted, Confirmed]] = {}
        """The jobs that are being reported, by id and token, each with its outcome and its callback."""
        self._reports = Reports(client, self._reported)
        self._progress = ProgressReports(client, self.lease)
        self._checkpoints = Checkpoints(client)
        self._logs = LogReports(client)
        self._reporting = asyncio.create_task(self._reports.run())
        self._loops = [self._reporting, asyncio.create_task(self._progress.run())]

    @property
    def is_reporting(self) -> bool:
        return not self._reporting.done()

    async def while_reporting(self, claiming: Coroutine[Any, Any, None]) -> None:
        """Run a worker's claims until cancelled. Raises the error that ends them or one of the loops that report."""
        task = asyncio.create_task(claiming)
        try:
            ended, _ = await asyncio.wait({task, *self._loops}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks([task])
        for each in ended:
            each.result()

    async def close(self) -> None:
        """Send the last lines of jobs, and end the loops that report."""
        await self._logs.finish(LOG_SECONDS)
        await end_tasks(self._loops)
        await self._checkpoints.close()

    # --- claims ---------------------------------------------------------------------------------------------------

    async def claim(self, shard: int, request: ClaimRequest) -> Claim[LeasedJob]:
        """Wait for jobs. A request that fails is logged, and returns no job after a pause."""
        if not self.ignores_room and sum(len(each.types) for each in request.room) > MAX_LEASE_TYPES:
            self._ignore_room(f"more than {MAX_LEASE_TYPES} types")
            self._report_of_app = AppReport(self._report_of_app.name)
            return Claim(more=True)
        queues = request.queues or self._settings.queues
        self._terms = _terms(request, queues, ignores_room=self.ignores_room)
        lacks_room = len(queues) < len(self._settings.queues) or any(not each.jobs for each in request.room)
        began = time.monotonic()
        try:
            jobs = await self._poll(lacks_room)
        except (Unauthorized, Forbidden, Invalid, NotFound) as error:
            self._claim = None
            if isinstance(error, Invalid) and self._asks_less(error):
                return Claim(more=True)
            raise StartupError(f"The server at {self._client.url} refused to give jobs: {error.message}") from error
        except ClientError as error:
            logger.warning("lease_failed", error=error.message)
            await self._retries.wait()
            return Claim(more=True)
        self._retries.reset()
        if jobs == [] and time.monotonic() - began < POLL_SECONDS / 2:
            await asyncio.sleep(1)  # an early answer without jobs: the server stops, for example
        return Claim(jobs=jobs or (), more=True)

    def room_grew(self) -> None:
        if self._grew is not None:
            self._grew.set()

    def _asks_less(self, error: Invalid) -> bool:
        """Return whether the request is worth another attempt, without what the server has refused."""
        if not self.ignores_room and _is_about(error, "/types", "/room", "/isolates"):
            self._ignore_room(error.message)
            self._report_of_app = NO_REPORT
            return True
        if self._report_of_app != NO_REPORT and _is_about(error, "/app", "/type_queues"):
            self._report_of_app = NO_REPORT
            logger.info("server_ignores_app", reason=error.message, effect="the server does not show the App")
            return True
        return False

    def _ignore_room(self, reason: str) -> None:
        self.ignores_room = True
        logger.warning("server_ignores_types", reason=reason, effect="jobs are leased only while any of them can begin")

    async def _poll(self, lacks_room: bool) -> list[LeasedJob] | None:
        """Ask for jobs, and wait for some. None: broken off, since room for other jobs has come.

        The request that follows has the same claim id, so it gets the jobs that this one may have claimed.
        """
        if not lacks_room:
            return await self._ask(POLL_SECONDS)
        self._grew = asyncio.Event()
        asking, growing = asyncio.create_task(self._ask(POLL_SECONDS)), asyncio.create_task(self._grew.wait())
        try:
            await asyncio.wait({asking, growing}, return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else None
        finally:
            self._grew = None
            await end_tasks([asking, growing])

    def offer(self, request: ClaimRequest, room: int) -> None:
        """Make no offer: the server enqueues the jobs."""

    def taken(self, offered: Offered) -> None:
        """Do nothing, since there are no offers."""

    async def _ask(self, wait: float) -> list[LeasedJob]:
        """Ask for jobs. A request whose answer was lost is repeated with its claim id, so that no job is lost."""
        now = time.monotonic()
        if self._claim is None or now > self._claim[1]:
            self._claim = (ids.short_random(), now + wait + self.lease)
        jobs = await self._client.lease(
            self._terms.queues,
            max=self._terms.most,
            lease=self.lease,
            wait=wait,
            claim_id=self._claim[0],
            worker=self._settings.name,
            types=self._terms.types,
            room=self._terms.room,
            app=self._report_of_app.name,
            type_queues=self._type_queues(),
            isolates=self._terms.isolates,
        )
        self._claim = None
        return jobs

    def _type_queues(self) -> Mapping[str, Sequence[str]] | None:
        """Return the report of the queues that this request asks for. The server remembers the others."""
        of_app = self._report_of_app.type_queues
        return of_app and {queue: types for queue, types in of_app.items() if queue in self._terms.queues}

    def stop_claiming(self) -> None:
        """Do nothing, since the claims are cancelled before a drain."""

    async def return_unseen(self) -> None:
        """Give back the jobs of an interrupted request, whose answer may have been on its way."""
        if self._claim is None:
            return
        with contextlib.suppress(ClientError, TimeoutError):
            async with asyncio.timeout(self._settings.release_seconds):
                jobs = await self._ask(0)
                await self._client.release_many([ReleaseItem(job.id, job.token) for job in jobs])

    def type_of(self, job: LeasedJob) -> str:
        return job.type

    def queue_of(self, job: LeasedJob) -> str:
        return job.queue

    def set_aside(self, held: Sequence[HeldJob], gone: Confirmed) -> None:
        """Do nothing: the server gives no jobs of unknown types."""

    def read(self, job: LeasedJob) -> tuple[Work, Failed | None]:
        return read_leased(job, self._pass_on, self._checkpoints.keep), None

    def _pass_on(self, work: Work, report: ProgressReport | JobLines) -> None:
        if isinstance(report, JobLines):
            self._logs.record(work, report)
        else:
            self._progress.on_progress(work, report)

    # --- outcomes -------------------------------------------------------------------------------------------------

    def complete(self, held: HeldJob, succeeded: Succeeded, confirmed: Confirmed) -> None:
        self._report(
            CompleteItem(held.job_id, held.token, Raw(succeeded.result_json.encode())), held, succeeded, confirmed
        )

    def fail(self, held: HeldJob, failed: Failed, confirmed: Confirmed) -> None:
        error = ReportedError(failed.message, failed.kind, failed.detail)
        item = FailItem(held.job_id, held.token, error, dead=failed.dead)
        if failed.kind == "snooze":
            item.snooze = failed.retry_after_ms / 1000
        elif not failed.dead:
            item.retry_after = self._wanted_wait(held.work, failed)
        self._report(item, held, failed, confirmed)

    def _report(self, item: Outcome, held: HeldJob, outcome: Attempted, confirmed: Confirmed) -> None:
        self._unconfirmed[item.id, item.token] = held, outcome, confirmed
        self._reports.add(item)

    def _reported(self, item: Outcome, status: str) -> None:
        reported = self._unconfirmed.pop((item.id, item.token), None)
        if reported is None:  # it was given back
            return
        held, outcome, confirmed = reported
        confirmed(held)
        if status == "lost":
            self.lost(held.work)
        elif status == UNREPORTED:
            return
        elif isinstance(item, CompleteItem):
            self._log.succeeded(held.work, held.ended_at)
        else:
            self._log.failed(held.work, _failure(item, outcome, status), status, held.ended_at)

    def lost(self, work: Work) -> None:
        self._log.lost(work)

    # --- the end --------------------------------------------------------------------------------------------------

    async def release(self, held: Sequence[HeldJob], seconds: float) -> None:
        """Give jobs back. An outcome that reaches the server before its job is given back counts."""
        if not held:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._client.release_many([ReleaseItem(each.job_id, each.token) for each in held])
        except (ClientError, TimeoutError) as error:
            logger.error("not_released", jobs=len(held), error=str(error))


def _terms(request: ClaimRequest, queues: Sequence[str], *, ignores_room: bool) -> _Terms:
    most = max(1, min(request.free, MAX_LEASED))
    if ignores_room:
        return _Terms(queues, most, None, None, None)
    room = [LeaseRoom(each.jobs, list(each.types)) for each in request.room if each.jobs < most]
    types = [type for each in request.room for type in each.types]
    isolates = None if request.isolates is None else min(request.isolates, MAX_ISOLATES)
    return _Terms(queues, most, types, room or None, isolates)


def _failure(item: FailItem, outcome: Attempted, status: str) -> Failed:
    """Return the failure that was reported: the handler's own, or that of a result that the server refused."""
    if isinstance(outcome, Failed):
        was_last = status == "dead_letter" and item.snooze is not UNSET  # an older server got a retry
        return outcome.as_last() if was_last else outcome
    error = item.error
    assert isinstance(error, ReportedError)
    return Failed(cast(Kind, error.kind), error.message)


def _is_about(error: Invalid, *pointers: str) -> bool:
    return any(fault.get("pointer", "").startswith(pointers) for fault in error.problem.errors or ())
