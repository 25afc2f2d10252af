"""The keys of schedules, read back. What must hold of them among themselves is checked on the way."""

from __future__ import annotations

from typing import Any

from queuey.protocol.stored.schedules import is_record, is_run, to_run, to_schedule
from tests.properties.model.contents import Line, Planned

MOST_RUNS = 60


def read_schedules(own: dict[str, Any]) -> dict[str, Planned]:
    """The schedules of a shard by name. `own`: its keys without their base."""
    found = {name[9:]: _read(name[9:], text, own) for name, text in own.items() if name.startswith("schedule:")}
    histories = {name[5:] for name in own if name.startswith("runs:")}
    assert histories <= found.keys(), f"{histories - found.keys()} have runs, and are gone"
    assert own.get("schedule_names", {}) == dict.fromkeys(found, 0)
    ticks = {name: plan.due for name, plan in found.items() if not plan.pause and plan.next >= 0}
    assert own.get("ticks", {}) == ticks, "ticks has those that are neither paused nor ended"
    waiting = {name: 0 for name, plan in found.items() if not plan.pause and plan.pending}
    assert own.get("waiting_ticks", {}) == waiting, "waiting_ticks has those with a tick that waits"
    return found


def _read(name: str, text: str, own: dict[str, Any]) -> Planned:
    assert is_record(text), f"{name} is {text}"
    stored = to_schedule(name, text)
    assert (stored.pause == "") == (stored.paused_ms == -1), text
    assert stored.due_ms >= stored.next_ms, text
    assert f"d={stored.next_ms}" not in text.partition("\n")[0].split(), "it is the tick itself"
    assert not stored.pause or stored.pending_ms == -1, f"{name} is paused, and a tick waits"
    return Planned(
        uid=stored.uid,
        version=stored.version,
        spec=stored.spec,
        created=stored.created_ms,
        anchor=stored.anchor_ms,
        next=stored.next_ms,
        due=stored.due_ms,
        replaced=stored.replaced_ms,
        last_tick=stored.last_tick_ms,
        last_job=stored.last_job,
        pending=(stored.pending_ms, stored.pending_job, stored.pending_kind) if stored.pending_job else None,
        pause=stored.pause,
        paused_at=stored.paused_ms,
        runs=_read_runs(own.get(f"runs:{name}", [])),
    )


def _read_runs(lines: list[str]) -> list[Line]:
    assert len(lines) <= MOST_RUNS, f"{len(lines)} runs"
    assert all(map(is_run, lines)), lines
    runs = [to_run(line) for line in lines[:50]]
    return [(run.tick_ms, run.at_ms, run.kind, run.outcome, run.job_id, run.count) for run in runs]
