"""What the routes of pull workers take and give."""

from __future__ import annotations

from typing import Any, Final

from queuey.api.http.operations import Operation
from queuey.api.openapi.samples import JOB_ID, LEASED
from queuey.errors import Full, LostLease, NotFound
from queuey.protocol.models import (
    CompleteBatch,
    CompleteItem,
    ExtendBatch,
    ExtendItem,
    FailBatch,
    FailItem,
    LeaseOutcome,
    LeaseOutcomes,
    LeaseReply,
    LeaseRequest,
    ReleaseBatch,
    ReleaseItem,
)

_GROUP: Final = "Pull workers"
_HELD: Final = {"id": JOB_ID, "token": "1.J9TQ2M7RXKD4"}
_SAMPLE: Final = {"id": _HELD["id"], "status": "ok"}
_ALONE_OR_MANY: Final = (
    "Takes one job, or up to 500 as `jobs`, each of which has an outcome of its own. May be sent again: the same token "
    "gets the same answer."
)


def _outcome(name: str, summary: str, item: type, batch: type, **more: Any) -> Operation:
    return Operation(
        name,
        summary,
        {200: (LeaseOutcome, LeaseOutcomes)},
        description=_ALONE_OR_MANY,
        body=(item, batch),
        example=_HELD | more,
        sample=_SAMPLE | ({"status": "retry"} if item is FailItem else {}),
        errors=(LostLease, NotFound),
        group=_GROUP,
    )


LEASE: Final = Operation(
    "lease_jobs",
    "Take jobs for a time, and wait for the first if there is none",
    {200: LeaseReply},
    description="The same `claim_id` again, within the lease, brings the same jobs. The list is empty when none came.",
    body=LeaseRequest,
    example={"queues": ["default"], "max": 10, "lease": 30, "wait": 0},
    sample=LEASED,
    errors=(Full,),
    group=_GROUP,
)
COMPLETE: Final = _outcome("complete_leases", "Tell that jobs are done", CompleteItem, CompleteBatch, result={"n": 49})
FAIL: Final = _outcome("fail_leases", "Tell that attempts have failed", FailItem, FailBatch, error="no connection")
EXTEND: Final = _outcome("extend_leases", "Keep jobs for longer", ExtendItem, ExtendBatch, lease=30)
RELEASE: Final = _outcome("release_leases", "Give jobs back, with no attempt spent", ReleaseItem, ReleaseBatch)
