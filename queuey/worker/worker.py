"""The worker, which claims jobs into free slots, executes them and reports the outcomes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final

from queuey import log
from queuey.lifecycle import call_after_passes
from queuey.metrics import Metrics
from queuey.protocol.records import SUSPECT, NewJob, NewJobs
from queuey.services.jobs.offers import Offering, Settled, Types
from queuey.worker.claims.aside_lists import AsideLists
from queuey.worker.claims.limits import ClaimLimits
from queuey.worker.claims.second_slot import SecondSlot
from queuey.worker.claims.stalls import Stalls
from queuey.worker.claims.strangers import Strangers
from queuey.worker.claims.unconfirmed import Unconfirmed
from queuey.worker.claims.under_way import UnderWay
from queuey.worker.execution import Execution
from queuey.worker.handlers.attempt import Failed, Outcome, Succeeded
from queuey.worker.held_job import HeldJob, Leased
from queuey.worker.lease_keeper import LeaseKeeper
from queuey.worker.settings import WorkerSettings
from queuey.worker.slots import Slots, set_to, within
from queuey.worker.source import Claim, ClaimRequest, JobSource, Offered
from queuey.worker.task_pool import TaskPool
from queuey.worker.turns import Turns

TAKE_IN_AFTER: Final = 2
"""Passes of the event loop from an accepted claim until its jobs are taken in. A claim that follows is written first,
and so is the reply to an enqueue that took an offer: a batch is answered in the next pass but one."""

logger = log.get(__name__)


class Worker:
    """Runs up to `settings.concurrency` jobs of `source` at a time, until `drain`. `keeper` renews their leases.

    Only one claim or offer is under way at a time, except late ones. A slot is free again when the handler has ended,
    even if its outcome is still being reported.
    """

    _beside: asyncio.TaskGroup
    """The tasks that claim while others wait for late answers."""

    def __init__(
        self, source: JobSource[Any], execution: Execution, settings: WorkerSettings, *, metrics: Metrics
    ) -> None:
        self._source = source
        self._execution = execution
        self._settings = settings
        self._slots = slots = Slots.of(settings, execution, source.shards)
        metrics.slots, metrics.busy = slots.total, lambda: slots.busy
        metrics.threads, metrics.threads_stuck = execution.thread_slots, lambda: len(execution.stuck_threads())
        self.keeper = LeaseKeeper(source.lease, self.on_trouble)
        self.running: dict[str, HeldJob] = {}
        """All jobs that this worker holds: they wait for their turn, run, or are being reported."""
        self._incoming: list[tuple[Leased, int]] = []
        """Claimed jobs that have a slot but are not in `running` yet, each with its shard."""
        self._strangers = Strangers(source)
        self._limits = ClaimLimits(source, slots, self._strangers, self._crashes, execution.max_isolated)
        self._is_lenient = False
        """Whether the claim that is under way may bring jobs of unknown types."""
        self._runners = TaskPool(self._begin)
        self._stopping = self.quieted = False
        """Whether it claims no more. It finishes the jobs that it has."""
        self._was_full = False
        """Whether no slot was free when the events below were set."""
        self._doubtful: tuple[int, Offered] | None = None
        """A shard and an offer that may have been taken there. The next claim brings its jobs."""
        self._context: Context | None = None
        """The context of the task that claims, in which every handler begins. None: nothing was claimed yet."""
        self._turns = Turns(source.shards, self._settle)
        self._under_way, self._unconfirmed = UnderWay(self._turns), Unconfirmed(slots, self._turns)
        self.asides = AsideLists(source.asides, source.shards, settings.queues, slots, self._turns)
        self._second_slot = SecondSlot(slots, self._room_grew, self._turns.wake_all)
        self._on_confirmed = self._confirmed  # a bound method that is made only once
        self._between_claims, self._may_claim = asyncio.Event(), asyncio.Event()
        self.may_wait = asyncio.Event()
        """Set while a slot is free and no shard is known to hold work."""
        execution.on_thread_returned(self._thread_returned)
        execution.on_stall(Stalls(self.running, self._release, settings.release_seconds, self._settle).changed)
        self._settle()

    # --- shards with work -----------------------------------------------------------------------------------------

    def wake(self, shard: int) -> None:
        """Claim from a shard that may hold jobs."""
        self._turns.wake(shard)

    def expect(self, shard: int, jobs: Sequence[NewJob | NewJobs]) -> None:
        """Claim directly behind the enqueue of these jobs, which is about to start, if this worker is idle.

        Thus an idle server does not wait for the marker, which is a third of the time until the handler runs.
        """
        queues = self._settings.queues
        if self.may_wait.is_set() and any(job.is_due and job.queue in queues for job in jobs):
            self.wake(shard)

    def _settle(self) -> None:
        """Set or clear the events by the free slots and the shards that may hold work."""
        self._was_full = self._limits.free <= 0
        free = not (self._was_full or self._stopping or self.quieted or self._execution.is_stalled)
        doubtful, awaited = self._doubtful is not None, self._under_way.is_awaited
        set_to(self._may_claim, not awaited and (doubtful or (free and bool(self._turns))))
        set_to(self.may_wait, free and not (self._turns or self._turns.rests or awaited or doubtful))
        set_to(self._between_claims, not (self._under_way or self._incoming or doubtful))
        if self.asides.some and self.may_wait.is_set():
            self.asides.on_change()

    def _settle_if_full(self) -> None:
        """Set the events after a job has left. This is frequent, and matters only if no slot was free."""
        if self._was_full:
            self._settle()
            self._room_grew()

    # --- claiming -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Claim whenever a slot is free and a shard may hold work. Ends when cancelled.

        Raises StartupError when the source refuses this worker.
        """
        self._context = copy_context()
        if self._source.shards == 1:
            await self._claim_in_turn()
        else:
            async with asyncio.TaskGroup() as self._beside:
                await self._claim_in_turn()

    async def _claim_in_turn(self) -> None:
        """Claim until a claim is late: others go on then, and this ends with its answer."""
        while True:
            await self._may_claim.wait()
            self._settle()
            if not self._may_claim.is_set():
                continue  # since the event was set, the slots were taken or too many outcomes became unconfirmed
            shard, offered = self._doubtful or (self._turns.next(), None)
            self._doubtful = None
            self._is_lenient = not self._strangers.types
            self._under_way.begin(shard, self._go_on_claiming)
            self._settle()
            if await self._claim(shard, self._limits.request(offered, self.asides.woken(shard))):
                return

    def _go_on_claiming(self) -> None:
        self._beside.create_task(self._claim_in_turn(), context=self._context)
        self._settle()

    async def _claim(self, shard: int, request: ClaimRequest) -> bool:
        """Claim once. Returns whether the answer was late."""
        try:
            claim = await self._source.claim(shard, request)
            # The next claim is written before these jobs are taken in, with the outcomes that waited for the answer to
            # this one. So the store works while the jobs are taken in and run.
            surplus = self._accept(shard, claim, was_late=self._under_way.is_late(shard))
            call_after_passes(TAKE_IN_AFTER, self._take_in)
            if surplus:
                await self._source.release([self._read(job, shard) for job in surplus], self._settings.release_seconds)
            return self._under_way.is_late(shard)
        finally:
            self._under_way.end(shard)
            self._settle()

    def _crashes(self) -> list[int]:
        """Return the crashes of each job that this worker holds and that has crashed."""
        crashes = [held.crashes for held in self.running.values()] + [job.crashes for job, _ in self._incoming]
        return [count for count in crashes if count]

    def _accept(self, shard: int, claim: Claim[Leased], *, was_late: bool = False) -> Sequence[Leased]:
        """Give the jobs slots. The caller has them taken in. Returns those to give back."""
        jobs, surplus = self._limits.give_slots(claim.jobs, was_late=was_late)
        self._incoming += [(job, shard) for job in jobs]
        self._turns.answered(shard, more=claim.more, due_in_ms=claim.due_in_ms, rests=claim.rests)
        self.asides.named(shard, claim.named)
        return surplus

    # --- offers ---------------------------------------------------------------------------------------------------

    def offer(self, shard: int, queue: str, types: Types) -> Offering | None:
        """Offer the free slots to an enqueue of jobs of this queue, if this worker is idle. It counts as a claim.

        There is no offer if not all of these jobs can begin here.
        """
        if self._context is None or not self.may_wait.is_set() or queue not in self._settings.queues:
            return None
        room = min(self._slots.room_in(queue), *map(self._slots.room_for, types()))
        if not room or self._turns.leaves_out(shard) or self.asides.of(shard, queue):
            return None
        offered = self._source.offer(self._limits.request(), room)
        if offered is None:
            return None
        self._is_lenient = False
        self._under_way.begin(shard, self._settle)
        self._settle()
        return Offering(offered.offer, partial(self._offer_settled, shard, offered))

    def _offer_settled(self, shard: int, offered: Offered, settled: Settled) -> None:
        """Take the jobs that an enqueue has claimed.

        They start after its client has the reply, even if a handler blocks or crashes.
        """
        if settled is not Settled.DECLINED and (self._under_way.is_late(shard) or self._limits.took_late):
            self._beside.create_task(self._claim(shard, self._limits.request(offered)), context=self._context)
            return  # the repeated claim brings the jobs, and gives back those that get no slot
        claim = self._source.taken(offered) if settled is Settled.TAKEN else None
        self._under_way.end(shard)
        if settled is not Settled.DECLINED and claim is None:
            self._doubtful = shard, offered
        elif claim is None:
            self._turns.wake(shard)
        elif self._context is not None:
            self._accept(shard, claim)
            call_after_passes(TAKE_IN_AFTER, self._take_in, context=self._context)
        self._settle()

    # --- running --------------------------------------------------------------------------------------------------

    def _take_in(self) -> None:
        incoming, self._incoming = self._incoming, []
        now_ms = time.time() * 1000
        for job, shard in incoming:
            self._hold(job, shard, now_ms)
        if not (self._under_way.is_awaited and self._is_lenient):
            self._strangers.give_back(self._gone)
        self._settle()

    def _hold(self, job: Leased, shard: int, now_ms: float) -> None:
        held = self._read(job, shard)
        held.claimed_ms = now_ms
        self.running[job.id] = held
        self.keeper.hold(held)
        work = held.work
        work.isolated = held.crashes >= SUSPECT
        if held.unreadable is not None:
            held.counted_as = self._source.type_of(job)
        elif not self._slots.knows(work.type) and self._source.sets_aside:
            self._strangers.add(held)
            return
        self._runners.add(held)

    def _read(self, job: Leased, shard: int) -> HeldJob:
        work, unreadable = self._source.read(job)
        return HeldJob(job, shard, work, unreadable, self._settings.grace)

    def _gone(self, held: HeldJob) -> None:
        """Free the slot of a job that was given back."""
        self._second_slot.leave(held.counted_as, held)
        self._let_go(held)
        self._settle_if_full()

    def _begin(self, held: HeldJob) -> Coroutine[Any, Any, None] | None:
        """Run the job until it first waits. Return a coroutine for the rest, if there is one."""
        if held.releasing:
            self._ended(held, None)
            return None
        try:
            begun = held.unreadable or self._execution.begin(held.work)
        except BaseException:
            self._ended(held, None)
            raise
        if isinstance(begun, (Succeeded, Failed)):
            self._ended(held, begun)
            return None
        return self._go_on(held, begun)

    async def _go_on(self, held: HeldJob, begun: Coroutine[Any, Any, Outcome]) -> None:
        outcome: Outcome | None = None
        try:
            outcome = await begun
        finally:
            self._ended(held, outcome)

    def _ended(self, held: HeldJob, outcome: Outcome | None) -> None:
        """Free the slot, and report. `outcome` is None if the job did not begin or others cancelled its task."""
        self._second_slot.leave(held.counted_as, held)
        held.ended_at = time.monotonic()
        if outcome is not None and not (held.releasing and isinstance(outcome, Failed)):
            held.reporting = True
            self._report(held, outcome)
        elif not held.releasing:
            self._let_go(held)
        # otherwise the drain gives it back together with the others, in their order
        self._settle_if_full()

    def _room_grew(self) -> None:
        """Claim for an executor that had no room, and may have some now."""
        self.asides.room_grew()
        self._source.room_grew()

    def _thread_returned(self) -> None:
        self._turns.wake_all()  # no marker is left for the jobs of a queue that was full
        self._settle_if_full()
        self._room_grew()

    def _let_go(self, held: HeldJob) -> None:
        """Remove a job from those that are held."""
        self.keeper.let_go(held)
        if self.running.get(held.job_id) is held:
            del self.running[held.job_id]

    def _report(self, held: HeldJob, outcome: Outcome) -> None:
        """Report an outcome, together with others. The slot does not wait for the answer."""
        if held.lost:
            self._let_go(held)
            return
        self._unconfirmed.report(held.shard)
        if isinstance(outcome, Succeeded):
            self._source.complete(held, outcome, self._on_confirmed)
        else:
            self._source.fail(held, outcome, self._on_confirmed)

    def _confirmed(self, held: HeldJob) -> None:
        self._unconfirmed.confirm(held.shard)
        self._let_go(held)
        self._settle_if_full()

    # --- cancelled, lost, quiet -----------------------------------------------------------------------------------

    def on_cancel(self, job_id: str) -> None:
        """Stop a job that was cancelled, if it runs here. Its outcome then sets the status to cancelled."""
        held = self.running.get(job_id)
        if held is not None:
            logger.info("job_cancelling", job_id=job_id, type=held.work.type, attempt=held.work.attempt)
            self._execution.cancel(held.work)

    def on_trouble(self, job_id: str, token: str, status: str) -> None:
        """Stop a job whose renewal was answered `cancelled` or `lost`, unless its outcome is being reported."""
        held = self.running.get(job_id)
        if held is None or held.token != token or held.lost or held.reporting:
            return
        if status == "lost":
            held.lost = True
            self._source.lost(held.work)
        self._execution.cancel(held.work)

    def be_quiet(self) -> None:
        """Claim no more until the process ends."""
        if not self.quieted:
            self.quieted = True
            logger.info("worker_quiet", running=len(self.running))
            self._settle()

    # --- the end --------------------------------------------------------------------------------------------------

    async def drain(self, timeout: float) -> None:
        """Claim no more, let the running jobs finish for up to `timeout` seconds, and give the rest back.

        A handler that does not stop within the grace is left behind, but its job is given back too.
        """
        self._stop_claiming()
        # A claim that is under way may still bring jobs, which must be run or given back.
        await within(self._settings.claim_seconds, self._between_claims.wait())
        await self._source.return_unseen()
        if self._source.is_reporting:  # otherwise no outcome could be reported
            await self._slots.until_idle(timeout)
        left = list(self.running.values())
        if not left:
            return
        logger.info("releasing", jobs=len(left))
        for held in left:
            held.releasing = True
            self._execution.cancel(held.work)
        if self._source.gives_back_unconfirmed:
            await self._slots.until_ended(self._settings.grace)
        else:
            await self._slots.until_idle(self._settings.grace)
        await self._release_all(self._settings.release_seconds)

    async def abandon(self) -> None:
        """Give back the running jobs within `abandon_seconds`, without waiting for any handler."""
        self._stop_claiming()
        self._take_in()
        await self._release_all(self._settings.abandon_seconds)

    def _stop_claiming(self) -> None:
        self._stopping = True
        self._source.stop_claiming()
        self._turns.stop()
        self._settle()

    async def _release_all(self, seconds: float) -> None:
        """Give back the jobs without an outcome. Wait for the other reports, and give back the rest if possible."""
        for held in self.running.values():
            held.releasing = True
        await self._release([held for held in self.running.values() if not held.reporting], seconds)
        if self._source.gives_back_unconfirmed:
            if self._source.is_reporting:
                await self._slots.until_confirmed(seconds)
            await self._release(list(self.running.values()), seconds)

    async def _release(self, left: Sequence[HeldJob], seconds: float) -> None:
        await self._source.release(left, seconds)
        for held in left:
            self._let_go(held)
