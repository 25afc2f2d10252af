"""Schedules as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, cast

import msgspec
from msgspec import UNSET, Struct

from queuey.protocol.models import (
    PreviewRequest,
    RunKind,
    RunOutcome,
    Schedule,
    ScheduleRun,
)
from queuey.protocol.records import from_ms
from queuey.protocol.stored.schedules import Run
from queuey.protocol.stored.schedules import Schedule as Stored
from queuey.services.schedules.specs import Spec
from queuey.services.schedules.ticks import HORIZON_MS, Ticks

SHOWN: Final = 5
"""The number of next ticks of one schedule."""


class Pause(Struct):
    """The pause of a schedule, as it is stored: the reason, and the name of the key that paused it."""

    reason: str = "no reason given"
    by: str = ""


class Kept(Struct, frozen=True):
    """A schedule as it is stored, with its spec, the queue of its jobs now, and its last runs, newest first.

    `now_ms`: the time of the store when it was read; 0 if it is of a list."""

    stored: Stored
    spec: Spec
    queue: str
    runs: Sequence[Run] = ()
    now_ms: int = 0


_pauses: Final = msgspec.json.Decoder(Pause).decode


def shown(kept: Kept, *, ticks: int = SHOWN, with_runs: bool = False) -> Schedule:
    """Return a schedule with at most `ticks` of its next ticks."""
    stored, spec = kept.stored, kept.spec
    is_active = not stored.pause and stored.next_ms >= 0
    pause = _pause(stored.pause)
    return Schedule(
        name=stored.name,
        status="paused" if stored.pause else "active" if is_active or stored.pending_ms >= 0 else "ended",
        detail=_detail(kept, pause),
        **{name: getattr(spec, name) for name in PreviewRequest.__struct_fields__},
        queue=kept.queue,
        next=_following(stored, spec, ticks) if is_active else [],
        due_at=from_ms(stored.due_ms) if is_active else None,
        last_tick=_time(stored.last_tick_ms),
        last_job_id=stored.last_job or None,
        waiting_tick=_time(stored.pending_ms),
        paused_at=_time(stored.paused_ms),
        paused_by=pause.by or None,
        pause_reason=pause.reason if stored.pause else None,
        created_at=from_ms(stored.created_ms),
        replaced_at=_time(stored.replaced_ms),
        version=stored.version,
        app=spec.app or None,
        runs=[_run(run) for run in kept.runs] if with_runs else UNSET,
    )


def _following(stored: Stored, spec: Spec, count: int) -> list[datetime]:
    ticks = [stored.next_ms]
    if count > 1:
        until_ms = stored.next_ms + HORIZON_MS
        ticks += Ticks(spec, stored.anchor_ms).between(stored.next_ms, until_ms, count - 1)
    return [from_ms(tick) for tick in ticks]


def _pause(text: str) -> Pause:
    try:
        return _pauses(text)
    except msgspec.DecodeError:  # it is not paused, or another program wrote the text
        return Pause()


def _detail(kept: Kept, pause: Pause) -> str:
    """Return what a schedule does now, and why."""
    stored = kept.stored
    if stored.pause:
        by = f" by {pause.by}" if pause.by else ""
        return f"It was paused{by} at {_text(stored.paused_ms)}: {pause.reason}. It has no ticks until it is resumed."
    if stored.pending_ms >= 0:
        return f"The tick of {_text(stored.pending_ms)} waits until the job {stored.last_job} has ended."
    if stored.next_ms < 0:
        return "It has ended: it has no further tick."
    when = f"It fires next at {_text(max(stored.due_ms, stored.next_ms))}."
    last = next((run for run in kept.runs if run.kind == "tick"), None)
    return f"{_LAST[last.outcome].format(_text(last.tick_ms))} {when}" if last and last.outcome in _LAST else when


_LAST: Final = {
    "skipped": "The tick of {} was skipped, since the job before it had not finished.",
    "missed": "The tick of {} was missed, since no server fired it in time.",
    "refused": "The tick of {} made no job, since the server refuses that job now: trigger it to see why.",
    "full": "The tick of {} waits, since the store has no room for new jobs.",
    "too_many_queues": "The tick of {} made no job, since it needs a new queue and the store has the maximum number.",
}


def _run(run: Run) -> ScheduleRun:
    return ScheduleRun(
        from_ms(run.tick_ms),
        from_ms(run.at_ms),
        cast(RunKind, run.kind),
        cast(RunOutcome, run.outcome),
        run.job_id or None,
        run.count,
    )


def _time(millis: int) -> datetime | None:
    return from_ms(millis) if millis >= 0 else None


def _text(millis: int) -> str:
    return f"{from_ms(millis):%Y-%m-%d %H:%M:%S}Z"
