"""The moves of jobs: which answer of a script means that a job has a new status, which is then an event.

Each script that touches the state or the place of a job has an entry in MOVES, or in UNREPORTED with the reason.
tests/contracts/test_moves.py checks that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from queuey.protocol.models import Status

Answers = Mapping[str, Status | None]
"""The new status by status word, or by the field of the reply that has the jobs. None: the answer does not say which
status the job has now, so it is looked up."""

_FAILED: Final[Answers] = {"retry": "scheduled", "dead": "dead_letter", "cancelled": "cancelled"}

MOVES: Final[Mapping[str, Answers]] = {
    "enqueue": {"new": "queued"},
    "add_items": {"opened": "scheduled"},
    "claim": {"jobs": "running", "promoted": "queued", "expired": "cancelled"},
    "claim_typed": {"jobs": "running", "promoted": "queued", "expired": "cancelled"},
    "complete": {"ok": "succeeded"},
    "fail": {**_FAILED, "snoozed": "scheduled"},
    "release": {"ok": None},
    "cancel": {"cancelled": "cancelled"},
    "fire": {"fired": "queued"},
    "run_now": {"ok": "queued"},
    "replay": {"ok": None},
    "reap": {**_FAILED, "suspect": "queued"},
    "promote": {"ids": "queued"},
    "purge": {"ids": "cancelled"},
    "bury_unknown": {"dead": "dead_letter", "expired": "cancelled"},
}
"""The moves by script. `enqueue` and `fire` report `scheduled` for a job that is not due yet, and `replay` reports
`queued` if it was called without delays: then no look-up is needed."""

NO_MOVE: Final[Mapping[str, frozenset[str]]] = {
    "enqueue": frozenset(
        {"duplicate", "full", "too_many_queues", "rejected", "replaced", "follows", "differs", "closed"}
    ),
    "add_items": frozenset({"added", "there", "full", "too_many_queues"}),
    "complete": frozenset({"lost"}),
    "fail": frozenset({"lost"}),
    "release": frozenset({"lost"}),
    "cancel": frozenset({"cancelling", "finished", "missing"}),
    "fire": frozenset(
        {"skipped", "pending", "missed", "refused", "moved", "there", "full", "too_many_queues"}
        | {"missing", "conflict", "paused", "taken", "early", "not_later"}
    ),
    "run_now": frozenset({"not_scheduled", "missing"}),
    "replay": frozenset({"duplicate", "missing"}),
    "reap": frozenset({"orphan"}),
}
"""The other status words of the scripts in MOVES. With these, the job keeps its status."""

UNREPORTED: Final[Mapping[str, str]] = {
    "checkpoint": "the job keeps running, with a value for its next attempt",
    "delete": "the record is deleted, with the status",
    "extend": "the job keeps running",
    "keep_log": "the job keeps its status, and has lines that it has logged",
    "progress": "the job keeps running; the publisher has events of its own for progress",
    "reorder": "the job keeps waiting, at another place of its lane",
    "restore": "an imported job has the status that it had",
    "set_payload": "the job stays dead",
    "trim": "the record is deleted, with the status",
    "watch_end": "the job keeps its status and is marked",
}
"""The scripts that touch the state or the place of a job and report no move, each with the reason."""
