"""Leases for pull workers: claims for requests over HTTP, which may wait for work.

A client that has disconnected gets no job: jobs that were claimed for it are released to the head of their lane, and no
attempt is spent. If the reply to a claim was lost, the claim is repeated, and its jobs are released too.
"""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b32encode
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from msgspec import UNSET, Raw

from queuey import log
from queuey.errors import QueueyError, StoreUnavailable
from queuey.protocol import ids
from queuey.protocol.models import LeasedJob, LeaseRequest
from queuey.protocol.records import SUSPECT, UNREADABLE, decode_definition
from queuey.protocol.renewal import renewal_of
from queuey.protocol.stored.heads import queue_and_attempts
from queuey.services.leases.acks import Acks
from queuey.services.leases.claiming import ClaimingRequest
from queuey.services.leases.claims import Claims
from queuey.services.leases.long_polls import LongPolls
from queuey.services.leases.pull_workers import PullWorkers, alone_seconds
from queuey.services.leases.pull_workers import worker_key as worker_key_of
from queuey.services.leases.returns import Returns
from queuey.store.asides import ELSEWHERE
from queuey.store.broker.broker import Broker
from queuey.store.deadline import Deadline
from queuey.store.replies import Claimed, ClaimedJob
from queuey.store.wakeups import REST_SECONDS, SharedWaker

Disconnected = asyncio.Future[None]
"""Done once the client has disconnected."""

logger = log.get(__name__)


class Leasing:
    """Answers requests for leases. `returns` releases the jobs of clients that have disconnected.

    `polls` are the requests that wait here; `wakers` wake them. `request_deadline` and `max_starve` are in seconds.
    """

    def __init__(
        self,
        broker: Broker,
        returns: Acks,
        workers: PullWorkers,
        *,
        polls: LongPolls,
        wakers: Sequence[SharedWaker],
        request_deadline: float,
        max_starve: float,
    ) -> None:
        self.polls = polls
        self._wakers = wakers
        self.workers = workers
        self._broker = broker
        self._returns = Returns(returns, broker.shards.of_job)
        self._request_deadline = request_deadline
        self._claims = Claims(broker, polls, max_starve_ms=round(max_starve * 1000), on_new=self._learn)
        self._shards = list(range(broker.shards.count))
        self._turn = 0
        self._by_claim: dict[str, ClaimingRequest] = {}
        self._loop = asyncio.get_running_loop()

    async def lease(
        self, asked: LeaseRequest, *, owner: str, worker: str, disconnected: Disconnected
    ) -> list[LeasedJob]:
        """Lease jobs to `worker`, waiting up to `asked.wait` seconds for the first. The list may be empty.

        `owner`: the API key that the claim ids and the worker belong to. Raises Full, StoreUnavailable.
        """
        claim_id = _claim_id(owner, asked.claim_id) if asked.claim_id is not None else None
        worker_key = worker_key_of(worker, owner)
        request = ClaimingRequest(asked, worker, worker_key, claim_id, self._may_offer)
        types = request.terms.named if request.terms else None
        self.workers.seen(worker, owner, asked.queues, types, asked.app or "", asked.type_queues)
        if claim_id is None:
            return await self._lease(request, disconnected)
        before = self._by_claim.get(claim_id)
        if before is not None:
            before.replaced = True
            self.polls.leave(before)
            before.end()
        self._by_claim[claim_id] = request
        jobs = None
        try:
            jobs = await self._lease(request, disconnected)
            return jobs
        finally:
            latest = self._by_claim.get(claim_id)
            if latest is request:
                del self._by_claim[claim_id]
            elif latest is not None and jobs != []:
                self._bequeath(latest)

    def drain(self) -> None:
        """End all waiting. Requests that wait, and later ones, get no job."""
        self.polls.close()
        self._returns.close()

    async def close(self) -> None:
        """Wait a moment until the jobs of disconnected clients are released."""
        await self._returns.settle()

    # --- waiting --------------------------------------------------------------------------------------------------

    async def _lease(self, request: ClaimingRequest, disconnected: Disconnected) -> list[LeasedJob]:
        until = self._loop.time() + request.asked.wait
        shards: Sequence[int] = self._in_turn()
        while shards and (request.offered or not (disconnected.done() or self.polls.closed)):
            jobs = []
            if not request.offered and self.workers.is_quiet(request.worker_key):
                self._pass_on(request)
                request.group = ()
            else:
                request.group = request.everything
                jobs = await self._take(request, shards)
                request.group = () if request.rests else request.everything
                if disconnected.done() and not request.replaced:
                    self._returns.give_back([(job.id, job.token) for job in jobs], request)
                    return []
            if jobs or request.spent or request.replaced or self._loop.time() >= until:
                is_alone = request.isolates is None
                crashed = {job.id: alone_seconds(job.crashes) * is_alone for job in jobs if job.crashes}
                held = [(job.id, job.queue) for job in jobs]
                self.workers.leased(request.worker_key, held, request.asked.lease, crashed)
                return jobs
            if not request.inherits:
                shards = await self._next(request, disconnected, until)
            if request.inherits:
                request.inherits, shards = False, self._in_turn()
        return []

    async def _next(self, request: ClaimingRequest, disconnected: Disconnected, until: float) -> Sequence[int]:
        """Wait, and return the shards to claim from; none when the waiting is over."""
        wakeup = self.polls.join(request)
        timer = self._loop.call_at(until, request.end)
        rest = self._loop.call_later(REST_SECONDS, request.wake, self._shards) if request.rests else None
        disconnected.add_done_callback(request.end)
        wake: Sequence[int] = ()
        try:
            for shard, in_ms in request.due.items():
                self.polls.due(request.group, shard, in_ms)
            asides = self.polls.asides_of(request, self._shards)
            if len(self._wakers) == 1:
                await self._wakers[0].cover(request.group, asides)
            else:  # one of them may be for a shard that does not answer
                for waker in self._wakers:
                    self._returns.spawn(waker.cover(request.group, asides))
            wake = await wakeup
            return wake
        finally:
            timer.cancel()
            if rest is not None:
                rest.cancel()
            disconnected.remove_done_callback(request.end)
            self.polls.leave(request)
            # A marker may come at the moment that ends the wait.
            if not wake or disconnected.done() or self.polls.closed:
                self._pass_on(request)

    def _bequeath(self, request: ClaimingRequest) -> None:
        """Have a request claim, since the one that it has replaced may have got jobs. It waits, or is claiming now.

        If it has an offer out, it claims when that is settled.
        """
        request.inherits = True
        if request.offered is None:
            self.polls.leave(request)
            request.wake(self._shards)

    def _pass_on(self, request: ClaimingRequest) -> None:
        """Give the marker that woke this request to another request, since this one does not claim."""
        if request.marker is not None:
            self._returns.spawn(self._hand_on(*request.marker))
            request.marker = None

    async def _hand_on(self, shard: int, queue: str, type: str) -> None:
        if not self.polls.wake(shard, queue, type) and self._wakers:
            await self._wakers[0].hand_on(shard, queue, type)

    # --- lists set aside ------------------------------------------------------------------------------------------

    def heard(self, message: str) -> None:
        """Take a message that names the lists set aside of a queue, since there is a new one."""
        shard, new = self.polls.known.hear(message)
        if shard in self._shards:
            self._learn(shard, new)

    def _learn(self, shard: int, new: Sequence[tuple[str, str]]) -> None:
        """Have requests claim from new lists set aside, and wait for the markers of these."""
        if new and self.polls.learned(shard, new) and self._returns.has_room:
            self._returns.spawn(self._cover(new, shard))

    async def _cover(self, new: Sequence[tuple[str, str]], shard: int) -> None:
        places = [(shard, queue, name) for queue, name in new]
        await asyncio.gather(*(waker.cover((), places) for waker in self._wakers))

    # --- claiming -------------------------------------------------------------------------------------------------

    def _in_turn(self) -> Sequence[int]:
        if len(self._shards) == 1:
            return self._shards
        self._turn += 1
        first = self._turn % len(self._shards)
        return self._shards[first:] + self._shards[:first]

    async def _take(self, request: ClaimingRequest, shards: Sequence[int]) -> list[LeasedJob]:
        """Claim from these shards until there are enough jobs.

        Raises the error of a claim only if there is no job, and if no other shard can have one.
        """
        jobs: list[LeasedJob] = []
        if request.claim_id is not None and len(self._shards) > 1:
            jobs = await self._claimed_before(request)
        for shard in () if jobs else self._beside_alone(request, self._answering(request, shards)):
            try:
                jobs += await self._claim(request, shard, request.asked.max - len(jobs), [job.type for job in jobs])
            except QueueyError as error:
                if not jobs and (not isinstance(error, StoreUnavailable) or self._is_silent()):
                    raise
                logger.warning("claim_failed", error=str(error), shard=shard)
                if jobs:
                    break
                continue
            if len(jobs) >= request.asked.max or (request.isolates is None and any(map(_is_suspect, jobs))):
                break
        return jobs

    async def _claimed_before(self, request: ClaimingRequest) -> list[LeasedJob]:
        """Return the jobs that a claim id has claimed before on any shard. The limit 0 claims no new ones."""
        answers = await self._broker.on_answering(lambda shard: self._claim(request, shard, 0))
        return [job for jobs in answers.values() for job in jobs]

    def _is_silent(self) -> bool:
        """Return whether no shard answers."""
        return len(self._broker.silent) == len(self._shards)

    def _answering(self, request: ClaimingRequest, shards: Sequence[int]) -> Sequence[int]:
        """Return the shards to claim from, without those that were silent, while there are others."""
        silent = self._broker.silent
        if request.offered is not None or not silent or self._is_silent():
            return shards  # the offer may have been taken, so the claim must be made
        return [shard for shard in shards if shard not in silent]

    async def _claim(
        self, request: ClaimingRequest, shard: int, limit: int, taken: Sequence[str] = ()
    ) -> list[LeasedJob]:
        offer, request.offered = request.offered, None
        claim_id = offer.claim_id if offer else request.claim_id or ids.short_random()
        sent_at, began = (offer and request.offered_at) or (datetime.now(UTC), self._loop.time())
        suspects = 0 if self.workers.holds_crashed(request.worker_key) else request.suspects
        isolates = self._isolates(request, shard)
        send = partial(
            self._claims.send, request, shard, claim_id, limit, suspects=suspects, isolates=isolates, taken=taken
        )
        claimed = (offer and offer.claimed) or await self._ask(request, send, limit, doubtful=offer is not None)
        jobs = claimed.jobs
        if request.claim_id is not None and claimed.repeated and limit and not jobs:
            request.spent = True
        if jobs and (
            (claimed.repeated and (request.claim_id is not None or offer is not None))
            or self._loop.time() > began + renewal_of(request.asked.lease)
        ):
            sent_at = datetime.now(UTC)
            try:
                jobs = await self._still_held(shard, jobs, request.asked.lease)
            except QueueyError:
                if request.claim_id is None:  # the client cannot ask for them again
                    self._returns.give_back([(job.id, job.token) for job in jobs])
                raise
        request.due[shard], request.rests = claimed.due_in_ms, claimed.rests
        if jobs:  # this request does not wait for the next job
            self.polls.due(request.everything, shard, claimed.due_in_ms)
        leased, unreadable = _read(jobs, sent_at + timedelta(seconds=request.asked.lease))
        for job, why in unreadable:
            self._returns.dead_letter(shard, job, why)
        if any(job.crashes for job in jobs):
            request.suspects = 0
        if request.isolates is not None:
            request.isolates = max(0, request.isolates - sum(map(_is_suspect, jobs)))
        return leased

    def _isolates(self, request: ClaimingRequest, shard: int) -> int | None:
        """Return the value for a claim. The jobs that a worker holds on other shards only this replica can know."""
        if request.isolates is None and len(self._shards) > 1:
            shard_of = self._broker.shards.of_job
            if any(shard_of(job_id) != shard for job_id in self.workers.held_by(request.worker_key)):
                return ELSEWHERE
        return request.isolates

    def _beside_alone(self, request: ClaimingRequest, shards: Sequence[int]) -> Sequence[int]:
        """Return the shards to claim from: while the worker runs a suspect by itself, only that of the suspect."""
        job_id = self.workers.runs_alone(request.worker_key) if len(self._shards) > 1 else None
        return shards if job_id is None else [shard for shard in shards if shard == self._broker.shards.of_job(job_id)]

    async def _ask(
        self, request: ClaimingRequest, send: Callable[[], Coroutine[Any, Any, Claimed]], limit: int, *, doubtful: bool
    ) -> Claimed:
        """Send a claim. `doubtful`: it may have been made already, by an enqueue without a reply.

        A client with a claim id asks again after an error. With other shards it may get an answer without these jobs.
        """
        try:
            return await Deadline(self._request_deadline).call(send)
        except StoreUnavailable as error:
            if (error.maybe_done or doubtful) and (request.claim_id is None or (limit and len(self._shards) > 1)):
                self._returns.recover(send, request)
            raise

    def _may_offer(self, request: ClaimingRequest) -> bool:
        """Return whether it may make an offer: it is not quiet, and its claim id has no jobs on other shards."""
        return not self.workers.is_quiet(request.worker_key) and (request.claim_id is None or len(self._shards) == 1)

    async def _still_held(self, shard: int, jobs: list[ClaimedJob], lease: float) -> list[ClaimedJob]:
        """Return the jobs of a late or repeated reply that are still leased. Their leases are extended from now."""
        held = [(job.id, job.token) for job in jobs]
        send = partial(self._broker.leases.extend, shard, round(lease * 1000), held)
        statuses = await Deadline(self._request_deadline).call(send)
        return [job for job, status in zip(jobs, statuses, strict=True) if status != "lost"]


def _is_suspect(job: ClaimedJob | LeasedJob) -> bool:
    return job.crashes >= SUSPECT


def _claim_id(owner: str, given: str) -> str:
    """Return the store's claim id for a client's. It depends on the owner, so guessing an id gets no jobs of others."""
    digest = hashlib.blake2b(f"{owner}\0{given}".encode(), digest_size=10).digest()
    return b32encode(digest).decode()


def _read(jobs: Iterable[ClaimedJob], expires_at: datetime) -> tuple[list[LeasedJob], list[tuple[ClaimedJob, str]]]:
    """Return the jobs for the reply, and those that cannot be read, each with the error to report."""
    leased, unreadable = [], []
    for job in jobs:
        head, _, body = job.definition.partition("\n")
        try:
            definition = decode_definition(body)
        except UNREADABLE as error:
            text = f"the stored job cannot be read: {error}"
            unreadable.append((job, text))
            continue
        leased.append(
            LeasedJob(  # without names, which take as long as the rest
                job.id,
                job.token,
                definition.type,
                definition.payload,
                job.attempt,
                expires_at,
                *queue_and_attempts(head),
                definition.timeout,
                job.crashes,
                definition.traceparent,
                definition.tags,
                definition.metadata,
                definition.batch_key,
                Raw(job.checkpoint.encode()) if job.checkpoint else UNSET,
            )
        )
    return leased, unreadable
