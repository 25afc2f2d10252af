"""Keeping schedules: put, find, list, delete, pause and resume them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from queuey.errors import (
    Conflict,
    Invalid,
    NotFound,
    ParameterFault,
    StoreUnavailable,
    UpgradeInProgress,
)
from queuey.protocol import ids
from queuey.protocol.models import SCHEDULE_RULE, ScheduleRequest
from queuey.protocol.stored.schedules import RUNS_KEPT, to_run, to_schedule
from queuey.protocol.stored.schedules import Schedule as Stored
from queuey.services.jobs.producer import Producer
from queuey.services.jobs.submission import Submission
from queuey.services.schedules.reading import check_fires, is_name
from queuey.services.schedules.specs import queue_of, read_spec, to_text
from queuey.services.schedules.ticks import Ticks
from queuey.services.schedules.views import Kept, Pause
from queuey.store.broker.broker import Broker
from queuey.store.broker.schedules import NewSchedule, Pausing, ScheduleCalls
from queuey.store.deadline import Deadline, outcome

MAX_TRIES: Final = 10
"""The number of times that a change is tried while other requests change the same schedule."""
MAX_SCHEDULES: Final = 10_000
"""The maximum number of schedules of a shard. As in lua/include/schedules.lua."""
NONE: Final = -1
"""No tick."""
RESERVED: Final = "preview"
"""A name that is a path of the API."""

Guard = Callable[[str], None]
"""Raises if the caller may not change a schedule whose jobs go to this queue."""
Condition = Callable[[str], None]
"""Raises if the schedule may not be changed while it has this mark; '' = there is none."""
Owner = Callable[[str], None]
"""Raises if a schedule that this App declares must stay as it is; '' = it was put over HTTP."""
Result = TypeVar("Result")


class Put(Struct, frozen=True):
    """The outcome of a put. `is_new`: there was no schedule of this name. `changed`: it is not as it was before."""

    kept: Kept
    is_new: bool
    changed: bool


def anyone(queue: str) -> None:
    """Allow the change, whichever queue it is about."""


def any_owner(app: str) -> None:
    """Allow the change, whichever App declares it."""


def any_version(mark: str) -> None:
    """Allow the change, whatever there is."""


def unknown_schedule(name: str) -> NotFound:
    """Return the error for a schedule that does not exist, or that the caller may not see."""
    return NotFound(f"There is no schedule {name[:128]!r}.")


def check_name(name: str) -> None:
    """Check the name of a new schedule. Raises Invalid."""
    if not is_name(name):
        raise _bad_name(f"must be {SCHEDULE_RULE}")
    if name == RESERVED:
        raise _bad_name(f"must not be {RESERVED}, which is a path of the API; use another name")


class Schedules:
    """The schedules of a store.

    `producer` says how many replicas of the store must have a change before it counts as made, and has the Broker for
    calls that wait for them. Without it, no change waits. `clock` returns the time in ms; 0 = that of the store, so
    that the clocks of servers do not matter.
    """

    def __init__(
        self,
        broker: Broker,
        submission: Submission,
        clock: Callable[[], int] = lambda: 0,
        producer: Producer | None = None,
    ) -> None:
        self.broker = broker
        self.submission = submission
        self.clock = clock
        self._producer = producer

    @property
    def copies(self) -> int:
        """Number of replicas of the store that must have a change."""
        return self._producer.copies if self._producer else 0

    @property
    def changes(self) -> ScheduleCalls:
        """The calls for `change`."""
        return (self._producer or self).broker.schedules

    async def find(self, name: str, deadline: Deadline, *, runs: int = RUNS_KEPT) -> Kept:
        """Return a schedule with its last runs. Raises NotFound, UpgradeInProgress or StoreUnavailable."""
        _, found = await self._load(name, deadline, runs) if is_name(name) else (0, None)
        if found is None:
            raise unknown_schedule(name)
        return found

    async def put(
        self,
        name: str,
        request: ScheduleRequest,
        deadline: Deadline,
        *,
        app: str = "",
        guard: Guard = anyone,
        owner: Owner = any_owner,
        condition: Condition = any_version,
    ) -> Put:
        """Make a schedule, or replace the one of this name. `request` was checked by ScheduleReader.

        `app`: the App whose code declares it. `guard` is called with the queue of the schedule that would be replaced,
        `owner` with the App that declares it, and `condition` with its mark. The last one of several calls wins: a
        schedule that changed meanwhile is read and replaced again. If it is as wanted already, nothing is changed, and
        `condition` is not asked; but it waits for replicas, since an earlier call may not have.

        Raises Invalid, Conflict, UpgradeInProgress, Full, StoreUnavailable or OutcomeUnknown, and what the functions
        raise.
        """
        check_name(name)
        text = to_text(request, app)
        for _ in range(MAX_TRIES):
            now_ms, there = await self._load(name, deadline)
            if there is not None:
                guard(there.queue)
                owner(there.spec.app)
            if there is not None and there.stored.spec == text:
                if not self.copies:
                    return Put(there, is_new=False, changed=False)
                item = NewSchedule(name, there.stored.uid, there.stored.mark, there.stored.anchor_ms, NONE, NONE, text)
            else:
                condition(there.stored.mark if there else "")
                item = _item(name, request, text, there, now_ms)
            word = await self._try_put(item, deadline)
            if word != "conflict":
                return Put(await self.find(name, deadline, runs=0), is_new=word == "new", changed=word != "same")
        raise _busy(name)

    async def delete(
        self,
        name: str,
        deadline: Deadline,
        guard: Guard = anyone,
        condition: Condition = any_version,
        owner: Owner = any_owner,
    ) -> None:
        """Delete a schedule with its history. Its jobs stay. Raises NotFound, Conflict, and the same as `put`."""
        for _ in range(MAX_TRIES):
            try:
                there = await self._guarded(name, deadline, guard, condition)
            except NotFound:
                if self.copies and is_name(name):  # an earlier call may have deleted it without waiting for replicas
                    await self.change(self.changes.delete_schedules, name, [(name, "")], deadline)
                raise
            owner(there.spec.app)
            item = (name, there.stored.mark)
            (word,) = await self.change(self.changes.delete_schedules, name, [item], deadline)
            if word != "conflict":  # or it is missing by now, maybe since an answer was lost
                return
        raise _busy(name)

    async def pause(self, name: str, pause: Pause, deadline: Deadline, guard: Guard = anyone) -> Kept:
        """Pause a schedule. It has no ticks until it is resumed. Raises NotFound, Conflict, and the same as `put`."""
        text = msgspec.json.encode(pause).decode()
        return await self._set_paused(name, lambda there: Pausing(name, there.stored.mark, text), deadline, guard)

    async def resume(self, name: str, deadline: Deadline, guard: Guard = anyone) -> Kept:
        """Resume a schedule with its first tick from now on. Raises NotFound, Conflict, and the same as `put`."""

        def resuming(there: Kept) -> Pausing:
            stored = there.stored
            ticks = Ticks(there.spec, stored.anchor_ms)
            next_ms = ticks.after(there.now_ms)
            if next_ms is None:
                return Pausing(name, stored.mark, "")
            return Pausing(name, stored.mark, "", next_ms, ticks.due(stored.uid, next_ms))

        return await self._set_paused(name, resuming, deadline, guard)

    async def _set_paused(
        self, name: str, pausing: Callable[[Kept], Pausing], deadline: Deadline, guard: Guard
    ) -> Kept:
        for _ in range(MAX_TRIES):
            item = pausing(await self._guarded(name, deadline, guard))
            (word,) = await self.change(self.changes.set_paused, name, [item], deadline)
            if word == "missing":
                raise unknown_schedule(name)
            if word != "conflict":
                return await self.find(name, deadline)
        raise _busy(name)

    async def _guarded(self, name: str, deadline: Deadline, guard: Guard, condition: Condition = any_version) -> Kept:
        there = await self.find(name, deadline, runs=0)
        guard(there.queue)
        condition(there.stored.mark)
        return there

    async def _load(self, name: str, deadline: Deadline, runs: int = 0) -> tuple[int, Kept | None]:
        """Return the time in ms, and the schedule if there is one."""
        shard = self.broker.shards.of_schedule(name)
        now_ms, ((record, lines),) = await deadline.call(
            self.broker.schedules.get_schedules, shard, [name], runs, now=self.clock()
        )
        return now_ms, self.kept(to_schedule(name, record), lines, now_ms) if record else None

    def kept(self, stored: Stored, lines: Sequence[str] = (), now_ms: int = 0) -> Kept:
        """Return a schedule with its spec and the queue of its jobs. `lines`: of its history."""
        spec = read_spec(stored.spec)
        return Kept(stored, spec, queue_of(spec, self.submission), [to_run(line) for line in lines], now_ms)

    async def change(
        self,
        send: Callable[..., Awaitable[Result]],
        name: str,
        items: Sequence[object],
        deadline: Deadline,
        **given: bool,
    ) -> Result:
        """Return the reply of a call of `changes`, once as many replicas of the store have the change as they must.

        Raises OutcomeUnknown if the change may have been made.
        """
        shard = self.broker.shards.of_schedule(name)
        try:
            return await deadline.call(partial(send, **given, copies=self.copies), shard, items)
        except StoreUnavailable as error:
            raise outcome(error, []) from error

    async def _try_put(self, item: NewSchedule, deadline: Deadline) -> str:
        """Put the schedule unless another one is there by now. Returns `new`, `replaced`, `same` or `conflict`."""
        ((word, _),) = await self.change(self.changes.put_schedules, item.name, [item], deadline)
        if word == "closed":
            raise UpgradeInProgress(
                "Servers of an older version, which know no schedules, use this store too. Stop them, and try again "
                "about a minute later."
            )
        if word == "too_many":
            raise _bad_name(
                f"would be a new schedule, and its shard has {MAX_SCHEDULES:,} already; delete some, or use more shards"
            )
        return word


def _item(name: str, request: ScheduleRequest, text: str, there: Kept | None, now_ms: int) -> NewSchedule:
    """Return the schedule to put with its first tick from now on. Raises Invalid if there is none."""
    uid, mark, anchor_ms = ids.short_random(), "", now_ms
    if there is not None:
        uid, mark, anchor_ms = there.stored.uid, there.stored.mark, there.stored.anchor_ms
    ticks = Ticks(request, anchor_ms)
    next_ms = ticks.after(now_ms)
    check_fires(request, next_ms)
    assert next_ms is not None
    return NewSchedule(name, uid, mark, anchor_ms, next_ms, ticks.due(uid, next_ms), text)


def _bad_name(detail: str) -> Invalid:
    return Invalid(f"The name of the schedule {detail}.", [ParameterFault("name", detail)])


def _busy(name: str) -> Conflict:
    return Conflict(f"Other requests change the schedule {name} all the time. Send the request again.")
