"""The worker: claims jobs into free slots, has each executed, and tells the store what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, Final, cast

from queuey import log
from queuey.errors import QueueyError, StoreUnavailable
from queuey.metrics import Metrics
from queuey.protocol import ids
from queuey.protocol.records import UNREADABLE, NewJob
from queuey.services.jobs.progress import ProgressRecorder
from queuey.services.leases.acks import Acks
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import MAX_BATCH
from queuey.store.replies import Claimed, ClaimedJob
from queuey.worker.execution import Execution
from queuey.worker.handlers.attempt import Failed, Outcome, Succeeded, Work, error_json
from queuey.worker.held_job import HeldJob, read
from queuey.worker.lease_keeper import LeaseKeeper
from queuey.worker.task_pool import TaskPool

RETRY_FIRST: Final = 0.1
RETRY_CAP: Final = 2.0
CLAIM_SECONDS: Final = 5.0
"""How long a drain waits for the answer to a claim."""
RELEASE_SECONDS: Final = 5.0
ABANDON_SECONDS: Final = 0.5
"""How long the store may take to take back what runs, at the end of a drain and on a second signal."""

logger = log.get(__name__)


class Worker:
    """Runs up to `settings.concurrency` jobs at a time from `queues`, until `drain`. `keeper` renews their leases.

    A slot is free again when the handler has ended; the store is told meanwhile. One claim is under way at a time, and
    asks for half of the slots at most: so while the store does one half, this process does the other, and what one
    has done is told together with the next claim.
    """

    def __init__(
        self,
        broker: Broker,
        acks: Acks,
        execution: Execution,
        settings: Settings,
        worker_id: str,
        queues: Sequence[str],
        progress: ProgressRecorder | None = None,
        *,
        metrics: Metrics | None = None,
    ) -> None:
        self._metrics = metrics or Metrics()
        self._metrics.slots = settings.concurrency
        self._metrics.busy = lambda: self._busy
        self._broker = broker
        self._progress = progress or ProgressRecorder(broker)
        self._acks = acks
        self._execution = execution
        self._settings = settings
        self._id = worker_id
        self._queues = list(queues)
        self._slots = settings.concurrency
        self._lease_ms = round(settings.lease * 1000)
        self.keeper = LeaseKeeper(settings.lease, self.on_trouble)
        self.running: dict[str, HeldJob] = {}
        """All that is held: waiting for its turn, in a handler, or being reported."""
        self._incoming: list[tuple[ClaimedJob, int]] = []
        """Those that have been claimed, with their shard, and are not in `running` yet."""
        self._busy = 0
        """How many have a slot, the incoming ones included."""
        self._unconfirmed = 0
        """How many have had one, and the store has not confirmed what came of them."""
        self._idle = asyncio.Event()
        """Both are 0."""
        self._idle.set()
        self._full = False
        """No slot was free when that was last looked at."""
        self._runners = TaskPool(self._begin)
        self._stopping = False
        self.quieted = False
        """It is to claim no more, and to go on with what it has."""
        self._claiming = False
        self._between_claims = asyncio.Event()
        self._turn = 0
        self._loop = asyncio.get_running_loop()
        self._hot = dict.fromkeys(range(broker.shards.count))
        """Shards that may hold claimable jobs, in the order of their turn."""
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._may_claim = asyncio.Event()
        self.may_wait = asyncio.Event()
        self._settle_events()

    # --- what is worth a claim ------------------------------------------------------------------------------------

    def wake(self, shard: int) -> None:
        """A shard may hold claimable jobs."""
        self._hot.setdefault(shard)
        self._settle_events()

    @property
    def _free(self) -> int:
        """Slots to claim for. None while twice as many jobs as there are slots wait for the store to confirm them."""
        return self._slots - self._busy if self._unconfirmed < 2 * self._slots else 0

    def expect(self, shard: int, jobs: Sequence[NewJob]) -> None:
        """This process is about to enqueue these. With nothing else to do it claims right behind, instead of when
        the marker comes back: that saves an idle server a third of the time until the handler runs."""
        if self.may_wait.is_set() and any(job.is_due and job.queue in self._queues for job in jobs):
            self.wake(shard)

    def _settle_events(self) -> None:
        self._full = self._free <= 0
        free = not self._full and not self._stopping and not self.quieted
        _set(self._may_claim, free and bool(self._hot))
        _set(self.may_wait, free and not self._hot and not self._claiming)
        _set(self._between_claims, not self._claiming and not self._incoming)
        _set(self._idle, not self._busy and not self._unconfirmed)

    def _settle_counts(self) -> None:
        """After a job has gone, which is often, and seldom changes what may be done."""
        if self._full or not self._busy:
            self._settle_events()

    def _wake_in(self, shard: int, due_in_ms: int) -> None:
        old = self._timers.pop(shard, None)
        if old is not None:
            old.cancel()
        if due_in_ms >= 0:
            self._timers[shard] = self._loop.call_later(due_in_ms / 1000, self.wake, shard)

    # --- claiming -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Claim whenever a slot is free and a shard may hold work. Ends when cancelled."""
        while True:
            await self._may_claim.wait()
            self._settle_events()
            if not self._may_claim.is_set():
                continue  # the slots have been taken, or too much is untold, since it was set
            shard = next(iter(self._hot))
            del self._hot[shard]
            self._claiming = True
            self._settle_events()
            await self._claim_from(shard)
            self._claiming = False
            self._settle_events()

    async def _claim_from(self, shard: int) -> None:
        """One claim. The same claim id is sent until it is answered, so that a lost reply loses no job.

        One whose answer cannot be read is not worth a repeat: its leases lapse, and the next claim brings other jobs.
        """
        claim_id, asked_at = ids.short_random(), time.monotonic()
        pause = RETRY_FIRST
        limit = min(self._free, (self._slots + 1) // 2, MAX_BATCH)
        while not self._stopping:
            try:
                with self._acks.corked(shard):
                    claimed = await self._ask(shard, claim_id, limit)
                jobs = claimed.jobs
                if jobs and time.monotonic() > asked_at + self._settings.lease / 3:
                    jobs = await self._still_ours(shard, jobs)
            except (QueueyError, *UNREADABLE) as error:
                logger.warning("claim_failed", error=str(error), shard=shard)
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_CAP)
                if time.monotonic() > asked_at + self._settings.lease or not isinstance(error, StoreUnavailable):
                    claim_id, asked_at = ids.short_random(), time.monotonic()
                continue
            self._busy += len(jobs)
            self._incoming += [(job, shard) for job in jobs]
            # In a later pass of the loop: by then the next claim is on its way, with the outcomes that waited for the
            # answer to this one, and the store works while these jobs run.
            self._loop.call_soon(self._take_in)
            if claimed.more:
                self._hot.setdefault(shard)
            self._wake_in(shard, claimed.due_in_ms)
            return

    async def _ask(self, shard: int, claim_id: str, limit: int) -> Claimed:
        return await self._broker.leases.claim(
            shard,
            claim_id=claim_id,
            worker=self._id,
            lease_ms=self._lease_ms,
            limit=limit,
            queues=self._queues_in_turn(),
            max_starve_ms=round(self._settings.max_starve * 1000),
            suspects=0 if self._holds_suspect() else 1,
        )

    def _holds_suspect(self) -> bool:
        """Whether a job that has crashed a process is here, begun or not."""
        return any(job.crashes for job in self.running.values()) or any(job.crashes for job, _ in self._incoming)

    async def _still_ours(self, shard: int, jobs: list[ClaimedJob]) -> list[ClaimedJob]:
        """Those whose leases stand, renewed: of an answer that came late the next renewal would be too late."""
        statuses = await self._broker.leases.extend(shard, self._lease_ms, [(job.id, job.token) for job in jobs])
        return [job for job, status in zip(jobs, statuses, strict=True) if status != "lost"]

    def _queues_in_turn(self) -> list[str]:
        self._turn = (self._turn + 1) % len(self._queues)
        return self._queues[self._turn :] + self._queues[: self._turn]

    # --- running --------------------------------------------------------------------------------------------------

    def _take_in(self) -> None:
        incoming, self._incoming = self._incoming, []
        now_ms = time.time() * 1000
        self._metrics.claimed.add((), len(incoming))
        for job, shard in incoming:
            self._hold(job, shard, now_ms)
        self._settle_events()

    def _hold(self, job: ClaimedJob, shard: int, now_ms: float) -> None:
        work, unreadable = read(job)
        work.report = self._progress.of_work
        running = HeldJob(job, shard, work, unreadable, self._execution.timeout_of(work), self._settings.grace)
        running.claimed_ms = now_ms
        self.running[job.id] = running
        self.keeper.hold(running)
        self._runners.add(running)

    def _begin(self, running: HeldJob) -> Coroutine[Any, Any, None] | None:
        """Run it as far as it goes without waiting. Returns what is to be awaited for the rest, if there is one."""
        if running.releasing:
            self._ended(running, None)
            return None
        try:
            begun = running.unreadable or self._execution.begin(running.work)
        except BaseException:
            self._ended(running, None)
            raise
        if isinstance(begun, (Succeeded, Failed)):
            self._ended(running, begun)
            return None
        return self._go_on(running, begun)

    async def _go_on(self, running: HeldJob, begun: Coroutine[Any, Any, Outcome]) -> None:
        outcome: Outcome | None = None
        try:
            outcome = await begun
        finally:
            self._ended(running, outcome)

    def _ended(self, running: HeldJob, outcome: Outcome | None) -> None:
        """Its slot is free. `outcome` is None when it did not begin, or the task that ran it was cancelled."""
        self._busy -= 1
        running.ended_at = time.monotonic()
        if outcome is not None and not (running.releasing and isinstance(outcome, Failed)):
            running.reporting = True
            self._report(running, outcome)
        elif not running.releasing:
            self._let_go(running)
        # else it is given back together with the others, in their order
        self._settle_counts()

    def _let_go(self, running: HeldJob) -> None:
        """It is not held any more."""
        self.keeper.let_go(running)
        if self.running.get(running.job_id) is running:
            del self.running[running.job_id]

    def _report(self, running: HeldJob, outcome: Outcome) -> None:
        """Tell the store, with what else there is to tell it; the slot does not wait for the answer."""
        if running.lost:
            self._let_go(running)
            return
        work = running.work
        answer = partial(self._answered, running, outcome)
        self._unconfirmed += 1
        try:
            if isinstance(outcome, Succeeded):
                self._acks.complete(running.shard, work.id, work.token, outcome.result_json, answer)
            else:
                entry = error_json(outcome, attempt=work.attempt, worker=self._id)
                delay = outcome.retry_after_ms
                self._acks.fail(running.shard, work.id, work.token, entry, delay, outcome.dead, answer)
        except QueueyError as error:
            answer(None, error)

    def _answered(self, running: HeldJob, outcome: Outcome, status: str | None, error: Exception | None) -> None:
        self._unconfirmed -= 1
        self._let_go(running)
        self._settle_counts()
        work = running.work
        if error is not None:
            logger.error("outcome_not_stored", job_id=work.id, type=work.type, error=str(error))
        elif status == "lost":
            self._metrics.lost.add()
            logger.warning("lease_lost", job_id=work.id, type=work.type, attempt=work.attempt)
        elif isinstance(outcome, Failed):
            self._metrics.failed_attempts.add((work.type, outcome.kind))
            if status != "retry":
                self._count(running, "dead_letter" if status == "dead" else "cancelled")
            self._log_failure(work, outcome, cast(str, status))
        else:
            self._count(running, "succeeded")
            if log.debug_enabled():
                logger.debug("job_succeeded", job_id=work.id, type=work.type, attempt=work.attempt)

    def _count(self, running: HeldJob, ended: str) -> None:
        """Only a first claim ends a wait for a worker. A first attempt by a later one was released, reaped or replayed:
        when it became due anew is not known here."""
        work = running.work
        first = work.token.startswith("1.")
        due_ms = work.due_ms if first or work.attempt > 1 else 0
        claimed_ms = running.claimed_ms if first else 0
        ran = running.ended_at - (work.started_at or running.ended_at)
        self._metrics.job_ended(work.queue, work.type, ended, due_ms, claimed_ms, ran, time.time() * 1000)

    def _log_failure(self, work: Work, outcome: Failed, status: str) -> None:
        """The message of an exception may quote the payload: it is kept with the job, not here."""
        event = {"retry": "job_retried", "dead": "job_dead", "cancelled": "job_cancelled"}[status]
        fields = {"job_id": work.id, "type": work.type, "attempt": work.attempt, "kind": outcome.kind}
        if status == "retry":
            logger.info(event, **fields, retry_in_ms=outcome.retry_after_ms)
        else:
            logger.info(event, **fields)

    # --- trouble --------------------------------------------------------------------------------------------------

    def on_cancel(self, job_id: str) -> None:
        """Somebody cancelled a running job: stop it if it is ours. What it reports then makes it cancelled."""
        running = self.running.get(job_id)
        if running is not None:
            logger.info("job_cancelling", job_id=job_id, type=running.work.type, attempt=running.work.attempt)
            self._execution.cancel(running.work)

    def on_trouble(self, job_id: str, token: str, status: str) -> None:
        """A renewal answered `cancelled` or `lost`. Where a job has just ended, the answer to its report tells."""
        running = self.running.get(job_id)
        if running is None or running.token != token or running.lost or running.reporting:
            return
        if status == "lost":
            running.lost = True
            logger.warning("lease_lost", job_id=job_id, type=running.work.type, attempt=running.work.attempt)
        self._execution.cancel(running.work)

    def be_quiet(self) -> None:
        """Claim no more, until the process ends."""
        if not self.quieted:
            self.quieted = True
            logger.info("worker_quiet", running=len(self.running))
            self._settle_events()

    # --- the end --------------------------------------------------------------------------------------------------

    async def drain(self, timeout: float) -> None:
        """Claim no more, let what runs finish for `timeout` seconds, and release the rest.

        A handler that does not stop within the grace is left behind; its job is released all the same.
        """
        self._stopping = True
        self._settle_events()
        for timer in self._timers.values():
            timer.cancel()
        await self._end_of_claim()
        await self._until_idle(timeout)
        left = list(self.running.values())
        if not left:
            return
        logger.info("releasing", jobs=len(left))
        for running in left:
            running.releasing = True
            self._execution.cancel(running.work)
        await self._until_idle(self._settings.grace)
        await self._release_all(RELEASE_SECONDS)

    async def _until_idle(self, seconds: float) -> None:
        """No handler runs, and the store knows what came of all; or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    async def _end_of_claim(self) -> None:
        """A claim that is under way may still bring jobs, which are ours then."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLAIM_SECONDS):
                await self._between_claims.wait()

    async def abandon(self) -> None:
        """Release what runs without waiting for any handler, as far as half a second allows."""
        self._stopping = True
        self._take_in()
        for running in self.running.values():
            running.releasing = True
        await self._release_all(ABANDON_SECONDS)

    async def _release_all(self, seconds: float) -> None:
        """Give back what has not been reported, so that it stands at the head of its lane in the order of its claim."""
        left = [running for running in self.running.values() if not running.reporting]
        answers = {
            self._acks.release(running.shard, running.job_id, running.token): running for running in reversed(left)
        }
        if answers:
            await asyncio.wait(answers, timeout=seconds)
        for answer, running in answers.items():
            error = answer.exception() if answer.done() else "the store did not answer in time"
            if error:
                logger.error("not_released", job_id=running.job_id, type=running.work.type, error=str(error))
            self._let_go(running)


def _set(event: asyncio.Event, wanted: bool) -> None:
    if wanted:
        event.set()
    else:
        event.clear()
