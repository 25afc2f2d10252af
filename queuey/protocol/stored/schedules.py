"""The text of `schedule:<name>` and the lines of `runs:<name>`; docs/protocol.md lists the letters of the header.

The record is a header line of `letter=value` fields, the pause as JSON on one line, and the spec as JSON. The scripts
read neither JSON.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from queuey.protocol.records import parse_fields

RUNS_KEPT: Final = 50
"""The maximum number of lines of a history. As in lua/include/schedules.lua, which cuts it a little later."""
_HEAD = re.compile(r"[A-Za-z]=[\w.:-]+( [A-Za-z]=[\w.:-]+)*", re.ASCII)
_NUMBERS: Final = "vacmndtpP"
_NUMBER = re.compile(r"\d{1,16}")
_RUN = re.compile(r"\d{1,16} \d{1,16} [a-z]+ [a-z_]+ (-|[0-9A-Z]{28}) \d{1,16}", re.ASCII)


class Schedule(Struct, frozen=True, kw_only=True):
    """A schedule as it is stored. Times are in ms, -1 = none."""

    name: str
    uid: str
    version: int
    anchor_ms: int
    """The time from which the ticks of an interval are counted. It stays when the schedule is replaced."""
    created_ms: int
    replaced_ms: int
    next_ms: int
    """The next tick. A schedule without one has ended."""
    due_ms: int
    """The time at which the next tick is fired, which is later by its jitter."""
    last_tick_ms: int
    """The last tick that was decided, whether or not it has a job."""
    last_job: str
    """The id of the last job, '' = none."""
    pending_ms: int
    """The tick that waits for the end of the last job."""
    pending_job: str
    pending_kind: str
    paused_ms: int
    pause: str
    """The reason and the like, as JSON, if it is paused; '' = it is not."""
    spec: str

    @property
    def mark(self) -> str:
        """Return the mark of this version of the schedule. Each change of the spec gives it another one."""
        return f"{self.uid}.{self.version}"


class Run(Struct, frozen=True):
    """A line of a schedule's history. `job_id`: '' = none. `count`: how many ticks were missed, from this one on."""

    tick_ms: int
    at_ms: int
    kind: str
    outcome: str
    job_id: str
    count: int


def to_schedule(name: str, record: str) -> Schedule:
    """Return the schedule of a record."""
    head, pause, spec = record.split("\n", 2)
    fields = parse_fields(head)

    def number(letter: str) -> int:
        return int(fields.get(letter, -1))

    return Schedule(
        name=name,
        uid=fields["u"],
        version=number("v"),
        anchor_ms=number("a"),
        created_ms=number("c"),
        replaced_ms=number("m"),
        next_ms=number("n"),
        due_ms=number("d") if "d" in fields else number("n"),
        last_tick_ms=number("t"),
        last_job=fields.get("j", ""),
        pending_ms=number("p"),
        pending_job=fields.get("i", ""),
        pending_kind=fields.get("k", ""),
        paused_ms=number("P"),
        pause=pause,
        spec=spec,
    )


def to_run(line: str) -> Run:
    """Return the run of a line."""
    tick, at, kind, outcome, job_id, count = line.split(" ")
    return Run(int(tick), int(at), kind, outcome, "" if job_id == "-" else job_id, int(count))


def is_record(text: str) -> bool:
    """Return whether a text is the record of a schedule, as the scripts write it."""
    head, _, rest = text.partition("\n")
    fields = parse_fields(head)
    return (
        _HEAD.fullmatch(head) is not None
        and {"u", "v", "a"} <= fields.keys()
        and ("d" not in fields or "n" in fields)
        and ("p" in fields) == ("i" in fields) == ("k" in fields)
        and all(_NUMBER.fullmatch(fields[letter]) for letter in _NUMBERS if letter in fields)
        and "\n" in rest
    )


def is_run(line: str) -> bool:
    """Return whether a text is a line of a history, as the scripts write it."""
    return _RUN.fullmatch(line) is not None
