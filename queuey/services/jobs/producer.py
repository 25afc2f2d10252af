"""Enqueuing new jobs. Each shard has one batcher, so that concurrent requests share a script call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import cast

from queuey.errors import Full, OutcomeUnknown, QueueyError
from queuey.lifecycle import Part
from queuey.metrics import Metrics
from queuey.protocol.models import EnqueueReply
from queuey.protocol.records import NewJob
from queuey.protocol.schema_faults import too_many_queues
from queuey.services.jobs.offers import Claimer, ShardOffers
from queuey.store.batching import Answer, Batcher
from queuey.store.broker.broker import Broker


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
        self._broker = broker
        self._copies = copies
        self._shard_of = broker.shards.of_job
        self._offers = [ShardOffers(shard, claimers) for shard in range(broker.shards.count)]
        self._batchers: list[Batcher[NewJob, str]] = [
            Batcher(partial(self._send, shard), resend_for=resend_for) for shard in range(broker.shards.count)
        ]

    def set_full(self, full: bool) -> None:
        """Set whether the store has no room for new jobs."""
        self.full = full

    async def _send(self, shard: int, jobs: Sequence[NewJob]) -> Sequence[str]:
        words = await self._enqueue(shard, jobs)
        for job, word in zip(jobs, words, strict=False):  # the batcher reports a wrong count
            if word == "new":
                self._metrics.enqueued.add((job.queue,))
            elif word.startswith("duplicate"):
                self._metrics.deduplicated.add((job.queue,))
        return words

    async def _enqueue(self, shard: int, jobs: Sequence[NewJob]) -> Sequence[str]:
        offers = self._offers[shard]
        offer = offers.next(jobs, new=not self.full and not self._copies)
        try:
            words = await self._broker.jobs.enqueue(shard, jobs, full=self.full, copies=self._copies, offer=offer)
        except Exception as error:
            offers.failed(error)
            raise
        offers.answered()
        return words

    def _submit(self, job: NewJob) -> asyncio.Future[str]:
        return self._batchers[self._shard_of(job.id)].submit(job, job.size)

    def tell(self, job: NewJob, answer: Answer[str]) -> None:
        """Enqueue a job, and pass to `answer` what `outcome_of` takes. Raises StoreUnavailable if too many wait."""
        self._batchers[self._shard_of(job.id)].tell(job, job.size, answer)

    async def enqueue(self, job: NewJob) -> EnqueueReply:
        """Return when the store has the job. Raises Full, Invalid, StoreUnavailable or OutcomeUnknown."""
        try:
            answer = await self._submit(job)
        except OutcomeUnknown as error:
            raise _with_id(error, job) from None
        return outcome_of(job, answer, None)

    async def enqueue_many(self, jobs: Sequence[NewJob]) -> list[EnqueueReply | QueueyError]:
        """Return what `enqueue` would return or raise for each job, in order."""
        outcomes: list[EnqueueReply | QueueyError | asyncio.Future[str]] = []
        for job in jobs:
            try:
                outcomes.append(self._submit(job))
            except QueueyError as error:
                outcomes.append(error)
        waiting = [outcome for outcome in outcomes if isinstance(outcome, asyncio.Future)]
        if waiting:
            await asyncio.wait(waiting)
        return [_settled(job, outcome) for job, outcome in zip(jobs, outcomes, strict=True)]

    async def drain(self) -> None:
        """Return when every job has its answer."""
        for batcher in self._batchers:
            await batcher.drain()


def no_room() -> Full:
    """Return the error for a store that is above its memory limit for new jobs."""
    return Full("The store has no room for new jobs. Try again when some have finished.")


def outcome_of(job: NewJob, answer: str | None, error: Exception | None) -> EnqueueReply:
    """Return or raise what `enqueue` does for this answer of the store, or for the error in its place."""
    if error is None:
        return _reply(job, cast(str, answer))
    raise _with_id(error, job) if isinstance(error, OutcomeUnknown) else error


def _settled(job: NewJob, outcome: EnqueueReply | QueueyError | asyncio.Future[str]) -> EnqueueReply | QueueyError:
    if not isinstance(outcome, asyncio.Future):
        return outcome
    try:
        return _reply(job, outcome.result())
    except OutcomeUnknown as error:
        return _with_id(error, job)
    except QueueyError as error:
        return error


def _with_id(error: OutcomeUnknown, job: NewJob) -> OutcomeUnknown:
    return OutcomeUnknown(error.message, [job.id], error.retry_after)


def _reply(job: NewJob, answer: str) -> EnqueueReply:
    if answer == "new":
        return EnqueueReply(job.id, False)
    word, _, holder = answer.partition(" ")
    if word == "duplicate":
        return EnqueueReply(holder, True)
    if word == "full":
        raise no_room()
    raise too_many_queues()
