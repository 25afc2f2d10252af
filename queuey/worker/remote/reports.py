"""A pull worker's reports to the server over HTTP: outcomes, renewals, progress."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Literal, TypeVar

import httpx
import msgspec
from msgspec import UNSET, Raw

from queuey import log
from queuey.client import Client, ClientError, Full, Refused, Unavailable
from queuey.lifecycle import end_tasks
from queuey.protocol.models import (
    MAX_LEASED,
    CheckpointItem,
    CompleteItem,
    ExtendItem,
    FailItem,
    LeaseOutcome,
    ProgressReport,
    ReportedError,
)
from queuey.protocol.renewal import renewal_of
from queuey.worker.handlers.attempt import LOST, Keeping, Work

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
UNKNOWN_ROUTE: Final = (404, 405)
"""Statuses of an answer to a whole request whose route the server does not know."""
ENDED: Final = "the worker has ended"
RENEWAL_SECONDS: Final = 10.0

Outcome = CompleteItem | FailItem
Item = TypeVar("Item", CheckpointItem, CompleteItem, FailItem)
Answer = LeaseOutcome | ClientError
OnReported = Callable[[Outcome, str], None]

logger = log.get(__name__)


class _Lane:
    """Outcomes that wait to be sent, each with the time.monotonic() until which it is sent again."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, Outcome]] = deque()
        self.some = asyncio.Event()
        """Set while outcomes wait."""

    def add(self, until: float, outcome: Outcome) -> None:
        self._waiting.append((until, outcome))
        self.some.set()

    def take(self) -> list[tuple[float, Outcome]]:
        """Return as many outcomes as go into a request."""
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_LEASED))]
        if not self._waiting:
            self.some.clear()
        return taken


class Reports:
    """Reports outcomes. Those that gather while one request is under way go out with the next.

    What the server has not taken goes in requests of its own from then on: the server waits for a shard that is silent
    before it answers, and new outcomes, which mostly are for the other shards, must not wait with it.

    `on_reported(outcome, status)` is called once for each. The status is ok, retry, snoozed, dead_letter, cancelled,
    lost, or UNREPORTED when the server could not be reached or refused it: then the lease expires, and the job runs
    again. A result that the server does not take is a failure, as it is for a worker in the server.
    """

    def __init__(self, client: Client, on_reported: OnReported) -> None:
        self._client = client
        self._on_reported = on_reported
        self._has_warned = False
        """Whether the log says that the server knows no snoozes."""
        self._new, self._again = _Lane(), _Lane()

    def add(self, outcome: Outcome) -> None:
        """Report an outcome soon."""
        self._new.add(time.monotonic() + RESEND_SECONDS, outcome)

    async def run(self) -> None:
        """Report until cancelled."""
        lanes = [asyncio.create_task(self._send_new()), asyncio.create_task(self._send_again())]
        try:
            await asyncio.gather(*lanes)
        finally:
            await end_tasks(lanes)

    async def _send_new(self) -> None:
        while True:
            await self._new.some.wait()
            await self._send(self._new.take())

    async def _send_again(self) -> None:
        while True:
            await self._again.some.wait()
            await asyncio.sleep(PAUSE)
            is_taken = True
            while is_taken and self._again.some.is_set():
                is_taken = await self._send(self._again.take())

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
            self._again.add(*entry)
            return False
        if verdict == "bad" and isinstance(outcome, CompleteItem):
            kind = "result_too_large" if _status(answer) == TOO_LARGE else "result_not_json"
            self._again.add(until, FailItem(outcome.id, outcome.token, ReportedError(word, kind)))
            return True
        if verdict == "bad" and isinstance(outcome, FailItem) and isinstance(outcome.snooze, float):
            self._warn_of_snoozes(word)
            self._again.add(until, msgspec.structs.replace(outcome, retry_after=outcome.snooze, snooze=UNSET))
            return True
        logger.error("outcome_not_stored", job_id=outcome.id, error=word)
        self._on_reported(outcome, UNREPORTED)
        return True

    def _warn_of_snoozes(self, reason: str) -> None:
        """Warn once. The next snooze is sent again, since the server may be a newer one by then."""
        if not self._has_warned:
            self._has_warned = True
            logger.warning("server_ignores_snooze", reason=reason, effect="each Snooze spends an attempt")


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
            url, api_key, timeout=min(RENEWAL_SECONDS, renewal_of(lease)), retry_for=0, transport=transport
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


class Checkpoints:
    """Keeps the checkpoints of jobs. Each is sent until the server has answered, as outcomes are.

    Of one lease, one is under way at a time. A new one takes the place of those that wait, and its answer is theirs
    too: a value counts as kept if a later one is. They are numbered, so that a request that arrives late, such as one
    that was given up and sent again, does not replace a later value.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._waiting: dict[tuple[str, str], list[Keeping]] = {}
        """By lease: what is not under way yet. A lease is there while one of its checkpoints is under way."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._loop = asyncio.get_running_loop()

    def keep(self, work: Work, value: str) -> Keeping:
        """Keep a checkpoint, from any thread."""
        keeping = Keeping(work, value)
        try:
            self._loop.call_soon_threadsafe(self._add, keeping)
        except RuntimeError:  # the loop is closed: a thread was left behind
            keeping.settle(ENDED)
        return keeping

    def _add(self, keeping: Keeping) -> None:
        lease = keeping.work.id, keeping.work.token
        if self._closed:
            keeping.settle(ENDED)
        elif lease in self._waiting:
            self._waiting[lease].append(keeping)
        else:
            self._waiting[lease] = [keeping]
            task = self._loop.create_task(self._send_all(lease))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send_all(self, lease: tuple[str, str]) -> None:
        """Send what waits until nothing does."""
        waiting = self._waiting[lease]
        sent: list[Keeping] = []
        try:
            while waiting:
                sent = waiting.copy()
                waiting.clear()
                refusal = await self._refusal(sent[-1])
                for keeping in sent:
                    keeping.settle(refusal)
                sent = []
        finally:
            for keeping in (*sent, *self._waiting.pop(lease)):
                keeping.settle(ENDED)

    async def _refusal(self, keeping: Keeping) -> str:
        """Send a checkpoint. Return the reason why it was not kept, '' if it was."""
        work = keeping.work
        work.checkpoints += 1
        item = CheckpointItem(work.id, work.token, Raw(keeping.value.encode() or b"null"), work.checkpoints)
        until = time.monotonic() + RESEND_SECONDS
        while True:
            (answer,) = await _answers(self._client.checkpoint_many, [item])
            verdict, word = _judge(answer)
            if verdict == "done":
                return "" if word == "ok" else LOST
            if verdict != "again" or time.monotonic() > until:
                is_unknown = _status(answer) in UNKNOWN_ROUTE
                return f"{word} Update the server: it is of a release without checkpoints." if is_unknown else word
            await asyncio.sleep(PAUSE)

    async def close(self) -> None:
        """Give up what is not kept yet."""
        self._closed = True
        await end_tasks(self._tasks.copy())
        while self._waiting:  # their tasks had not begun
            for keeping in self._waiting.popitem()[1]:
                keeping.settle(ENDED)
