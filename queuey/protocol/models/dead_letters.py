"""The dead-letter queue."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from queuey.protocol.models.jobs import Job, Name, Seconds

Fingerprint = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
DeadLimit = Annotated[int, Meta(ge=1, le=10_000)]
Rate = Annotated[float, Meta(ge=0.01, le=100_000)]


class DeadLetter(Job, kw_only=True):
    """A job of `GET /v1/dlq`. Those that died of the same have one `fingerprint`."""

    fingerprint: str


class DeadPage(Struct):
    """The answer to `GET /v1/dlq`: the longest dead first. `next`: the cursor of the next page; None: the last."""

    jobs: list[DeadLetter]
    next: str | None


class DeadGroup(Struct):
    """Dead jobs of one fingerprint. `message` and `example`, a job's id, are those of the one that died last."""

    fingerprint: str
    type: str
    kind: str
    message: str
    count: int
    oldest: datetime
    newest: datetime
    example: str


class DeadGroups(Struct):
    """The answer to `GET /v1/dlq/groups`: the largest first. `looked_at`: how many dead jobs were; `complete`: that was
    all of them, and no group was left out."""

    groups: list[DeadGroup]
    looked_at: int
    complete: bool


class DeleteDead(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/dlq/delete`: which dead jobs. What is not given may be anything. Ages are in seconds."""

    queue: Name | None = None
    type: Name | None = None
    fingerprint: Fingerprint | None = None
    older_than: Seconds | None = None
    younger_than: Seconds | None = None
    limit: DeadLimit = 1000
    dry_run: bool = False


class ReplayDead(DeleteDead, forbid_unknown_fields=True):
    """The body of `POST /v1/dlq/replay`. `rate`: at most so many jobs a second are due; None: all at once."""

    rate: Rate | None = None


class DeadReply(Struct):
    """What became of it: how many jobs fit, how many were replayed or deleted, and whether there may be `more` behind
    a bound. A job whose dedupe key another job holds is not replayed."""

    matched: int
    done: int
    dry_run: bool
    more: bool


class EditReply(Struct):
    """The answer to another payload for a dead job."""

    job_id: str
    status: Literal["dead_letter", "queued"]


class ReplayReply(Struct):
    """The answer to `POST /v1/replay-dlq`."""

    requeued: int
