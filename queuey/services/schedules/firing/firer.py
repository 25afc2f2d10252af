"""The loop that fires the due ticks of the schedules of one shard. Every replica with the role `reaper` runs it.

There is no leader: the script `fire` does nothing for a tick that another replica has fired. To spare replicas the work
of computing what another one fires, one that came too late waits a little longer than the one that came first.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import Final, NamedTuple, cast

import msgspec
from msgspec import Struct

from queuey import log
from queuey.metrics import Metrics
from queuey.protocol.records import NewJob
from queuey.protocol.stored.schedules import Schedule
from queuey.services.schedules.firing.decisions import Decider, Decision, Unreadable
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import MAX_BYTES
from queuey.store.broker.schedules import FIRE_BATCH, DueSchedules, Firing, Pausing
from queuey.version import __version__

PAGES: Final = 50
"""The maximum number of calls that read due ticks in one run. The next run continues."""
PAGE: Final = 500
"""Schedules that are read at once."""
HELD_BYTES: Final = 8_000_000
"""Bytes of jobs that are held for calls. With `catch_up: all` a page of schedules may have many of them."""
SPACING: Final = 0.05
"""Seconds between two runs, so that ticks that follow one another closely are fired together."""
BEHIND: Final = (0.1, 0.3)
"""The seconds by which a replica looks later for due ticks, if another one has fired the last ones."""
WAIT_SECONDS: Final = 1.0
"""Seconds for each shard after which a tick that waits for the end of a job is looked at again."""
FULL_SECONDS: Final = 5.0
"""Seconds after which ticks are tried again that a full store did not take."""
RETRY_SECONDS: Final = 1.0
"""Seconds after which ticks are tried again that were early, since the store's clock was set back."""
MAX_AHEAD: Final = 8
"""The maximum number of pages that are skipped while other replicas fire the first ones."""
TURN: Final = 0.005
"""Seconds of computing after which other work has its turn."""
REFUSE_AFTER_MS: Final = 20_000
"""A tick whose job this replica refuses is left for so long to replicas that may have another version of the App."""
PAUSE_AFTER_MS: Final = 300_000
"""A schedule that this version cannot read is left for so long to others, and then paused."""
MAX_NOTED: Final = 10_000
"""The maximum number of schedules with a fault that are remembered, so that each is logged once."""
UNREADABLE: Final = (
    "A server of version {} could not read it. Upgrade all servers, or put the schedule again; then resume it"
)
DONE: Final = frozenset({"fired", "skipped", "pending", "missed", "refused", "too_many_queues", "there"})
"""The answers after which the schedule has gone on."""
STAYS: Final = frozenset({"full", "early", "not_later"})
"""The answers after which the tick is still due."""

logger = log.get(__name__)


class _Left(NamedTuple):
    """A tick of a schedule that is left to other replicas, until then by the store's clock."""

    mark: str
    tick_ms: int
    until_ms: int


class _Run(Struct):
    """What a run has found. `staying`: the number of ticks that are still due. `late_ms`: how late the oldest one is.

    `sent` firings, of which other replicas had `taken` some. `unreadable`: the schedules to pause.
    """

    staying: int = 0
    sent: int = 0
    taken: int = 0
    late_ms: int = -1
    left: dict[str, _Left] = {}
    unreadable: list[Schedule] = []

    def stays(self, late_ms: int) -> None:
        """Note a tick that is still due after this run, so that the next page begins behind it."""
        self.staying += 1
        self.late_ms = max(self.late_ms, late_ms)


class Firer:
    """Fires the due ticks of a shard, and sleeps until the next one.

    `is_full`: whether the store takes no new jobs. `clock` returns the time in ms; 0 = that of the store.
    `expect` is for ticks that it does not know of.
    """

    def __init__(
        self,
        broker: Broker,
        decider: Decider,
        shard: int,
        *,
        is_full: Callable[[], bool],
        metrics: Metrics,
        clock: Callable[[], int] = lambda: 0,
    ) -> None:
        self._broker = broker
        self._decider = decider
        self._shard = shard
        self._is_full = is_full
        self._metrics = metrics
        self._clock = clock
        self._changed = asyncio.Event()
        self._wake_at = math.inf
        """When the next tick is due that it knows of, by the event loop's time."""
        self._not_before = -math.inf
        self._behind = random.uniform(*BEHIND)
        self._after = ""
        self._left: dict[str, _Left] = {}
        self._unreadable: dict[str, str] = {}
        """The marks of the schedules that this version could not read, by name: each is logged once."""
        self._refused: dict[str, str] = {}
        """Those of the schedules whose job no longer fits, in the same way."""
        self._late_since = math.inf

    def expect(self, in_ms: int) -> None:
        """Note that a tick is due in so many ms."""
        self._look_in(in_ms / 1000)

    def expect_ticks(self, tick_in_ms: int, *, ticks_wait: bool) -> None:
        """Note what a reply says: when the next tick is due, -1 = none, and whether ticks wait for the end of a job."""
        if tick_in_ms >= 0:
            self.expect(tick_in_ms)
        if ticks_wait:
            self._look_in(WAIT_SECONDS * self._broker.shards.count)

    @property
    def late(self) -> float:
        """The seconds for which the oldest tick that it knows of has been due."""
        return max(0.0, asyncio.get_running_loop().time() - min(self._late_since, self._wake_at))

    async def run_once(self) -> float:
        """Wait for the next tick, and fire all that are due."""
        await self._wait()
        loop, known = asyncio.get_running_loop(), self._wake_at
        self._wake_at = math.inf
        try:
            await self.fire_due()
        except BaseException:
            self._wake_at = min(self._wake_at, known)  # it is tried again
            raise
        finally:
            self._not_before = loop.time() + SPACING
        return 0.0

    # --- when -----------------------------------------------------------------------------------------------------

    def _look_in(self, seconds: float) -> None:
        at = asyncio.get_running_loop().time() + seconds
        if at < self._wake_at:
            self._wake_at = at
            self._changed.set()

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            left = max(self._wake_at + self._behind, self._not_before) - loop.time()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(None if left == math.inf else left):
                    await self._changed.wait()
            except TimeoutError:
                pass

    # --- a run ----------------------------------------------------------------------------------------------------

    async def fire_due(self) -> None:
        """Fire all ticks that are due now."""
        run, ahead = _Run(), 0
        page = await self._read(0)
        for _ in range(PAGES):
            sent, taken = run.sent, run.taken
            calls = await self._decide_page(page, run)
            self._after = page.after
            self.expect_ticks(page.due_in_ms, ticks_wait=page.ticks_wait)
            following = await self._fire_page(calls, page, run, reads_on=page.more and not ahead)
            if following is not None:
                page = following
                continue
            others = 2 * (run.taken - taken) > run.sent - sent
            if page.more or page.after:
                ahead = PAGE * random.randint(1, MAX_AHEAD) if others and page.more else 0
            elif ahead:
                ahead = 0
            else:
                break
            page = await self._read(run.staying + ahead)
        else:
            self._look_in(FULL_SECONDS if self._is_full() else 0)
        self._left = run.left
        self._behind = 0.0 if run.sent > run.taken else random.uniform(*BEHIND)
        self._late_since = math.inf if run.late_ms < 0 else asyncio.get_running_loop().time() - run.late_ms / 1000

    async def _read(self, skip: int) -> DueSchedules:
        return await self._broker.schedules.due_schedules(self._shard, PAGE, self._after, skip=skip, now=self._clock())

    async def _decide_page(self, page: DueSchedules, run: _Run) -> list[list[Decision]]:
        """Decide about the schedules of a page. Returns the calls to make, at most HELD_BYTES of them.

        What exceeds this is fired meanwhile.
        """
        calls: list[list[Decision]] = [[]]
        size = held = 0
        began = perf_counter()
        for schedule, is_tick in [*((each, True) for each in page.due), *((each, False) for each in page.pending)]:
            for decision in self._decide(schedule, page.now_ms, run, is_tick=is_tick):
                job_size = decision.firing.job.size if isinstance(decision.firing.job, NewJob) else 0
                if len(calls[-1]) == FIRE_BATCH or size + job_size > MAX_BYTES:
                    calls.append([])
                    size = 0
                calls[-1].append(decision)
                size += job_size
                held += job_size
                if held > HELD_BYTES:
                    await self._fire_page(calls, page, run, reads_on=False)
                    calls, size, held = [[]], 0, 0
            if perf_counter() - began > TURN:
                await asyncio.sleep(0)
                began = perf_counter()
        return calls

    async def _fire_page(
        self, calls: Sequence[Sequence[Decision]], page: DueSchedules, run: _Run, *, reads_on: bool
    ) -> DueSchedules | None:
        """Fire the ticks of a page, and read the next page right behind them, which saves a way to the store and back.

        Returns the next page. None: it was not read, or it is not known where it should have begun.
        """
        known = {schedule.name: schedule for schedule in (*page.due, *page.pending)}
        sent, taken, staying = run.sent, run.taken, run.staying
        work: list[Awaitable[DueSchedules | None]] = [self._fire(call, known, run) for call in calls if call]
        if reads_on and not self._is_full():
            work.append(self._read(staying))
        results = await asyncio.gather(*work, return_exceptions=True)
        await self._pause(run)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        is_clear = run.staying == staying and 2 * (run.taken - taken) <= run.sent - sent
        return cast("DueSchedules | None", results[-1]) if results and is_clear else None

    def _decide(self, schedule: Schedule, now_ms: int, run: _Run, *, is_tick: bool) -> Iterator[Decision]:
        """Yield the decisions about a schedule, unless its tick is left to other replicas for now."""
        tick = schedule.next_ms if is_tick else schedule.pending_ms
        due_ms = schedule.due_ms if is_tick else schedule.pending_ms
        left = self._left.get(schedule.name)
        if left is not None and (left.mark, left.tick_ms) == (schedule.mark, tick) and now_ms < left.until_ms:
            self._leave(schedule, left, now_ms, run, is_tick=is_tick)
            return
        try:
            decided = self._decider.on_tick(schedule, now_ms) if is_tick else [self._decider.on_end(schedule)]
            for place, decision in enumerate(decided):
                until_ms = due_ms + REFUSE_AFTER_MS
                if decision.refused_as and not place and is_tick and now_ms < until_ms:
                    self._leave(schedule, _Left(schedule.mark, tick, until_ms), now_ms, run, is_tick=is_tick)
                    return
                yield decision
        except Exception as error:  # also one that no reader foresaw: it must not end the server, nor hide the others
            self._note_unreadable(schedule, str(error) if isinstance(error, Unreadable) else repr(error))
            until_ms = due_ms + PAUSE_AFTER_MS
            if now_ms < until_ms:
                self._leave(schedule, _Left(schedule.mark, tick, until_ms), now_ms, run, is_tick=is_tick)
            else:
                run.unreadable.append(schedule)

    def _leave(self, schedule: Schedule, left: _Left, now_ms: int, run: _Run, *, is_tick: bool) -> None:
        run.left[schedule.name] = left
        self.expect(left.until_ms - now_ms)
        if is_tick:
            run.stays(now_ms - schedule.due_ms)

    def _note_unreadable(self, schedule: Schedule, detail: str) -> None:
        if not _note(self._unreadable, schedule):
            return
        self._metrics.schedules_unreadable.add()
        logger.error("schedule_unreadable", schedule=schedule.name, error=detail, paused_after=PAUSE_AFTER_MS // 1000)

    async def _pause(self, run: _Run) -> None:
        """Pause the schedules that no replica could read for long, so that the API shows why they do not fire."""
        pause = msgspec.json.encode({"reason": UNREADABLE.format(__version__), "by": "queuey"}).decode()
        for schedule in run.unreadable:
            (word,) = await self._broker.schedules.set_paused(
                self._shard, [Pausing(schedule.name, schedule.mark, pause)]
            )
            if word == "ok":
                logger.error("schedule_paused", schedule=schedule.name, reason="unreadable")
        run.unreadable.clear()

    # --- what came of it ------------------------------------------------------------------------------------------

    async def _fire(self, decisions: Sequence[Decision], known: Mapping[str, Schedule], run: _Run) -> None:
        fired = await self._broker.schedules.fire(
            self._shard, [each.firing for each in decisions], full=self._is_full(), now=self._clock()
        )
        for (item, refused_as), answer in zip(decisions, fired.answers, strict=True):
            run.sent += 1
            if answer in DONE:
                self._went_on(item, answer, known[item.name], fired.now_ms)
            elif answer in STAYS:
                self._look_in(FULL_SECONDS if answer == "full" else RETRY_SECONDS)
                if item.kind == "tick":
                    run.stays(fired.now_ms - known[item.name].due_ms)
            else:  # another replica has fired it, or the schedule has changed
                run.taken += 1
            if answer == "refused" and _note(self._refused, known[item.name]):
                logger.error("schedule_refused", schedule=item.name, tick=item.tick_ms, error=refused_as)

    def _went_on(self, item: Firing, answer: str, schedule: Schedule, now_ms: int) -> None:
        metrics = self._metrics
        if answer == "pending":
            self._look_in(WAIT_SECONDS * self._broker.shards.count)
        if item.due_ms >= 0:
            self.expect(item.due_ms - now_ms)
        if answer == "there":
            return
        if answer != "missed":
            metrics.schedule_ticks.add((answer,))
        if item.missed:
            metrics.schedule_ticks.add(("missed",), item.missed)
        if answer == "fired" and isinstance(item.job, NewJob):
            metrics.enqueued.add((item.job.queue,))
            if item.kind == "tick":
                due_ms = schedule.due_ms if item.tick_ms == schedule.next_ms else item.tick_ms
                metrics.schedule_lag.observe(max(0, now_ms - due_ms) / 1000)


def _note(noted: dict[str, str], schedule: Schedule) -> bool:
    """Note that a schedule has this fault. Return whether that is new since the schedule was put."""
    if noted.get(schedule.name) == schedule.mark:
        return False
    if len(noted) >= MAX_NOTED:
        noted.clear()
    noted[schedule.name] = schedule.mark
    return True
