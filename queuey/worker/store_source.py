"""The store as a worker's source of jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from functools import partial
from typing import Final, cast

from queuey import log
from queuey.errors import QueueyError, StoreUnavailable
from queuey.lifecycle import Retrying
from queuey.metrics import Metrics
from queuey.protocol import ids
from queuey.protocol.models import ProgressReport
from queuey.protocol.records import UNREADABLE, names_of, type_of
from queuey.protocol.renewal import renewal_of
from queuey.services.leases.acks import Acks
from queuey.services.reports.job_logs import LogRecorder
from queuey.services.reports.progress import ProgressRecorder
from queuey.store.asides import ANY, MAX_ROOM_TYPES, SUSPECTS, KnownAsides, Room, Wanted
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import MAX_BATCH
from queuey.store.broker.leases import Failure
from queuey.store.offers import Offer
from queuey.store.replies import Claimed, ClaimedJob
from queuey.worker.handlers.attempt import LOST, Failed, Keeping, Outcome, Succeeded, Work, error_json
from queuey.worker.handlers.job_lines import JobLines
from queuey.worker.held_job import HeldJob, read
from queuey.worker.hooks.event_log import attempt_log
from queuey.worker.hooks.events import Events
from queuey.worker.settings import WorkerSettings
from queuey.worker.source import Claim, ClaimRequest, Confirmed, Offered

RETRY_FIRST: Final = 0.1
RETRY_CAP: Final = 2.0
ANSWER_AFTER: Final = 3
"""Passes of the event loop from the reply to outcomes until they are counted. The reply to the claim comes with it. In
the first pass the worker makes its next claim, and in the second the connection writes it."""
PLAIN_ROOM: Final = 32
"""Jobs for which a claim need not name any type: so many can begin, whatever executor they need."""
ANY_SECONDS: Final = 1.8
"""Seconds between two looks at a list with jobs of any type. It is less than a round of the waker."""

Named = Sequence[tuple[str, str]]
"""Queues and types of lists set aside."""

logger = log.get(__name__)


class StoreSource:
    """Claims from the store through a Broker, and reports through Acks.

    A claim asks for at most half of the slots. While this process runs one half, the store serves the other half, and
    the outcomes of one half are sent together with the next claim.
    """

    gives_back_unconfirmed = False
    is_reporting = True
    sets_aside = True

    def __init__(
        self,
        broker: Broker,
        acks: Acks,
        progress: ProgressRecorder,
        logs: LogRecorder,
        settings: WorkerSettings,
        *,
        metrics: Metrics,
        events: Events | None = None,
    ) -> None:
        self.lease = settings.lease
        self.shards = broker.shards.count
        self._broker = broker
        self._acks = acks
        self._progress = progress
        self._logs = logs
        self._report = self._pass_on  # made once, since each attempt has it
        self._loop = asyncio.get_running_loop()
        self._metrics = metrics
        self._log = attempt_log(events, settings.log_errors, settings.log_jobs)
        self._worker = settings.name
        self._queues = list(settings.queues)
        self._lease_ms = round(settings.lease * 1000)
        self._max_starve_ms = round(settings.max_starve * 1000)
        self.asides = KnownAsides()
        self.ignores_room = False
        self._looked_at: dict[int, float] = {}
        """For each shard: the time.monotonic() of the last look at the lists with jobs of any type."""
        self._was_limited: set[int] = set()
        """The shards that have jobs of other queues, while those with little room have limited the last claim."""
        self._turns = [0] * self.shards
        """For each shard: the number of claims. Queues take turns in them."""
        self._stopping = False

    # --- claims ---------------------------------------------------------------------------------------------------

    async def claim(self, shard: int, request: ClaimRequest) -> Claim[ClaimedJob]:
        """Claim once. The claim is repeated with its id until it is answered.

        A claim whose answer cannot be read is not repeated: its leases expire, and the next claim brings other jobs.
        """
        request, is_for_all = self._in_two(shard, request)
        claim_id, asked_at = ids.short_random(), time.monotonic()
        offered = request.offered
        if offered is not None:
            claim_id, asked_at = offered.offer.claim_id, offered.made_at
        retries = Retrying(RETRY_FIRST, RETRY_CAP)
        while offered is not None or not self._stopping:
            try:
                with self._acks.corked(shard):
                    claimed, named = await self._ask(shard, claim_id, request)
                jobs = claimed.jobs
                if jobs and self._is_late(asked_at):
                    jobs = await self._still_ours(shard, jobs)
            except (QueueyError, *UNREADABLE) as error:
                logger.warning("claim_failed", error=str(error), shard=shard)
                await retries.wait()
                offered = None  # asked for once, even while stopping
                if time.monotonic() > asked_at + self.lease or not isinstance(error, StoreUnavailable):
                    claim_id, asked_at = ids.short_random(), time.monotonic()
                continue
            if claimed.more and request.roomy is not None and self._any_of(request.roomy, jobs):
                self._was_limited.add(shard)
            return self._claim_of(claimed, jobs, named, more=claimed.more or not is_for_all)
        return Claim()

    def _in_two(self, shard: int, request: ClaimRequest) -> tuple[ClaimRequest, bool]:
        """Return the request to send, and whether it is for all queues. After a claim that queues with little room have
        limited to a few jobs, one for the others follows, if it has brought some of theirs and more are left."""
        if shard in self._was_limited:
            self._was_limited.discard(shard)
            if request.roomy is not None:
                return request.roomy, False
        self._turns[shard] += 1
        return request, True

    def _any_of(self, request: ClaimRequest, jobs: Sequence[ClaimedJob]) -> bool:
        return any(self.queue_of(job) in (request.queues or self._queues) for job in jobs)

    def _is_late(self, asked_at: float) -> bool:
        """Return whether the next renewal of jobs that were asked for at this time may come too late."""
        return time.monotonic() > asked_at + renewal_of(self.lease)

    def room_grew(self) -> None:
        """Do nothing: a claim does not wait for jobs."""

    def offer(self, request: ClaimRequest, room: int) -> Offered:
        """Offer what a claim would ask for, up to `room` jobs."""
        offer = Offer(
            claim_id=ids.short_random(),
            worker=self._worker,
            lease_ms=self._lease_ms,
            limit=min(_limit(request), room),
            queues=request.queues or self._queues,
        )
        return Offered(offer, time.monotonic())

    def taken(self, offered: Offered) -> Claim[ClaimedJob] | None:
        claimed = offered.offer.claimed
        if claimed is None or self._is_late(offered.made_at):
            return None
        return self._claim_of(claimed, claimed.jobs, (), more=claimed.more)

    def _claim_of(self, claimed: Claimed, jobs: list[ClaimedJob], named: Named, *, more: bool) -> Claim[ClaimedJob]:
        self._metrics.claimed.add((), len(jobs))
        return Claim(jobs=jobs, more=more, due_in_ms=claimed.due_in_ms, rests=claimed.rests, named=named)

    async def _ask(self, shard: int, claim_id: str, request: ClaimRequest) -> tuple[Claimed, Named]:
        """Claim, and return also the lists that the reply has named first. If a plain claim must name types, do so."""
        queues = request.queues or self._queues
        limit, wanted = self._terms(shard, request)
        claimed = await self._send(shard, claim_id, request, limit, wanted)
        if wanted is None and claimed.asides:
            self.asides.tell(shard, queues, claimed.asides)
            limit, wanted = self._terms(shard, request)
            wanted = wanted or Wanted()  # the names may be of queues without lists, if it runs a suspect alone
            claimed = await self._send(shard, claim_id, request, limit, wanted)
        if wanted is None or claimed.repeated:
            return claimed, ()
        return claimed, self.asides.tell(shard, queues, claimed.asides)

    async def _send(
        self, shard: int, claim_id: str, request: ClaimRequest, limit: int, wanted: Wanted | None
    ) -> Claimed:
        return await self._broker.leases.claim(
            shard,
            claim_id=claim_id,
            worker=self._worker,
            lease_ms=self._lease_ms,
            limit=limit,
            queues=self._in_turn(shard, request.queues or self._queues),
            max_starve_ms=self._max_starve_ms,
            suspects=0 if request.holds_suspect else 1,
            isolates=request.isolates,
            wanted=wanted,
        )

    def _terms(self, shard: int, request: ClaimRequest) -> tuple[int, Wanted | None]:
        """Return the most jobs that a claim may bring, and what else limits it; None if nothing does.

        An executor with less room limits all of a claim if that costs little, or if there are too many types to name.
        """
        limit, rooms = _limit(request), request.room
        can_name = sum(len(room.types) for room in rooms) <= MAX_ROOM_TYPES
        self.ignores_room = not can_name
        least = min((room.jobs for room in rooms), default=limit)
        if least >= PLAIN_ROOM or not can_name:
            limit = min(limit, least)
        has_lists = any(self.asides.lists(shard, queue) for queue in request.queues or self._queues)
        if least >= limit and not (request.unknown or request.woken or has_lists):
            return limit, None
        if not can_name:
            rooms = [Room(0, list(request.unknown)[-MAX_ROOM_TYPES:])] if request.unknown else ()
        elif not request.unknown:
            rooms = [room for room in rooms if room.jobs < limit]
        others = not (request.unknown and can_name)
        return limit, Wanted(room=rooms, others=others, take=self._take(shard, request), woken=list(request.woken))

    def _take(self, shard: int, request: ClaimRequest) -> dict[str, list[tuple[str, str]]]:
        """Return the lists to claim from: of types with room. Those with any type are looked at once in ANY_SECONDS."""
        now = time.monotonic()
        full = {type for room in request.room if room.jobs < 1 for type in room.types}
        looks = now - self._looked_at.get(shard, -ANY_SECONDS) >= ANY_SECONDS
        taken = {}
        for queue in request.queues or self._queues:
            lists = self.asides.lists(shard, queue)
            if any(type == ANY for _, type in lists) and looks:
                self._looked_at[shard] = now
            if lists:
                taken[queue] = [each for each in lists if self._takes(each[1], request, looks, full)]
        return taken

    @staticmethod
    def _takes(type: str, request: ClaimRequest, looks: bool, full: Collection[str]) -> bool:
        if type == SUSPECTS:
            return (request.isolates or 0) > 0
        return looks if type == ANY else type not in full and request.knows(type)

    def _in_turn(self, shard: int, queues: Sequence[str]) -> list[str]:
        first = self._turns[shard] % len(queues)
        return [*queues[first:], *queues[:first]]

    async def _still_ours(self, shard: int, jobs: list[ClaimedJob]) -> list[ClaimedJob]:
        """Renew the leases of a late answer, since the next renewal would be too late. Return the jobs still leased."""
        statuses = await self._broker.leases.extend(shard, self._lease_ms, [(job.id, job.token) for job in jobs])
        return [job for job, status in zip(jobs, statuses, strict=True) if status != "lost"]

    def stop_claiming(self) -> None:
        self._stopping = True

    async def return_unseen(self) -> None:
        """Do nothing, since a drain waits for the answer to the claim."""

    def type_of(self, job: ClaimedJob) -> str:
        return type_of(job.definition)

    def queue_of(self, job: ClaimedJob) -> str:
        return names_of(job.definition)[1]

    def read(self, job: ClaimedJob) -> tuple[Work, Failed | None]:
        return read(job, self._report, self.keep)

    def keep(self, work: Work, value: str) -> Keeping:
        """Keep a checkpoint, from any thread. It is sent until the store has answered, as outcomes are."""
        keeping = Keeping(work, value)
        try:
            self._loop.call_soon_threadsafe(self._send_checkpoint, keeping)
        except RuntimeError:  # the loop is closed: a thread was left behind
            keeping.settle("the worker has ended")
        return keeping

    def _send_checkpoint(self, keeping: Keeping) -> None:
        def answer(status: str | None, error: Exception | None) -> None:
            keeping.settle(str(error) if error is not None else "" if status == "ok" else LOST)

        work = keeping.work
        work.checkpoints += 1
        item = (work.id, work.token, keeping.value, work.checkpoints)
        try:
            self._acks.checkpoint(self._broker.shards.of_job(work.id), item, answer)
        except QueueyError as error:
            answer(None, error)

    def _pass_on(self, work: Work, report: ProgressReport | JobLines) -> None:
        if isinstance(report, JobLines):
            self._logs.record(work, report)
        else:
            self._progress.on_progress(work, report)

    # --- outcomes -------------------------------------------------------------------------------------------------

    def complete(self, held: HeldJob, succeeded: Succeeded, confirmed: Confirmed) -> None:
        answer = partial(self._answered, held, succeeded, confirmed)
        try:
            self._acks.complete(held.shard, held.job_id, held.token, succeeded.result_json, answer)
        except QueueyError as error:
            answer(None, error)

    def fail(self, held: HeldJob, failed: Failed, confirmed: Confirmed) -> None:
        answer = partial(self._answered, held, failed, confirmed)
        entry = error_json(failed.as_last(), attempt=held.work.attempt, worker=self._worker)
        failure: Failure = held.job_id, held.token, entry, failed.retry_after_ms, failed.dead
        if failed.kind == "snooze":
            failure = (*failure, True)
        try:
            self._acks.fail(held.shard, failure, answer)
        except QueueyError as error:
            answer(None, error)

    def _answered(
        self, held: HeldJob, outcome: Outcome, confirmed: Confirmed, status: str | None, error: Exception | None
    ) -> None:
        confirmed(held)
        work = held.work
        if error is not None:
            logger.error("outcome_not_stored", job_id=work.id, type=work.type, error=str(error))
        elif status == "lost":
            self._metrics.lost.add()
            self.lost(work)
        elif status == "snoozed":
            self._log.failed(work, cast(Failed, outcome), status, held.ended_at)
        elif isinstance(outcome, Failed):
            if status == "dead":
                outcome = outcome.as_last()
            self._metrics.failed_attempts.add((work.type, outcome.kind))
            if status != "retry":
                self._count(held, "dead_letter" if status == "dead" else "cancelled")
            self._log.failed(work, outcome, cast(str, status), held.ended_at)
        else:
            self._count(held, "succeeded")
            self._log.succeeded(work, held.ended_at)

    def _count(self, held: HeldJob, ended: str) -> None:
        """Count the end of a job, and measure how long it waited and ran.

        The wait for a worker is measured only for the first claim. A first attempt by a later claim follows a release,
        a crash or a replay, and the time at which the job became due again is not known here.
        """
        work = held.work
        first = work.token.startswith("1.")
        due_ms = work.due_ms if first or work.attempt > 1 else 0
        claimed_ms = held.claimed_ms if first else 0
        ran = held.ended_at - (work.started_at or held.ended_at)
        self._metrics.job_ended(work.queue, work.type, ended, due_ms, claimed_ms, ran, time.time() * 1000)

    def lost(self, work: Work) -> None:
        self._log.lost(work)

    def set_aside(self, held: Sequence[HeldJob], gone: Confirmed) -> None:
        for each in reversed(held):
            answer = partial(_set_aside, each, gone)
            try:
                self._acks.set_aside(each.shard, each.job_id, each.token, each.work.type, answer)
            except QueueyError as error:
                answer(None, error)

    # --- the end --------------------------------------------------------------------------------------------------

    async def release(self, held: Sequence[HeldJob], seconds: float) -> None:
        """Give jobs back to the heads of their lanes, in the order of their claim."""
        answers = {self._acks.release(each.shard, each.job_id, each.token): each for each in reversed(held)}
        if answers:
            await asyncio.wait(answers, timeout=seconds)
        for answer, each in answers.items():
            error = answer.exception() if answer.done() else "the store did not answer in time"
            if error:
                logger.error("not_released", job_id=each.job_id, type=each.work.type, error=str(error))


def _limit(request: ClaimRequest) -> int:
    return min(request.free, (request.slots + 1) // 2, MAX_BATCH)


def _set_aside(held: HeldJob, gone: Confirmed, status: str | None, error: Exception | None) -> None:
    if error is not None:
        logger.error("not_released", job_id=held.job_id, type=held.work.type, error=str(error))
    gone(held)
