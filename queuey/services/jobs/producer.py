"""Enqueuing new jobs. Each shard has one batcher, so that concurrent requests share a script call."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, Literal, cast

from queuey.errors import Full, KeyHeld, OutcomeUnknown, QueueyError, ScriptFailed, UpgradeInProgress
from queuey.lifecycle import Part
from queuey.metrics import Metrics
from queuey.protocol.models import EnqueueReply
from queuey.protocol.records import NewJob, NewJobs, singly
from queuey.protocol.schema_faults import too_many_queues
from queuey.protocol.stored.items import NewItem
from queuey.services.batches.adding import ItemAdder
from queuey.services.jobs.offers import Claimer, ShardOffers
from queuey.store.batching import Answer, Batcher
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import divide
from queuey.store.shards import Shards

Outcome = EnqueueReply | QueueyError
"""The reply or the error of `enqueue` for one job."""
Words = str | Sequence[str]
"""The script's answer for a NewJob, or for each job of a NewJobs."""
_REPLACED: Final[Mapping[str, Literal["payload", "follows"]]] = {"replaced": "payload", "follows": "follows"}
_Sent = asyncio.Future[Words] | QueueyError
AHEAD: Final = 16
"""Number of waiting jobs from which a second call begins, so that the store need not wait for it. Fewer gain more by
sharing a call."""


class Producer(Part):
    """Enqueues jobs. Make it inside the running loop.

    `resend_for`: seconds for which an unanswered call is sent again. `copies`: replicas of the store that must have a
    job before it counts as enqueued. While `full` is set, no new job is enqueued, but a request for a job that exists
    already is answered. `claimers`: what may claim the jobs in this process. An idle one makes an offer that goes with
    the enqueue, the first of them if there are several.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        metrics: Metrics,
        resend_for: float,
        copies: int = 0,
        claimers: Sequence[Claimer] = (),
    ) -> None:
        self._metrics = metrics
        self.full = False
        self.broker = broker
        """The Broker of calls that wait for replicas: the store answers nothing else on their connection meanwhile."""
        self.copies = copies
        self._shard_of = broker.shards.of_job
        self._offers = [ShardOffers(shard, claimers) for shard in range(broker.shards.count)]
        self._batchers: list[Batcher[NewJob | NewJobs, Words]] = [
            Batcher(partial(self._send, shard), resend_for=resend_for, ahead=AHEAD)
            for shard in range(broker.shards.count)
        ]
        self.items = ItemAdder(broker, metrics=metrics, resend_for=resend_for, copies=copies, is_full=lambda: self.full)

    @property
    def shards(self) -> Shards:
        """The shards of the store."""
        return self.broker.shards

    def set_full(self, full: bool) -> None:
        """Set whether the store has no room for new jobs."""
        self.full = full

    async def _send(self, shard: int, items: Sequence[NewJob | NewJobs]) -> Sequence[Words]:
        words = await self._enqueue(shard, items)
        answers = _by_item(items, words)
        if len({item.queue for item in items}) == 1:
            self._count(items[0].queue, words)
        else:
            for item, answer in zip(items, answers, strict=False):
                self._count(item.queue, (answer,) if isinstance(answer, str) else answer)
        return answers

    async def _enqueue(self, shard: int, items: Sequence[NewJob | NewJobs]) -> Sequence[str]:
        offers = self._offers[shard]
        offer = offers.next(items, new=not (self.full or self.copies or shard in self.broker.silent))
        try:
            words = await self.broker.jobs.enqueue(shard, items, full=self.full, copies=self.copies, offer=offer)
        except Exception as error:
            offers.failed(offer, error)
            raise
        offers.answered(offer)
        return words

    def _count(self, queue: str, words: Sequence[str]) -> None:
        new = words.count("new")
        if new:
            self._metrics.enqueued.add((queue,), new)
        if new < len(words):
            duplicates = sum(" " in word for word in words)
            if duplicates:
                self._metrics.deduplicated.add((queue,), duplicates)

    def count_fired(self, jobs: Sequence[NewJob]) -> None:
        """Count jobs that schedules have made: `enqueue` does not see them."""
        for job in jobs:
            self._metrics.enqueued.add((job.queue,))

    def _submit(self, job: NewJob) -> asyncio.Future[Words]:
        return self._batchers[self._shard_of(job.id)].submit(job, job.size)

    def tell(self, job: NewJob, answer: Answer[Words]) -> None:
        """Enqueue a job, and pass to `answer` what `outcome_of` takes. Raises StoreUnavailable if too many wait."""
        self._batchers[self._shard_of(job.id)].tell(job, job.size, answer)

    async def enqueue(self, job: NewJob | NewItem) -> EnqueueReply:
        """Return when the store has the job, or the item. Raises Full, Invalid, StoreUnavailable or OutcomeUnknown."""
        if isinstance(job, NewItem):
            return await self.items.add(job)
        try:
            answer = await self._submit(job)
        except OutcomeUnknown as error:
            raise _error(job.id, error) from None
        return _reply(job.id, _one(answer))

    async def enqueue_many(self, jobs: Sequence[NewJob]) -> list[Outcome]:
        """Return what `enqueue` would return or raise for each job, in order."""
        sent = self._singly(jobs)
        await _answered(sent)
        return [_outcome(job.id, each) for job, each in zip(jobs, sent, strict=True)]

    async def enqueue_groups(self, items: Sequence[NewJob | NewJobs]) -> list[list[Outcome] | None]:
        """Return for each item what `enqueue_many` would return for its jobs; None if all jobs of a group are new.

        A group, a NewJobs, is of one shard. The items of a shard are enqueued in the given order. If the script fails
        for a group, its jobs are sent again one by one, so that only the bad ones fail.
        """
        sent = [self._submit_group(item) if isinstance(item, NewJobs) else self._singly([item]) for item in items]
        await _answered(sent)
        failed = [place for place, each in enumerate(sent) if _script_failed(each)]
        for place in failed:
            sent[place] = self._singly(singly(items[place]))
        await _answered([sent[place] for place in failed])
        return [_outcomes(item, each) for item, each in zip(items, sent, strict=True)]

    def _submit_group(self, group: NewJobs) -> asyncio.Future[Words] | list[_Sent]:
        """Submit a group as one item, or its jobs one by one if not all of them may wait."""
        batcher, count = self._batchers[self._shard_of(group.ids[0])], len(group.ids)
        return batcher.submit(group, group.size, count) if batcher.room >= count else self._singly(singly(group))

    def _singly(self, jobs: Sequence[NewJob]) -> list[_Sent]:
        sent: list[_Sent] = []
        for job in jobs:
            try:
                sent.append(self._submit(job))
            except QueueyError as error:
                sent.append(error)
        return sent

    async def drain(self) -> None:
        """Return when every job has its answer."""
        for batcher in self._batchers:
            await batcher.drain()
        await self.items.drain()


def no_room() -> Full:
    """Return the error for a store that is above its memory limit for new jobs."""
    return Full("The store has no room for new jobs. Try again when some have finished.")


def outcome_of(job: NewJob, answer: Words | None, error: Exception | None) -> EnqueueReply:
    """Return or raise what `enqueue` does for this answer of the store, or for the error in its place."""
    if error is None:
        return _reply(job.id, cast(str, answer))
    raise _error(job.id, error) if isinstance(error, QueueyError) else error


def _by_item(items: Sequence[NewJob | NewJobs], words: Sequence[str]) -> Sequence[Words]:
    """Divide the answers for all jobs among the items. The batcher reports a wrong number of answers to single jobs."""
    if NewJobs not in map(type, items):
        return words
    divided = divide(words, [len(item.ids) if isinstance(item, NewJobs) else 1 for item in items])
    return [own if isinstance(item, NewJobs) else own[0] for item, own in zip(items, divided, strict=True)]


async def _answered(sent: Sequence[_Sent | list[_Sent]]) -> None:
    """Wait until all that was sent is answered."""
    flat = [each for some in sent for each in (some if isinstance(some, list) else (some,))]
    waiting = [each for each in flat if isinstance(each, asyncio.Future)]
    if waiting:
        await asyncio.wait(waiting)


def _script_failed(sent: asyncio.Future[Words] | list[_Sent]) -> bool:
    return isinstance(sent, asyncio.Future) and isinstance(sent.exception(), ScriptFailed)


def _outcomes(item: NewJob | NewJobs, sent: asyncio.Future[Words] | list[_Sent]) -> list[Outcome] | None:
    """Return the outcome of each job of an item, or None if it is a group whose jobs are all new."""
    ids = item.ids if isinstance(item, NewJobs) else (item.id,)
    if isinstance(sent, list):
        return [_outcome(job_id, each) for job_id, each in zip(ids, sent, strict=True)]
    try:
        words = sent.result()
    except QueueyError as error:
        return [_error(job_id, error) for job_id in ids]
    if words.count("new") == len(ids):
        return None
    return [_of_word(job_id, word) for job_id, word in zip(ids, words, strict=True)]


def _outcome(job_id: str, sent: _Sent) -> Outcome:
    try:
        return _of_word(job_id, _one(sent.result())) if isinstance(sent, asyncio.Future) else sent
    except QueueyError as error:
        return _error(job_id, error)


def _of_word(job_id: str, word: str) -> Outcome:
    try:
        return _reply(job_id, word)
    except QueueyError as error:
        return error


def _error(job_id: str, error: QueueyError) -> QueueyError:
    """Return the error for one job: an unknown outcome names it."""
    return OutcomeUnknown(error.message, [job_id], error.retry_after) if isinstance(error, OutcomeUnknown) else error


def _one(answer: Words) -> str:
    assert isinstance(answer, str), "a NewJob has one answer"
    return answer


def _reply(job_id: str, word: str) -> EnqueueReply:
    if word == "new":
        return EnqueueReply(job_id, False)
    kind, _, holder = word.partition(" ")
    if kind == "duplicate":
        return EnqueueReply(holder, True)
    if kind in _REPLACED:
        return EnqueueReply(holder, True, replaced=_REPLACED[kind])
    if kind == "full":
        raise no_room()
    if kind == "too_many_queues":
        raise too_many_queues()
    raise _not_unique(kind, holder)


def _not_unique(kind: str, holder: str) -> QueueyError:
    """Return the error for a unique job that was not enqueued."""
    if kind == "rejected":
        return KeyHeld(f"The job {holder} holds the unique key. Send the request again when it has ended.", [holder])
    if kind == "differs":
        return KeyHeld(
            f"The job {holder} holds the unique key, and cannot be replaced by this one: type, queue, priority and "
            "`until` must be the same. Use another key.",
            [holder],
        )
    return UpgradeInProgress(
        "Replicas of an older version, which do not know unique jobs, run beside this one or have run in the last "
        "minute. Send the request again after the upgrade."
    )
