"""What pull workers tell of the jobs that they hold: done, failed, to be extended, to be given back.

Each job has an outcome of its own: a status, or the error that kept the store from being told. All may be told twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Final, Literal, TypeVar

from queuey import log
from queuey.errors import LostLease, OutcomeUnknown, QueueyError, StoreUnavailable
from queuey.metrics import Metrics
from queuey.protocol import backoff as retry
from queuey.protocol.job_errors import error_entry
from queuey.protocol.models import Backoff, CompleteItem, ExtendItem, FailItem, LeaseOutcome, ReleaseItem
from queuey.protocol.records import DEFAULT_QUEUE, UNREADABLE, StoredJob, parse_definition, parse_fields
from queuey.services.jobs.actions import unknown_job
from queuey.services.jobs.progress import ProgressRecorder
from queuey.services.jobs.submission import to_ms
from queuey.services.leases.acks import Acks
from queuey.services.leases.pull_workers import PullWorkers
from queuey.store.batching import Answer
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline

Status = Literal["ok", "retry", "dead_letter", "cancelled", "lost"]
Told = LeaseOutcome | QueueyError
Visible = Callable[[str], bool] | None
"""Whether the caller may work on a queue; None: on all."""

LOST: Final = "The lease is lost: it ran out and the job was given to another, or the job is over."
_STATUSES: Final[dict[str, Status]] = {
    "ok": "ok",
    "retry": "retry",
    "dead": "dead_letter",
    "cancelled": "cancelled",
    "lost": "lost",
}

Item = TypeVar("Item", bound=CompleteItem | FailItem | ExtendItem | ReleaseItem)
Tell = Callable[[int, Item, Answer[str]], None]

LOOK_AT_ONCE: Final = 16
"""Jobs read in one call, with payloads and results: 500 of the largest would hold the store for a third of a second."""

logger = log.get(__name__)


class LeaseOutcomes:
    """To be made inside the running loop. An item that is an error already stays what it is."""

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
        """`backoff` is for jobs that have none of their own."""
        self._metrics = metrics
        self._broker = broker
        self._acks = Acks(broker, request_deadline)
        self._request_deadline = request_deadline
        self._workers = workers
        self._progress = progress
        self._backoff = backoff
        self._random = Random()
        self._loop = asyncio.get_running_loop()

    async def complete(self, items: Sequence[CompleteItem | QueueyError], visible: Visible) -> list[Told]:
        """ok or lost."""

        def tell(shard: int, item: CompleteItem, answer: Answer[str]) -> None:
            result = bytes(item.result)
            self._acks.complete(shard, item.id, item.token, "" if result == b"null" else result.decode(), answer)

        return await self._tell_all(await self._seen(items, visible), tell)

    async def fail(self, items: Sequence[FailItem | QueueyError], visible: Visible) -> list[Told]:
        """retry, dead_letter, cancelled or lost."""
        stored = await self._look(items)
        checked = [_if_visible(item, stored, visible) for item in items]

        def tell(shard: int, item: FailItem, answer: Answer[str]) -> None:
            entry, delay_ms = self._failure(item, stored[item.id])
            self._acks.fail(shard, item.id, item.token, entry, delay_ms, item.dead, answer)

        told = await self._tell_all(checked, tell)
        for item, status in zip(items, told, strict=True):
            if isinstance(status, LeaseOutcome) and isinstance(item, FailItem) and status.status != "lost":
                logger.info("pulled_job_failed", job_id=item.id, outcome=status.status, kind=_kind(item))
        return told

    async def release(self, items: Sequence[ReleaseItem | QueueyError], visible: Visible) -> list[Told]:
        """ok or lost. Those of one lane come to stand in the order of the items."""

        def tell(shard: int, item: ReleaseItem, answer: Answer[str]) -> None:
            self._acks.release(shard, item.id, item.token).add_done_callback(partial(_pass_on, answer))

        told = await self._tell_all((await self._seen(items, visible))[::-1], tell)
        return told[::-1]

    async def extend(self, items: Sequence[ExtendItem | QueueyError], visible: Visible) -> list[Told]:
        """ok, cancelled (extended, and to be stopped) or lost."""
        told: list[Told | ExtendItem] = list(await self._seen(items, visible))
        deadline = Deadline(self._request_deadline)
        by_shard: dict[int, list[int]] = {}
        for at, item in enumerate(told):
            if isinstance(item, ExtendItem):
                by_shard.setdefault(self._broker.shards.of_job(item.id), []).append(at)
        await asyncio.gather(*(self._extend(shard, places, told, deadline) for shard, places in by_shard.items()))
        return [item for item in told if not isinstance(item, ExtendItem)]

    async def _extend(
        self, shard: int, places: Sequence[int], told: list[Told | ExtendItem], deadline: Deadline
    ) -> None:
        items = [item for item in (told[at] for at in places) if isinstance(item, ExtendItem)]
        held = [(item.id, item.token, to_ms(item.lease)) for item in items]
        now = datetime.now(UTC)
        try:
            words = await deadline.call(lambda: self._broker.leases.extend(shard, 0, held))
        except QueueyError as error:
            for at in places:
                told[at] = error
            return
        for at, item, word in zip(places, items, words, strict=True):
            if word == "lost":
                self._workers.ended(item.id)
                told[at] = LeaseOutcome(item.id, "lost")
            else:
                self._workers.extended(item.id, item.lease)
                if item.progress is not None:
                    self._progress.record(item.id, item.token, item.progress)
                told[at] = LeaseOutcome(item.id, _STATUSES[word], now + timedelta(seconds=item.lease))

    # --- what the items are about ---------------------------------------------------------------------------------

    async def _seen(self, items: Sequence[Item | QueueyError], visible: Visible) -> list[Item | QueueyError]:
        """Without those of queues that the caller may not work on. Only for a caller with such limits is it asked."""
        if visible is None:
            return list(items)
        stored = await self._look(items)
        return [_if_visible(item, stored, visible) for item in items]

    async def _look(self, items: Sequence[Item | QueueyError]) -> dict[str, StoredJob]:
        """What the store has of each job. Raises StoreUnavailable."""
        deadline = Deadline(self._request_deadline)
        by_shard: dict[int, dict[str, None]] = {}
        for item in items:
            if not isinstance(item, QueueyError):
                by_shard.setdefault(self._broker.shards.of_job(item.id), {})[item.id] = None
        stored: dict[str, StoredJob] = {}
        for shard, asked in by_shard.items():
            job_ids = list(asked)
            for first in range(0, len(job_ids), LOOK_AT_ONCE):
                some = job_ids[first : first + LOOK_AT_ONCE]
                found = await deadline.call(partial(self._broker.jobs.get, shard, some))
                stored.update(zip(some, found, strict=True))
        return stored

    def _failure(self, item: FailItem, stored: StoredJob) -> tuple[str, int]:
        """The error as it is stored, and the milliseconds until the next attempt."""
        state = parse_fields(stored.state)
        attempt = int(state.get("a", 0)) + 1
        error = item.error
        kind, message, detail = (
            ("error", error, None) if isinstance(error, str) else (error.kind, error.message, error.detail)
        )
        entry = error_entry(kind, message, detail, attempt=attempt, worker=state.get("w"))
        if item.retry_after is not None:
            return entry, to_ms(item.retry_after)
        return entry, retry.delay_ms(_backoff_of(stored) or self._backoff, attempt, self._random)

    # --- telling the store ----------------------------------------------------------------------------------------

    async def _tell_all(self, items: Sequence[Item | QueueyError], tell: Tell[Item]) -> list[Told]:
        """Through the batchers, in which they meet those of other requests."""
        told: list[Told | None] = [item if isinstance(item, QueueyError) else None for item in items]
        open_answers = told.count(None)
        done: asyncio.Future[None] = self._loop.create_future()

        def answer(at: int, job_id: str, word: str | None, error: Exception | None) -> None:
            nonlocal open_answers
            told[at] = self._outcome(job_id, word, error)
            open_answers -= 1
            if not open_answers and not done.done():
                done.set_result(None)

        shard_of = self._broker.shards.of_job
        for at, item in enumerate(items):
            if isinstance(item, QueueyError):
                continue
            answer_it = partial(answer, at, item.id)
            try:
                tell(shard_of(item.id), item, answer_it)
            except QueueyError as error:
                answer_it(None, error)
        if open_answers:
            await done
        return [outcome for outcome in told if outcome is not None]

    def _outcome(self, job_id: str, word: str | None, error: Exception | None) -> Told:
        if word is not None:
            self._workers.ended(job_id)
            self._metrics.pulled.add((_STATUSES[word],))
            return LeaseOutcome(job_id, _STATUSES[word])
        if isinstance(error, OutcomeUnknown):
            return OutcomeUnknown(error.message, [job_id])
        if isinstance(error, QueueyError):
            return error
        raise TypeError("an answer without a word and without an error") from error


def single(told: Told) -> LeaseOutcome:
    """The answer to a request about one job. Raises its error, LostLease when that is what became of it."""
    if isinstance(told, QueueyError):
        raise told
    if told.status == "lost":
        raise LostLease(LOST)
    return told


def raise_if_store_failed(told: Sequence[Told]) -> None:
    """Where the store was told of no job, the whole request is worth sending again: raises the store's error."""
    errors = [item for item in told if isinstance(item, StoreUnavailable | OutcomeUnknown)]
    if not errors or any(isinstance(item, LeaseOutcome) for item in told):
        return
    unknown = [job_id for error in errors if isinstance(error, OutcomeUnknown) for job_id in error.job_ids]
    raise OutcomeUnknown("The store did not answer in time.", unknown) if unknown else errors[0]


def _if_visible(item: Item | QueueyError, stored: dict[str, StoredJob], visible: Visible) -> Item | QueueyError:
    if isinstance(item, QueueyError) or visible is None:
        return item
    head = parse_fields(stored[item.id].definition)
    if not head or not visible(head.get("q", DEFAULT_QUEUE)):
        return unknown_job(item.id)
    return item


def _backoff_of(stored: StoredJob) -> Backoff | None:
    try:
        return parse_definition(stored.definition)[1].backoff if stored.definition else None
    except UNREADABLE:
        return None


def _kind(item: FailItem) -> str:
    return "error" if isinstance(item.error, str) else item.error.kind


def _pass_on(answer: Answer[str], future: asyncio.Future[str]) -> None:
    error = future.exception()
    answer(None if error else future.result(), error if isinstance(error, Exception) else None)
