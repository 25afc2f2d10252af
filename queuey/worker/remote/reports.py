"""A pull worker's reports to the server over HTTP: outcomes, renewals, progress."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Literal, TypeVar

import httpx
from msgspec import UNSET

from queuey import log
from queuey.client import Client, ClientError, Full, Refused, Unavailable
from queuey.protocol.models import (
    MAX_LEASED,
    CompleteItem,
    ExtendItem,
    FailItem,
    LeaseOutcome,
    ProgressReport,
    ReportedError,
)
from queuey.protocol.renewal import renewal_of
from queuey.worker.handlers.attempt import Work

RESEND_SECONDS: Final = 120.0
"""Seconds for which an outcome is sent again. A restart of the server takes less."""
PAUSE: Final = 1.0
PROGRESS_PAUSE: Final = 0.5
GONE: Final = (404, 409)
TOO_LARGE: Final = 413
BAD: Final = (400, TOO_LARGE, 422)
"""Statuses that mean a fault of the outcome itself, which sending again does not change."""
UNREPORTED: Final = "untold"
"""The status of an outcome that was given up; logs have it."""
RENEWAL_SECONDS: Final = 10.0

Outcome = CompleteItem | FailItem
Item = TypeVar("Item", CompleteItem, FailItem)
Answer = LeaseOutcome | ClientError
OnReported = Callable[[Outcome, str], None]

logger = log.get(__name__)


class Reports:
    """Reports outcomes. Those that gather while one request is under way go out with the next.

    `on_reported(outcome, status)` is called once for each. The status is ok, retry, dead_letter, cancelled, lost, or
    UNREPORTED when the server could not be reached or refused it: then the lease expires, and the job runs again. A
    result that the server does not take is a failure, as it is for a worker in the server.
    """

    def __init__(self, client: Client, on_reported: OnReported) -> None:
        self._client = client
        self._on_reported = on_reported
        self._waiting: deque[tuple[float, Outcome]] = deque()
        self._some = asyncio.Event()

    def add(self, outcome: Outcome) -> None:
        """Report an outcome soon."""
        self._waiting.append((time.monotonic() + RESEND_SECONDS, outcome))
        self._some.set()

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await self._some.wait()
            if not await self._send(self._take()):
                await asyncio.sleep(PAUSE)

    def _take(self) -> list[tuple[float, Outcome]]:
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_LEASED))]
        if not self._waiting:
            self._some.clear()
        return taken

    async def _send(self, taken: Sequence[tuple[float, Outcome]]) -> bool:
        """Send outcomes. Return whether the server took them; those that it did not take are kept for the next time."""
        done = [(until, item) for until, item in taken if isinstance(item, CompleteItem)]
        failed = [(until, item) for until, item in taken if isinstance(item, FailItem)]
        of_done, of_failed = await asyncio.gather(
            _answers(self._client.complete_many, [item for _, item in done]),
            _answers(self._client.fail_many, [item for _, item in failed]),
        )
        good, entries = True, list[tuple[float, Outcome]]([*done, *failed])
        for entry, answer in zip(entries, [*of_done, *of_failed], strict=True):
            good &= self._settle(entry, answer)
        return good

    def _settle(self, entry: tuple[float, Outcome], answer: Answer) -> bool:
        until, outcome = entry
        verdict, word = _judge(answer)
        if verdict == "done":
            self._on_reported(outcome, word)
            return True
        if verdict == "again" and time.monotonic() < until:
            self._keep(entry)
            return False
        if verdict == "bad" and isinstance(outcome, CompleteItem):
            kind = "result_too_large" if _status(answer) == TOO_LARGE else "result_not_json"
            self._keep((until, FailItem(outcome.id, outcome.token, ReportedError(word, kind))))
            return True
        logger.error("outcome_not_stored", job_id=outcome.id, error=word)
        self._on_reported(outcome, UNREPORTED)
        return True

    def _keep(self, entry: tuple[float, Outcome]) -> None:
        self._waiting.append(entry)
        self._some.set()


async def _answers(
    send: Callable[[Sequence[Item]], Awaitable[list[LeaseOutcome]]], items: Sequence[Item]
) -> Sequence[Answer]:
    """Send items, and return an answer for each. A refused batch is sent again in halves, to find the bad one."""
    try:
        return list(await send(items))
    except ClientError as error:
        if len(items) < 2 or _judge(error)[0] != "bad":
            return [error] * len(items)
    half: int = (len(items) + 1) // 2
    return [*await _answers(send, items[:half]), *await _answers(send, items[half:])]


def _judge(answer: Answer) -> tuple[Literal["done", "again", "bad", "never"], str]:
    """Judge an answer: `done` comes with the status, the others with the reason.

    `again` means to send the outcome again, `never` to give it up; with `bad` the server refuses the outcome itself.
    """
    status = _status(answer)
    if isinstance(answer, Refused):
        again = isinstance(answer, (Full, Unavailable))
    elif isinstance(answer, ClientError):
        again = status != TOO_LARGE  # a proxy before the server has a limit of its own
    elif answer.error is UNSET:
        return "done", str(answer.status)
    elif status in GONE:
        return "done", "lost"
    else:
        again = status in (429, 503)
    word = answer.message if isinstance(answer, ClientError) else _detail(answer)
    return "again" if again else "bad" if status in BAD else "never", word


def _detail(outcome: LeaseOutcome) -> str:
    return "" if outcome.error is UNSET else outcome.error.detail


def _status(answer: Answer) -> int | None:
    """Return the HTTP status of a refusal, if it is one."""
    if isinstance(answer, ClientError):
        return answer.status
    return None if answer.error is UNSET else answer.error.status


class Renewal:
    """Extends leases over HTTP for the LeaseKeeper, with a client of its own event loop."""

    def __init__(
        self, url: str, api_key: str | None, lease: float, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Give a request up early enough for another one within the lease, which is in seconds."""
        self._client = Client(
            url, api_key, timeout=min(RENEWAL_SECONDS, renewal_of(lease)), retries=0, transport=transport
        )

    async def extend(self, shard: int, lease_ms: int, held: Sequence[tuple[str, str]]) -> list[str]:
        """Extend leases. A job without a clear answer counts as ours until the next time. Raises ClientError."""
        items = [ExtendItem(job_id, token, lease_ms / 1000) for job_id, token in held]
        return [extended(outcome) for outcome in await self._client.extend_many(items)]

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()


def extended(outcome: LeaseOutcome) -> str:
    """Return what an answer says of a lease: ok, cancelled or lost."""
    if outcome.error is not UNSET:
        return "lost" if outcome.error.status in GONE else "ok"
    return str(outcome.status)


class ProgressReports:
    """Reports the progress of jobs, at most twice a second; of a job's reports in between the last one counts."""

    def __init__(self, client: Client, lease: float) -> None:
        self._client = client
        self._lease = lease
        self._latest: dict[str, tuple[str, ProgressReport]] = {}
        self._some = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def on_progress(self, work: Work, report: ProgressReport) -> None:
        """Take the progress of a handler, from any thread."""
        self._latest[work.id] = (work.token, report)
        with suppress(RuntimeError):  # the loop is closed: a thread was left behind
            self._loop.call_soon_threadsafe(self._some.set)

    async def run(self) -> None:
        """Report until cancelled. What the server does not take is dropped, since the next report says more."""
        while True:
            await self._some.wait()
            self._some.clear()
            latest = [self._latest.popitem() for _ in range(len(self._latest))]
            items = [ExtendItem(job_id, token, self._lease, report) for job_id, (token, report) in latest]
            try:
                await self._client.extend_many(items)
            except ClientError as error:
                logger.debug("progress_not_stored", jobs=len(items), error=error.message)
            await asyncio.sleep(PROGRESS_PAUSE)
