"""Which answer of which script means that a job has a new status: what becomes an event.

Each script that writes a job's state stands here, or in UNREPORTED with the reason why not; a contract test holds that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from queuey.protocol.models import Status

Answers = Mapping[str, Status | None]
"""By status word. None: the word does not say which status the job has now; it is looked up."""

_FAILED: Final[Answers] = {"retry": "scheduled", "dead": "dead_letter", "cancelled": "cancelled"}

MOVES: Final[Mapping[str, Answers]] = {
    "enqueue": {"new": "queued"},
    "claim": {"claimed": "running"},
    "complete": {"ok": "succeeded"},
    "fail": _FAILED,
    "release": {"ok": None},
    "cancel": {"cancelled": "cancelled"},
    "run_now": {"ok": "queued"},
    "replay": {"ok": None},
    "reap": _FAILED,
}
"""By script. `enqueue` reports `scheduled` for a job that is not due yet; `claim` answers with the jobs alone."""
