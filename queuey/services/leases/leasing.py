"""Leases for pull workers: claims for requests over HTTP, which may wait for work, and take nothing along when they go.

A client that is gone gets no job: what had been claimed for it goes back to the head of its lane, and no attempt is
spent. What a claim brought whose reply was lost is asked for again and goes back too.
"""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b32encode
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from queuey import log
from queuey.errors import QueueyError, StoreUnavailable
from queuey.protocol import ids
from queuey.protocol.job_errors import error_entry
from queuey.protocol.models import LeasedJob, LeaseRequest
from queuey.protocol.records import UNREADABLE, job_fields, parse_definition
from queuey.services.leases.acks import Acks
from queuey.services.leases.long_polls import LongPolls, Poll
from queuey.services.leases.pull_workers import PullWorkers
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline
from queuey.store.replies import Claimed, ClaimedJob
from queuey.store.wakeups import SharedWaker

RECOVERY_PAUSE: Final = 1.0
"""Seconds between two questions after what a claim has brought that got no answer."""
CLOSE_SECONDS: Final = 2.0
MAX_RECOVERIES: Final = 1_000

Gone = asyncio.Future[None]
"""Done once the client is gone."""

logger = log.get(__name__)


class _Request(Poll):
    """A request for leases, from its first claim until its answer."""

    __slots__ = ("asked", "claim_id", "due", "everything", "mark", "replaced", "spent", "suspects", "worker")

    def __init__(self, asked: LeaseRequest, worker: str, mark: str, claim_id: str | None) -> None:
        super().__init__(asked.queues)
        self.everything = self.group
        self.asked = asked
        self.worker = worker
        self.mark = mark
        """The worker's, in the register."""
        self.claim_id = claim_id
        """Of the client's making, for the store; None: each claim has one of its own."""
        self.due: dict[int, int] = {}
        """By shard, in how many ms its next job was due when that was last looked at."""
        self.suspects = 1
        self.spent = False
        """What its claim id had brought before is over."""
        self.replaced = False
        """The same claim id has come again: what it brings is that request's."""


class Leasing:
    """Answers requests for leases. `returns` tells the store what nobody is there for any more.

    `wakers` are to be set once they are made, since they wake what waits here: `polls`.
    """

    def __init__(self, broker: Broker, returns: Acks, settings: Settings, workers: PullWorkers) -> None:
        self.polls = LongPolls()
        self.wakers: Sequence[SharedWaker] = ()
        self.workers = workers
        self._broker = broker
        self._returns = returns
        self._request_deadline = settings.request_deadline
        self._max_starve_ms = round(settings.max_starve * 1000)
        self._shards = list(range(broker.shards.count))
        self._turn = 0
        self._by_claim: dict[str, _Request] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    async def lease(self, asked: LeaseRequest, *, owner: str, worker: str, gone: Gone) -> list[LeasedJob]:
        """Jobs for `worker`, at once or within `asked.wait` seconds; none when there are none, or the client is gone.

        `owner`: the API key whose claim ids these are, and whose worker. Raises Full, StoreUnavailable.
        """
        claim_id = _claim_id(owner, asked.claim_id) if asked.claim_id is not None else None
        request = _Request(asked, worker, self.workers.seen(worker, owner, asked.queues), claim_id)
        if claim_id is None:
            return await self._lease(request, gone)
        before = self._by_claim.get(claim_id)
        if before is not None:
            before.replaced = True
            self.polls.leave(before)
            before.end()
        self._by_claim[claim_id] = request
        try:
            return await self._lease(request, gone)
        finally:
            if self._by_claim.get(claim_id) is request:
                del self._by_claim[claim_id]

    def drain(self) -> None:
        """Whoever waits gets no job, at once, and so does whoever comes."""
        self.polls.close()

    async def close(self) -> None:
        """Returns when what was under way for those who are gone is done, after some seconds at the latest."""
        if self._background:
            await asyncio.wait(self._background, timeout=CLOSE_SECONDS)

    # --- waiting --------------------------------------------------------------------------------------------------

    async def _lease(self, request: _Request, gone: Gone) -> list[LeasedJob]:
        until = self._loop.time() + request.asked.wait
        shards: Sequence[int] = self._in_turn()
        while shards and not gone.done() and not self.polls.closed:
            jobs = []
            if self.workers.is_quiet(request.mark):
                self._pass_on(request)
                request.group = ()
            else:
                request.group = request.everything
                jobs = await self._take(request, shards)
                if gone.done() and not request.replaced:
                    # another replica may have answered the same claim id meanwhile: it extends what it hands out
                    unextended = None if request.claim_id is None else round(request.asked.lease * 1000)
                    self._give_back([(job.id, job.token) for job in jobs], unextended)
                    return []
            if jobs or request.spent or request.replaced or self._loop.time() >= until:
                crashed = {job.id for job in jobs if job.crashes}
                held = [(job.id, job.queue) for job in jobs]
                self.workers.leased(request.mark, held, request.asked.lease, crashed)
                return jobs
            shards = await self._next(request, gone, until)
        return []

    async def _next(self, request: _Request, gone: Gone, until: float) -> Sequence[int]:
        """The shards that are worth a claim, once there are any; none when the waiting is over."""
        wakeup = self.polls.join(request)
        timer = self._loop.call_at(until, request.end)
        gone.add_done_callback(request.end)
        wake: Sequence[int] = ()
        try:
            for shard, in_ms in request.due.items():
                self.polls.due(request.group, shard, in_ms)
            for waker in self.wakers:
                await waker.cover(request.group)
            wake = await wakeup
            return wake
        finally:
            timer.cancel()
            gone.remove_done_callback(request.end)
            self.polls.leave(request)
            if not wake or gone.done() or self.polls.closed:  # a marker may come in the turn that ends the wait
                self._pass_on(request)

    def _pass_on(self, request: _Request) -> None:
        """The marker that woke it, which it makes no use of."""
        if request.marker is not None:
            self._spawn(self._hand_on(*request.marker))
            request.marker = None

    async def _hand_on(self, shard: int, queue: str) -> None:
        if not self.polls.wake(shard, queue) and self.wakers:
            await self.wakers[0].hand_on(shard, queue)

    # --- claiming -------------------------------------------------------------------------------------------------

    def _in_turn(self) -> Sequence[int]:
        if len(self._shards) == 1:
            return self._shards
        self._turn += 1
        first = self._turn % len(self._shards)
        return self._shards[first:] + self._shards[:first]

    async def _take(self, request: _Request, shards: Sequence[int]) -> list[LeasedJob]:
        """Claim from these shards until there is enough. An error counts only where nothing was claimed before."""
        jobs: list[LeasedJob] = []
        if request.claim_id is not None and len(self._shards) > 1:
            jobs = await self._brought_before(request)
        for shard in () if jobs else shards:
            try:
                jobs += await self._claim(request, shard, request.asked.max - len(jobs))
            except QueueyError as error:
                if not jobs:
                    raise
                logger.warning("claim_failed", error=str(error), shard=shard)
                break
            if len(jobs) >= request.asked.max:
                break
        return jobs

    async def _brought_before(self, request: _Request) -> list[LeasedJob]:
        """What a claim id has brought already, wherever: a claim for no job tells only that."""
        answers = await asyncio.gather(*(self._claim(request, shard, 0) for shard in self._shards))
        return [job for jobs in answers for job in jobs]

    async def _claim(self, request: _Request, shard: int, limit: int) -> list[LeasedJob]:
        claim_id = request.claim_id or ids.short_random()
        sent_at, began = datetime.now(UTC), self._loop.time()
        send = partial(self._send, request, shard, claim_id, limit)
        try:
            claimed: Claimed = await Deadline(self._request_deadline).call(send)
        except StoreUnavailable as error:
            if error.maybe_done and request.claim_id is None:
                self._recover(send, request.asked.lease)
            raise
        jobs = claimed.jobs
        repeated = claimed.more and claimed.due_in_ms == 0
        if request.claim_id is not None and repeated and limit and not jobs:
            request.spent = True
        if jobs and (
            (repeated and request.claim_id is not None) or self._loop.time() > began + request.asked.lease / 3
        ):
            sent_at = datetime.now(UTC)
            try:
                jobs = await self._still_held(shard, jobs, request.asked.lease)
            except QueueyError:
                if request.claim_id is None:  # nobody will ask for them again
                    self._give_back([(job.id, job.token) for job in jobs])
                raise
        request.due[shard] = claimed.due_in_ms
        if jobs:  # it will not wait for the next one itself
            self.polls.due(request.everything, shard, claimed.due_in_ms)
        leased, unreadable = _read(jobs, sent_at + timedelta(seconds=request.asked.lease))
        for job, why in unreadable:
            self._bury(shard, job, why)
        if any(job.crashes for job in jobs):
            request.suspects = 0
        return leased

    async def _send(self, request: _Request, shard: int, claim_id: str, limit: int) -> Claimed:
        queues = request.asked.queues
        if len(queues) > 1:
            self._turn += 1
            first = self._turn % len(queues)
            queues = [*queues[first:], *queues[:first]]
        return await self._broker.leases.claim(
            shard,
            claim_id=claim_id,
            worker=request.worker,
            lease_ms=round(request.asked.lease * 1000),
            limit=limit,
            queues=queues,
            max_starve_ms=self._max_starve_ms,
            suspects=0 if self.workers.holds_crashed(request.mark) else request.suspects,
        )

    async def _still_held(self, shard: int, jobs: list[ClaimedJob], lease: float) -> list[ClaimedJob]:
        """Those of an answer that came late, or again, whose leases stand; they count from now."""
        held = [(job.id, job.token) for job in jobs]
        send = partial(self._broker.leases.extend, shard, round(lease * 1000), held)
        statuses = await Deadline(self._request_deadline).call(send)
        return [job for job, status in zip(jobs, statuses, strict=True) if status != "lost"]

    # --- what nobody is there for ---------------------------------------------------------------------------------

    def _recover(self, send: Callable[[], Coroutine[Any, Any, Claimed]], lease: float) -> None:
        """A claim got no answer, and nobody will ask for it again: ask, and give back what it brought."""
        if len(self._background) < MAX_RECOVERIES:
            self._spawn(self._ask_again(send, self._loop.time() + lease))

    async def _ask_again(self, send: Callable[[], Coroutine[Any, Any, Claimed]], until: float) -> None:
        while self._loop.time() < until and not self.polls.closed:
            try:
                claimed = await send()
            except QueueyError:
                await asyncio.sleep(RECOVERY_PAUSE)
            else:
                await self._release([(job.id, job.token) for job in claimed.jobs])
                return

    def _give_back(self, held: Sequence[tuple[str, str]], unextended: int | None = None) -> None:
        if held:
            self._spawn(self._release(held, unextended))

    async def _release(self, held: Sequence[tuple[str, str]], unextended: int | None = None) -> None:
        """The last first: that one stood last in its lane, and does so again."""
        shard_of = self._broker.shards.of_job
        try:
            answers = [
                self._returns.release(shard_of(job_id), job_id, token, unextended) for job_id, token in reversed(held)
            ]
            await asyncio.gather(*answers)
        except QueueyError as error:
            logger.error("not_released", jobs=len(held), error=str(error))

    def _bury(self, shard: int, job: ClaimedJob, why: str) -> None:
        entry = error_entry("payload", why, None, attempt=job.attempt, worker=None)
        self._returns.fail(shard, job.id, job.token, entry, 0, True, partial(_buried, job.id))

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _buried(job_id: str, status: str | None, error: Exception | None) -> None:
    if error is not None:
        logger.error("outcome_not_stored", job_id=job_id, error=str(error))
    else:
        logger.warning("job_unreadable", job_id=job_id, status=status)


def _claim_id(owner: str, given: str) -> str:
    """A client's claim id for the store: nobody gets another's jobs by guessing theirs."""
    digest = hashlib.blake2b(f"{owner}\0{given}".encode(), digest_size=10).digest()
    return b32encode(digest).decode()


def _read(jobs: Iterable[ClaimedJob], expires_at: datetime) -> tuple[list[LeasedJob], list[tuple[ClaimedJob, str]]]:
    """As they go out; and those that cannot be read, with what to report of them."""
    leased, unreadable = [], []
    for job in jobs:
        try:
            head, definition = parse_definition(job.definition)
        except UNREADABLE as error:
            text = f"the stored job cannot be read: {error}"
            unreadable.append((job, text))
            continue
        leased.append(
            LeasedJob(
                **job_fields(head, definition),
                id=job.id,
                token=job.token,
                attempt=job.attempt,
                crashes=job.crashes,
                lease_expires_at=expires_at,
            )
        )
    return leased, unreadable
