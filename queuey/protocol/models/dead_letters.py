"""The requests and answers about the dead-letter queue."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from queuey.protocol.models.jobs import Job, Name, Seconds

Fingerprint = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
DeadLimit = Annotated[int, Meta(ge=1, le=10_000)]
Rate = Annotated[float, Meta(ge=0.01, le=100_000)]


class DeadLetter(Job, kw_only=True):
    """A job of `GET /v1/dlq`. Jobs of one type with the same error have the same `fingerprint`."""

    fingerprint: str


class DeadPage(Struct):
    """The answer to `GET /v1/dlq`, longest dead first. `next` is the cursor of the next page, null on the last."""

    jobs: list[DeadLetter]
    next: str | None


class DeadGroup(Struct):
    """The dead jobs of one fingerprint. `message` and `example`, a job id, belong to the job that died last."""

    fingerprint: str
    type: str
    kind: str
    message: str
    count: int
    oldest: datetime
    newest: datetime
    example: str


class DeadGroups(Struct):
    """The answer to `GET /v1/dlq/groups`, largest first.

    `looked_at` is the number of dead jobs that were counted. `complete` means that all were counted and all groups are
    listed.
    """

    groups: list[DeadGroup]
    looked_at: int
    complete: bool


class DeleteDead(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/dlq/delete`: filters for dead jobs.

    A missing filter matches all. null is refused, so that a value that got lost cannot match all. Ages are in seconds.
    """

    queue: Name | UnsetType = UNSET
    type: Name | UnsetType = UNSET
    fingerprint: Fingerprint | UnsetType = UNSET
    older_than: Seconds | UnsetType = UNSET
    younger_than: Seconds | UnsetType = UNSET
    limit: DeadLimit = 1000
    dry_run: bool = False


class ReplayDead(DeleteDead, forbid_unknown_fields=True):
    """The body of `POST /v1/dlq/replay`. `rate` is the number of jobs a second. Without it all become due at once.

    `rate` does not filter, and null counts as missing: clients of older releases send it.
    """

    rate: Rate | None = None


class DeadReply(Struct):
    """The number of jobs that matched, and of those that were replayed or deleted.

    `more` means that a bound was reached and more jobs may match. A job whose dedupe key is held by another job is
    not replayed.
    """

    matched: int
    done: int
    dry_run: bool
    more: bool


class EditReply(Struct):
    """The answer to `PUT /v1/jobs/{id}/payload`."""

    job_id: str
    status: Literal["dead_letter", "queued"]


class ReplayReply(Struct):
    """The answer to `POST /v1/replay-dlq`: the number of jobs that were replayed."""

    requeued: int
