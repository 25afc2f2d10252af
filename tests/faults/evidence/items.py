"""Items of batches: none that was acknowledged is lost, and none is in two jobs.

Their jobs are made by the store, so no client knows their ids before. The result of such a job has the items that its
handler got, so the store alone tells what has run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.faults.evidence.invariants import Evidence

REMEMBERED: Final = "i:"
"""What a key begins with that remembers the job of an item. It is no dedupe key of a job."""


def each_in_one_job(evidence: Evidence) -> Iterator[str]:
    """Each acknowledged item is in the job that the reply named, and in no other; its handler got all of them."""
    history, view = evidence.history, evidence.view
    where: dict[str, list[str]] = defaultdict(list)
    for job_id, job in view.jobs.items():
        for item in job.items or ():
            where[item].append(job_id)
        if job.items is not None and job.status == "succeeded" and (job.result or {}).get("items") != job.items:
            yield f"{job_id} succeeded with the items {(job.result or {}).get('items')}, and has {job.items}"
    for item, job_ids in where.items():
        if len(job_ids) > 1:
            yield f"the item {item} is in several jobs: {job_ids}"
        if item not in history.items:
            yield f"the item {item} is in {job_ids}, and no client made it"
        elif all(call.outcome == "fail" for call in history.items[item]):
            yield f"the item {item} is in {job_ids}, and its calls were refused"
    for item, calls in history.items.items():
        for call in calls:
            if call.answer is not None and call.answer.said and call.answer.said not in where[item]:
                yield f"the item {item} was acknowledged as one of {call.answer.said}, and is in {where[item]}"
