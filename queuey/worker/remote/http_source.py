"""A remote server as a worker's source of jobs. Claims and outcomes go over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, NamedTuple

from msgspec import Raw

from queuey import log
from queuey.client import Client, ClientError, Forbidden, Invalid, NotFound, Unauthorized
from queuey.errors import StartupError
from queuey.lifecycle import Retrying, end_tasks
from queuey.protocol import ids
from queuey.protocol.models import (
    MAX_ISOLATES,
    MAX_LEASE_TYPES,
    MAX_LEASED,
    CompleteItem,
    FailItem,
    LeasedJob,
    LeaseRoom,
    ReleaseItem,
    ReportedError,
)
from queuey.worker.handlers.attempt import Failed, Succeeded, Work
from queuey.worker.held_job import HeldJob, read_leased
from queuey.worker.remote.reports import Outcome, ProgressReports, Reports
from queuey.worker.settings import WorkerSettings
from queuey.worker.source import Claim, ClaimRequest, Confirmed, Offered

POLL_SECONDS: Final = 30.0
FIRST_PAUSE: Final = 0.2
LAST_PAUSE: Final = 5.0
LEAST_LEASE: Final = 1.0
"""The shortest lease that the API gives, in seconds."""

logger = log.get(__name__)


class _Terms(NamedTuple):
    """The jobs that a request asks for: how many, of which types, at most how many of some types, and of suspects."""

    most: int
    types: Sequence[str] | None
    room: Sequence[LeaseRoom] | None
    isolates: int | None


class HttpSource:
    """Claims by long polls, and reports in batches. The loops that report run from the start until `close`.

    Each request names the types that the worker knows, the room of each executor that has less than all, and how many
    suspects can have a child process of their own. A server of an older release knows none of these; then no job is
    asked for unless one of any type can begin.

    `wanted_wait(work, failed)` returns the seconds until the next attempt, or None to let the server decide.
    """

    shards = 1
    gives_back_unconfirmed = True
    asides = None
    sets_aside = False

    def __init__(
        self, client: Client, settings: WorkerSettings, wanted_wait: Callable[[Work, Failed], float | None]
    ) -> None:
        self.lease = max(LEAST_LEASE, settings.lease)
        self._client = client
        self._settings = settings
        self._wanted_wait = wanted_wait
        self.ignores_room = False
        self._grew: asyncio.Event | None = None
        """Set when a job can begin that the present request could not ask for; None if there is no such request."""
        self._claim: tuple[str, float] | None = None
        """The claim id of a request without an answer, and the time until which a repeat brings the same jobs."""
        self._terms = _Terms(1, None, None, None)
        """The jobs that this request asked for."""
        self._retries = Retrying(FIRST_PAUSE, LAST_PAUSE)
        self._unconfirmed: dict[tuple[str, str], tuple[HeldJob, Confirmed]] = {}
        """The jobs that are being reported, by id and token, each with its callback."""
        self._reports = Reports(client, self._reported)
        self._progress = ProgressReports(client, self.lease)
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
        """End the loops that report."""
        await end_tasks(self._loops)

    # --- claims ---------------------------------------------------------------------------------------------------

    async def claim(self, shard: int, request: ClaimRequest) -> Claim[LeasedJob]:
        """Wait for jobs. A request that fails is logged, and returns no job after a pause."""
        if not self.ignores_room and sum(len(each.types) for each in request.room) > MAX_LEASE_TYPES:
            self._ignore_room(f"more than {MAX_LEASE_TYPES} types")
            return Claim(more=True)
        self._terms = (
            _Terms(max(1, min(request.free, MAX_LEASED)), None, None, None) if self.ignores_room else _terms(request)
        )
        began = time.monotonic()
        try:
            jobs = await self._poll(any(not each.jobs for each in request.room))
        except (Unauthorized, Forbidden, Invalid, NotFound) as error:
            self._claim = None
            if not self.ignores_room and isinstance(error, Invalid) and _is_about_types(error):
                self._ignore_room(error.message)
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
            self._settings.queues,
            max=self._terms.most,
            lease=self.lease,
            wait=wait,
            claim_id=self._claim[0],
            worker=self._settings.name,
            types=self._terms.types,
            room=self._terms.room,
            isolates=self._terms.isolates,
        )
        self._claim = None
        return jobs

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

    def set_aside(self, held: Sequence[HeldJob], gone: Confirmed) -> None:
        """Do nothing: the server gives no jobs of unknown types."""

    def read(self, job: LeasedJob) -> tuple[Work, Failed | None]:
        return read_leased(job, self._progress.on_progress), None

    # --- outcomes -------------------------------------------------------------------------------------------------

    def complete(self, held: HeldJob, succeeded: Succeeded, confirmed: Confirmed) -> None:
        self._report(CompleteItem(held.job_id, held.token, Raw(succeeded.result_json.encode())), held, confirmed)

    def fail(self, held: HeldJob, failed: Failed, confirmed: Confirmed) -> None:
        error = ReportedError(failed.message, failed.kind, failed.detail)
        after = None if failed.dead else self._wanted_wait(held.work, failed)
        self._report(FailItem(held.job_id, held.token, error, after, failed.dead), held, confirmed)

    def _report(self, item: Outcome, held: HeldJob, confirmed: Confirmed) -> None:
        self._unconfirmed[item.id, item.token] = held, confirmed
        self._reports.add(item)

    def _reported(self, item: Outcome, status: str) -> None:
        if reported := self._unconfirmed.pop((item.id, item.token), None):
            held, confirmed = reported
            confirmed(held)
        if status == "lost":
            logger.warning("lease_lost", job_id=item.id)
        elif isinstance(item, FailItem):
            kind = item.error.kind if isinstance(item.error, ReportedError) else "error"
            logger.info("job_failed", job_id=item.id, kind=kind, outcome=status)

    def lost(self, work: Work) -> None:
        logger.warning("lease_lost", job_id=work.id, type=work.type)

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


def _terms(request: ClaimRequest) -> _Terms:
    most = max(1, min(request.free, MAX_LEASED))
    room = [LeaseRoom(each.jobs, list(each.types)) for each in request.room if each.jobs < most]
    types = [type for each in request.room for type in each.types]
    isolates = None if request.isolates is None else min(request.isolates, MAX_ISOLATES)
    return _Terms(most, types, room or None, isolates)


def _is_about_types(error: Invalid) -> bool:
    return any(
        fault.get("pointer", "").startswith(("/types", "/room", "/isolates")) for fault in error.problem.errors or ()
    )
