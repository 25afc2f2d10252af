"""The reports of pull workers about the jobs that they hold: complete, fail, extend, release.

Each job has its own outcome: a status, or the error because of which the report did not reach the store. Every report
is safe to send again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Final, Literal, TypeVar, cast

from msgspec import Raw

from queuey import log
from queuey.errors import Full, LostLease, OutcomeUnknown, QueueyError, StartupError, StoreUnavailable
from queuey.metrics import Metrics
from queuey.protocol import backoff as retry
from queuey.protocol.models import (
    Backoff,
    CheckpointItem,
    CompleteItem,
    ExtendItem,
    FailItem,
    LeaseOutcome,
    LogItem,
    ReleaseItem,
)
from queuey.protocol.records import DEFAULT_QUEUE, UNREADABLE, StoredJob, parse_definition, parse_fields
from queuey.protocol.stored.job_errors import error_entry, snoozed_too_often
from queuey.services.jobs.actions import unknown_job
from queuey.services.leases.acks import Acks
from queuey.services.leases.plain_results import WORTH_A_GROUP, GivenResults
from queuey.services.leases.pull_workers import PullWorkers
from queuey.services.reports.job_logs import AT_ONCE, logged
from queuey.services.reports.progress import ProgressRecorder
from queuey.services.times import to_ms
from queuey.store.broker.broker import Broker
from queuey.store.broker.leases import Failure, Results
from queuey.store.deadline import Deadline
from queuey.store.shards import on_each

Status = Literal["ok", "retry", "snoozed", "dead_letter", "cancelled", "lost"]
Outcome = LeaseOutcome | QueueyError
Visible = Callable[[str], bool] | None
"""Returns whether the caller may work on a queue. None: it may work on all."""

LOST: Final = "The lease is lost: it expired and another worker has the job, or the job has finished."
_STATUSES: Final[dict[str, Status]] = {
    "ok": "ok",
    "retry": "retry",
    "snoozed": "snoozed",
    "dead": "dead_letter",
    "cancelled": "cancelled",
    "lost": "lost",
}
_FAILED: Final = ("retry", "dead_letter", "cancelled")
"""The statuses that are logged as failures."""

Item = TypeVar("Item", bound=CheckpointItem | CompleteItem | FailItem | ExtendItem | LogItem | ReleaseItem)
Send = Callable[[int, Item], asyncio.Future[str]]
"""Sends an item to a shard. The future has the script's status word."""

READ_BATCH: Final = 16
"""The maximum number of jobs read in one call. 500 of the largest would block the store for 0.3 s."""

logger = log.get(__name__)


class LeaseOutcomes:
    """Sends reports to the store. Make it inside the running loop.

    An item that is already an error is its own outcome. `backoff` is for jobs that have none of their own.
    """

    def __init__(
        self,
        broker: Broker,
        workers: PullWorkers,
        progress: ProgressRecorder,
        *,
        metrics: Metrics,
        request_deadline: float,
        backoff: Backoff,
    ) -> None:
        self._metrics = metrics
        self._broker = broker
        self._acks = Acks(broker, request_deadline)
        self._request_deadline = request_deadline
        self._workers = workers
        self._progress = progress
        self._backoff = backoff
        self._random = Random()

    async def complete(self, items: Sequence[CompleteItem | QueueyError], visible: Visible) -> list[Outcome]:
        """Complete jobs. Each outcome is `ok` or `lost`."""
        return await self._send_all(await self._without_hidden(items, visible), self._send_result)

    def _send_result(self, shard: int, item: CompleteItem) -> asyncio.Future[str]:
        return self._acks.submit_complete(shard, item.id, item.token, _text_of(item.result))

    async def complete_plain(self, given: GivenResults) -> list[Outcome] | None:
        """Complete jobs as `complete` does, in groups. Returns their outcomes, or None if each is `ok`.

        A group has the jobs of one shard and one token. The caller may work on all queues.
        """
        groups = self._grouped(given)
        if len(groups) * WORTH_A_GROUP > len(given.ids):
            return await self.complete(given.items(), None)
        sent = [asyncio.create_task(self._complete_group(shard, group)) for shard, group, _ in groups]
        await asyncio.wait(sent)  # if the request is cancelled, the outcomes are still stored and counted
        answers = [one.result() for one in sent]
        if not any(answers):
            return None
        outcomes: dict[int, Outcome] = {}
        for (_, group, places), answer in zip(groups, answers, strict=True):
            outcomes.update(zip(places, answer or [LeaseOutcome(each, "ok") for each in group.ids], strict=True))
        return [outcomes[at] for at in range(len(given.ids))]

    def _grouped(self, given: GivenResults) -> list[tuple[int, Results, Sequence[int]]]:
        """Return the groups: shard, results, and their places in the request."""
        if self._broker.shards.count == 1 and len(set(given.tokens)) == 1:
            return [(0, Results(given.tokens[0], given.ids, given.results), range(len(given.ids)))]
        of_job = self._broker.shards.of_job
        places: dict[tuple[int, str], list[int]] = {}
        for at, (job_id, token) in enumerate(zip(given.ids, given.tokens, strict=True)):
            places.setdefault((of_job(job_id), token), []).append(at)
        return [
            (shard, Results(token, [given.ids[at] for at in some], [given.results[at] for at in some]), some)
            for (shard, token), some in places.items()
        ]

    async def _complete_group(self, shard: int, group: Results) -> list[Outcome] | None:
        """Complete the jobs of a group. Returns their outcomes, or None if each is `ok`."""
        try:
            words = await self._acks.submit_complete_group(shard, group)
        except (StoreUnavailable, OutcomeUnknown, Full, StartupError) as error:
            return [_failed(job_id, error) for job_id in group.ids]
        except Exception:  # ScriptFailed, for example: send the jobs one by one, so that only the bad ones fail
            alone = GivenResults(group.ids, [group.token] * len(group.ids), group.results)
            return await self._send_all(alone.items(), self._send_result)
        self._workers.ended(*group.ids)
        for word in set(words):
            self._metrics.pulled.add((_STATUSES[word],), words.count(word))
        if words.count("ok") == len(words):
            return None
        return [LeaseOutcome(job_id, _STATUSES[word]) for job_id, word in zip(group.ids, words, strict=True)]

    async def fail(self, items: Sequence[FailItem | QueueyError], visible: Visible) -> list[Outcome]:
        """Fail attempts. Each outcome is `retry`, `snoozed`, `dead_letter`, `cancelled` or `lost`."""
        stored = await self._stored(items)
        checked = [_if_visible(item, stored, visible) for item in items]

        def send(shard: int, item: FailItem) -> asyncio.Future[str]:
            return self._acks.submit_fail(shard, self._failure(item, cast(StoredJob, stored[item.id])))

        outcomes = await self._send_all(checked, send)
        for item, outcome in zip(items, outcomes, strict=True):
            if isinstance(item, FailItem) and isinstance(outcome, LeaseOutcome) and outcome.status in _FAILED:
                self._log(item, outcome.status)
        return outcomes

    def _log(self, item: FailItem, status: object) -> None:
        """Log a failure without its message, which the worker may log, and the job keeps."""
        write = logger.error if status == "dead_letter" else logger.warning
        write("pulled_job_failed", job_id=item.id, outcome=status, kind=_kind(item))

    async def checkpoint(self, items: Sequence[CheckpointItem | QueueyError], visible: Visible) -> list[Outcome]:
        """Keep values for the next attempts. Each outcome is `ok` or `lost`."""

        def send(shard: int, item: CheckpointItem) -> asyncio.Future[str]:
            kept = item.id, item.token, _text_of(item.checkpoint)
            return self._acks.submit_checkpoint(shard, (*kept, item.number) if item.number else kept)

        return await self._send_all(await self._without_hidden(items, visible), send, ends=False)

    async def release(self, items: Sequence[ReleaseItem | QueueyError], visible: Visible) -> list[Outcome]:
        """Release jobs to the heads of their lanes, in the order of the items. Each outcome is `ok` or `lost`."""

        def send(shard: int, item: ReleaseItem) -> asyncio.Future[str]:
            return self._acks.release(shard, item.id, item.token)

        last_first = (await self._without_hidden(items, visible))[::-1]
        return (await self._send_all(last_first, send))[::-1]

    async def extend(self, items: Sequence[ExtendItem | QueueyError], visible: Visible) -> list[Outcome]:
        """Extend leases. Each outcome is `ok`, `cancelled` (extended, but the worker must stop the job) or `lost`."""
        outcomes: list[Outcome | ExtendItem] = list(await self._without_hidden(items, visible))
        deadline = Deadline(self._request_deadline)
        by_shard = self._places(outcomes)
        await asyncio.gather(*(self._extend(shard, places, outcomes, deadline) for shard, places in by_shard.items()))
        return [item for item in outcomes if not isinstance(item, ExtendItem)]

    def _places(self, items: Sequence[Outcome | ExtendItem | LogItem]) -> dict[int, list[int]]:
        """Return the places of the items of each shard."""
        by_shard: dict[int, list[int]] = {}
        for at, item in enumerate(items):
            if isinstance(item, (ExtendItem, LogItem)):
                by_shard.setdefault(self._broker.shards.of_job(item.id), []).append(at)
        return by_shard

    async def _extend(
        self, shard: int, places: Sequence[int], outcomes: list[Outcome | ExtendItem], deadline: Deadline
    ) -> None:
        """Extend the leases of one shard. Each outcome replaces its item."""
        items = [item for item in (outcomes[at] for at in places) if isinstance(item, ExtendItem)]
        held = [(item.id, item.token, to_ms(item.lease)) for item in items]
        now = datetime.now(UTC)
        try:
            words = await deadline.call(lambda: self._broker.leases.extend(shard, 0, held))
        except QueueyError as error:
            for at in places:
                outcomes[at] = error
            return
        for at, item, word in zip(places, items, words, strict=True):
            if word == "lost":
                self._workers.ended(item.id)
                outcomes[at] = LeaseOutcome(item.id, "lost")
            else:
                self._workers.extended(item.id, item.lease)
                if item.progress is not None:
                    self._progress.record(item.id, item.token, item.progress)
                outcomes[at] = LeaseOutcome(item.id, _STATUSES[word], now + timedelta(seconds=item.lease))

    async def log(self, items: Sequence[LogItem | QueueyError], visible: Visible) -> list[Outcome]:
        """Keep the lines of attempts. Each outcome is `ok` or `lost`."""
        outcomes: list[Outcome | LogItem] = list(await self._without_hidden(items, visible))
        deadline = Deadline(self._request_deadline)
        for shard, places in self._places(outcomes).items():
            for first in range(0, len(places), AT_ONCE):
                await self._log_some(shard, places[first : first + AT_ONCE], outcomes, deadline)
        return [item for item in outcomes if not isinstance(item, LogItem)]

    async def _log_some(
        self, shard: int, places: Sequence[int], outcomes: list[Outcome | LogItem], deadline: Deadline
    ) -> None:
        """Keep the lines of some attempts of one shard. Each outcome replaces its item."""
        items = [item for item in (outcomes[at] for at in places) if isinstance(item, LogItem)]
        texts = [(item.id, item.token, logged(item)) for item in items]
        try:
            words = await deadline.call(lambda: self._broker.jobs.keep_log(shard, texts))
        except QueueyError as error:
            for at in places:
                outcomes[at] = error
            return
        for at, item, word in zip(places, items, words, strict=True):
            outcomes[at] = LeaseOutcome(item.id, _STATUSES[word])

    # --- the jobs of the items ---------------------------------------------------------------------------------

    async def _without_hidden(self, items: Sequence[Item | QueueyError], visible: Visible) -> list[Item | QueueyError]:
        """Replace the items of queues that the caller may not work on by errors. It reads nothing for None."""
        if visible is None:
            return list(items)
        stored = await self._stored(items)
        return [_if_visible(item, stored, visible) for item in items]

    async def _stored(self, items: Sequence[Item | QueueyError]) -> dict[str, StoredJob | QueueyError]:
        """Read each job. The jobs of a shard that does not answer have its error."""
        deadline = Deadline(self._request_deadline)
        by_shard: dict[int, dict[str, None]] = {}
        for item in items:
            if not isinstance(item, QueueyError):
                by_shard.setdefault(self._broker.shards.of_job(item.id), {})[item.id] = None
        stored: dict[str, StoredJob | QueueyError] = {}

        async def read(shard: int) -> None:
            job_ids = list(by_shard[shard])
            try:
                for first in range(0, len(job_ids), READ_BATCH):
                    some = job_ids[first : first + READ_BATCH]
                    found = await deadline.call(partial(self._broker.jobs.get, shard, some))
                    stored.update(zip(some, found, strict=True))
            except StoreUnavailable as error:
                stored.update(dict.fromkeys(job_ids, error))

        await on_each(by_shard, read)
        return stored

    def _failure(self, item: FailItem, stored: StoredJob) -> Failure:
        """Return the item as it is stored, with its error and the milliseconds until the job runs again."""
        state = parse_fields(stored.state)
        attempt = int(state.get("a", 0)) + 1
        error = item.error
        kind, message, detail = (
            ("error", error, None) if isinstance(error, str) else (error.kind, error.message, error.detail)
        )
        if isinstance(item.snooze, float | int):
            entry = error_entry("snooze", snoozed_too_often(message), detail, attempt=attempt, worker=state.get("w"))
            return item.id, item.token, entry, to_ms(item.snooze), False, True
        entry = error_entry(kind, message, detail, attempt=attempt, worker=state.get("w"))
        if item.retry_after is not None:
            delay_ms = to_ms(item.retry_after)
        else:
            delay_ms = retry.delay_ms(_backoff_of(stored) or self._backoff, attempt, self._random)
        return item.id, item.token, entry, delay_ms, item.dead

    # --- sending --------------------------------------------------------------------------------------------------

    async def _send_all(
        self, items: Sequence[Item | QueueyError], send: Send[Item], *, ends: bool = True
    ) -> list[Outcome]:
        """Send the items through the batchers, where they join those of other requests, and await all outcomes.

        `ends`: whether they end the leases.
        """
        answers = [item if isinstance(item, QueueyError) else self._sent(item, send, ends) for item in items]
        if sent := [answer for answer in answers if isinstance(answer, asyncio.Future)]:
            await asyncio.wait(sent)  # if the request is cancelled, the outcomes are still stored and counted
        return [
            item if isinstance(item, QueueyError) else _outcome(item.id, answer)
            for item, answer in zip(items, answers, strict=True)
        ]

    def _sent(self, item: Item, send: Send[Item], ends: bool) -> asyncio.Future[str] | QueueyError:
        try:
            answer = send(self._broker.shards.of_job(item.id), item)
        except QueueyError as error:  # too many items wait for the store
            return error
        if ends:
            answer.add_done_callback(partial(self._count, item.id))
        return answer

    def _count(self, job_id: str, answer: asyncio.Future[str]) -> None:
        if answer.cancelled() or answer.exception() is not None:
            return
        self._workers.ended(job_id)
        self._metrics.pulled.add((_STATUSES[answer.result()],))


def _outcome(job_id: str, answer: asyncio.Future[str] | QueueyError) -> Outcome:
    """Return the outcome for an answer that has come."""
    if isinstance(answer, QueueyError):
        return answer
    try:
        return LeaseOutcome(job_id, _STATUSES[answer.result()])
    except QueueyError as error:
        return _failed(job_id, error)


def _failed(job_id: str, error: QueueyError) -> QueueyError:
    return OutcomeUnknown(error.message, [job_id]) if isinstance(error, OutcomeUnknown) else error


def single(outcome: Outcome) -> LeaseOutcome:
    """Return the outcome of a request about one job. Raises its error, or LostLease when the lease is lost."""
    if isinstance(outcome, QueueyError):
        raise outcome
    if outcome.status == "lost":
        raise LostLease(LOST)
    return outcome


def raise_if_store_failed(outcomes: Sequence[Outcome]) -> None:
    """Raise the store's error when no job of a batch reached the store, so that the client sends the batch again."""
    errors = [item for item in outcomes if isinstance(item, StoreUnavailable | OutcomeUnknown)]
    if not errors or any(isinstance(item, LeaseOutcome) for item in outcomes):
        return
    unknown = [job_id for error in errors if isinstance(error, OutcomeUnknown) for job_id in error.job_ids]
    raise OutcomeUnknown("The store did not answer in time.", unknown) if unknown else errors[0]


def _if_visible(
    item: Item | QueueyError, stored: dict[str, StoredJob | QueueyError], visible: Visible
) -> Item | QueueyError:
    if isinstance(item, QueueyError):
        return item
    found = stored[item.id]
    if isinstance(found, QueueyError):
        return found
    if visible is None:
        return item
    head = parse_fields(found.definition)
    if not head or not visible(head.get("q", DEFAULT_QUEUE)):
        return unknown_job(item.id)
    return item


def _text_of(value: Raw) -> str:
    """Return JSON as it is stored: '' for null."""
    text = bytes(value)
    return "" if text == b"null" else text.decode()


def _backoff_of(stored: StoredJob) -> Backoff | None:
    try:
        return parse_definition(stored.definition)[1].backoff if stored.definition else None
    except UNREADABLE:
        return None


def _kind(item: FailItem) -> str:
    return "error" if isinstance(item.error, str) else item.error.kind
