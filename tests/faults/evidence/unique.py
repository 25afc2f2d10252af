"""Of a unique key, at most one job is unfinished: those of the load hold their key until they have finished."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from tests.faults.store.view import StoredJob

if TYPE_CHECKING:
    from tests.faults.evidence.invariants import Evidence


def one_unfinished_job_per_key(evidence: Evidence) -> Iterator[str]:
    """Each was made after the end of the one before, so no two run at once."""
    by_key: dict[str, list[tuple[int, str, StoredJob]]] = defaultdict(list)
    for job_id, job, stored in evidence.pairs():
        if job.unique_key:
            by_key[job.unique_key].append((stored.created_at, job_id, stored))
    for key, holders in by_key.items() if not evidence.clock_moved else ():
        for (_, one, before), (created, other, _) in pairwise(sorted(holders, key=lambda holder: holder[:2])):
            finished = before.number("f")
            if created < finished and not before.state.get("y"):  # when it was free before a replay is not known
                yield f"{other} was made at {created} with the unique key {key!r}, which {one} held until {finished}"
