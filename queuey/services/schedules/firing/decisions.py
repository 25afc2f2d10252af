"""The decisions about the due ticks of a schedule, made only from its record and the time of the store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from queuey.errors import QueueyError, RequestError
from queuey.protocol import ids
from queuey.protocol.records import NewJob
from queuey.protocol.stored.schedules import Schedule
from queuey.services.jobs.submission import Submission
from queuey.services.schedules.firing.catching_up import due_ticks
from queuey.services.schedules.specs import Spec, job_for, read_spec
from queuey.services.schedules.ticks import Ticks
from queuey.services.times import to_ms
from queuey.store.broker.schedules import Firing, Refused

NONE: Final = -1
"""No tick."""


class Decision(NamedTuple):
    """A tick to fire. `refused_as`: why its job may not be made, if the job is refused."""

    firing: Firing
    refused_as: str = ""


class Unreadable(Exception):
    """This version of Queuey cannot read a schedule, or not find its ticks."""


def read(schedule: Schedule) -> tuple[Spec, Ticks]:
    """Return the spec of a schedule, and its ticks. Raises Unreadable."""
    try:
        spec = read_spec(schedule.spec)
        return spec, Ticks(spec, schedule.anchor_ms)
    except QueueyError as error:
        raise Unreadable(error.message) from error


class Decider:
    """Decides about due ticks. It does no I/O, and any replica decides the same."""

    def __init__(self, submission: Submission) -> None:
        self._submission = submission

    def on_tick(self, schedule: Schedule, now_ms: int) -> Iterator[Decision]:
        """Yield the decisions about a schedule whose next tick is due, in order: one for each tick that is fired.

        Raises Unreadable, but not after the first one.
        """
        spec, ticks = read(schedule)
        window_ms = to_ms(spec.catch_up_window)
        turn = due_ticks(ticks, schedule.uid, schedule.next_ms, now_ms, spec.catch_up, window_ms)
        name, mark, expected = schedule.name, schedule.mark, schedule.next_ms
        for place, tick in enumerate(turn.fired or [turn.last]):
            is_last = tick == turn.last
            following = turn.next if is_last else turn.fired[place + 1]
            due_ms = ticks.due(schedule.uid, following) if is_last and following is not None else NONE
            next_ms = NONE if following is None else following
            job, why = None, ""
            if turn.fired:
                job, why = self._job(schedule, spec, tick, ids.of_tick(name, schedule.uid, tick))
            missed = 0 if place else turn.missed
            firing = Firing(name, mark, "tick", tick, expected, next_ms, due_ms, spec.overlap, missed, job)
            yield Decision(firing, why)
            expected = next_ms

    def on_end(self, schedule: Schedule) -> Decision:
        """Decide about the tick that waits for the end of the last job, which has ended. Raises Unreadable."""
        spec, _ = read(schedule)
        tick = schedule.pending_ms
        job, why = self._job(schedule, spec, tick, schedule.pending_job)
        name, mark = schedule.name, schedule.mark
        return Decision(Firing(name, mark, "pending", tick, tick, NONE, NONE, spec.overlap, 0, job), why)

    def _job(self, schedule: Schedule, spec: Spec, tick_ms: int, job_id: str) -> tuple[NewJob | Refused, str]:
        """Return the job of a tick, or why it may not be made: the settings or the type have changed since the put."""
        payload = bytes(spec.job.payload)
        try:
            self._submission.check_size(payload)
            self._submission.check_fit(spec.job.type, payload)
            return job_for(schedule.name, spec, job_id, tick_ms, self._submission), ""
        except RequestError as error:
            return "refused", error.message
