"""The requests and the answer of actions on all jobs that match."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from queuey.protocol.models.dead_letters import DeadLimit
from queuey.protocol.models.jobs import JobId, Name, Seconds
from queuey.protocol.models.labels import Tag

MAX_IDS: Final = 1000
MAX_SEARCHED: Final = 200
"""The maximum number of characters of a text that is searched for."""
Text = Annotated[str, Meta(min_length=1, max_length=MAX_SEARCHED)]
Time = Annotated[datetime, Meta(tz=True)]


class Matching(Struct, forbid_unknown_fields=True):
    """The jobs that an action is for: those with these ids, those that match the filters, or those that do both.

    `all` is needed where there is neither. null is refused, so that a value that got lost cannot match all. Ages are in
    seconds since a job was created. `q` is a text in the id, type, payload or an error, `error` one in an error.
    `cursor` is the `next` of the answer before.
    """

    ids: Annotated[list[JobId], Meta(min_length=1, max_length=MAX_IDS)] | UnsetType = UNSET
    queue: Name | UnsetType = UNSET
    type: Name | UnsetType = UNSET
    tag: Tag | UnsetType = UNSET
    dedupe_key: Annotated[str, Meta(min_length=1, max_length=256)] | UnsetType = UNSET
    older_than: Seconds | UnsetType = UNSET
    younger_than: Seconds | UnsetType = UNSET
    q: Text | UnsetType = UNSET
    error: Text | UnsetType = UNSET
    all: bool = False
    limit: DeadLimit = 1000
    cursor: Annotated[str, Meta(min_length=1, max_length=1024)] | UnsetType = UNSET
    dry_run: bool = False


class CancelJobs(Matching, forbid_unknown_fields=True):
    """The body of `POST /v1/jobs/cancel`. Without a status it is for all jobs that have not finished."""

    status: Literal["queued", "scheduled", "running"] | UnsetType = UNSET


class RetryJobs(Matching, forbid_unknown_fields=True):
    """The body of `POST /v1/jobs/retry`. Without ids and a status it is for dead jobs."""

    status: Literal["dead_letter", "scheduled"] | UnsetType = UNSET
    finished_after: Time | UnsetType = UNSET
    finished_before: Time | UnsetType = UNSET


class DeleteJobs(Matching, forbid_unknown_fields=True):
    """The body of `POST /v1/jobs/delete`. Without a status it is for all finished jobs."""

    status: Literal["succeeded", "cancelled", "dead_letter"] | UnsetType = UNSET
    finished_after: Time | UnsetType = UNSET
    finished_before: Time | UnsetType = UNSET


class MatchReply(Struct):
    """The number of jobs that matched, of those that were changed, and of the others that were asked for.

    `more` means that a bound was reached, and more jobs may match: `next` is the cursor of the next request. It is null
    for ids, which are sent again instead.
    """

    matched: int
    done: int
    skipped: int
    dry_run: bool
    more: bool
    next: str | None
