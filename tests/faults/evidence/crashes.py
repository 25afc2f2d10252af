"""What crashes may come to: a poison job is proven by one death that nothing else can have caused.

A job with two crashes is a suspect. A replica runs it in a child process of its own, whose death proves it. A pull
worker runs it while it holds nothing else, and then a third crash proves it.
"""

from __future__ import annotations

from typing import Final

from queuey.protocol.records import MAX_CRASHES, SUSPECT
from tests.faults.evidence.history import JobHistory
from tests.faults.evidence.ledger import NO_PROCESS
from tests.faults.store.view import StoredJob

MOST: Final = MAX_CRASHES
"""A job with this many crashes is dead, proven or not."""
PROVEN: Final = 3
"""A job with this many crashes is dead if a worker that held nothing else crashed last. As in lua/include/state.lua."""
LAPSED: Final = "lease_lapsed"
DIED: Final = "worker_died"


def may_be_dead(job: JobHistory, stored: StoredJob) -> bool:
    """Whether a job may be dead by its crashes. A job that does not kill its process is never proven in a child."""
    crashes, last = stored.number("x"), stored.kinds[-1:]
    if last == [DIED]:
        return crashes >= SUSPECT and job.deed.kill
    claim = stored.number("n")
    is_pulled = not any(start.claim == claim and start.pid != NO_PROCESS for start in job.starts)
    return last == [LAPSED] and crashes >= (PROVEN if is_pulled else MOST)


def was_spared(stored: StoredJob) -> bool:
    """Whether a suspect went on though the death of its child process had proven it, and nobody has replayed it."""
    if stored.state.get("y") or DIED not in stored.kinds:
        return False
    lapsed = 0
    for place, kind in enumerate(stored.kinds, 1):
        lapsed += kind == LAPSED
        if kind == DIED and lapsed >= SUSPECT:
            return place < len(stored.kinds) or stored.status not in ("dead_letter", "cancelled")
    return False
