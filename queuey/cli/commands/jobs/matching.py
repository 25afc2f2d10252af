"""The filters of `queuey job`, and its actions on all jobs that match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Group, Parameter

from queuey.cli.exits import OK, USAGE, explain
from queuey.cli.options import JobType, Queue, Server, count, duration, switch
from queuey.cli.output import Format, show
from queuey.cli.progress import progress
from queuey.errors import SettingsError
from queuey.protocol.models import MatchReply, Status

if TYPE_CHECKING:
    from queuey.client import Client

MOST: Final = 1_000_000
JOBS_PER_CALL: Final = 1000
"""The number of jobs in one request. It is small, so that the bar moves and an interrupt stops the command."""
JOBS_PER_DRY_RUN: Final = 10_000
WHICH: Final = Group("Which jobs", sort_key=1)

SomeIds = Annotated[list[str] | None, Parameter(metavar="ID", help="Job ids.", negative=())]
AllJobs = Annotated[bool, Parameter(name="--all", negative=(), show_default=False, help="All jobs, without a filter.")]
Limit = Annotated[int, count("Maximum number of jobs that match.", MOST)]
DryRun = Annotated[bool, switch("Only count the matching jobs.")]


@Parameter(name="*", group=WHICH)
@dataclass(frozen=True)
class Which:
    """The filters of cancel."""

    queue: Queue = None
    status: Annotated[Status | None, Parameter(help="Only jobs with this status.")] = None
    type: JobType = None
    tag: Annotated[str | None, Parameter(help="Only jobs with this tag.")] = None
    dedupe_key: Annotated[str | None, Parameter(metavar="KEY", help="Only jobs with this dedupe key.")] = None
    older_than: Annotated[float | None, duration("Only jobs that were created longer ago than this.")] = None
    younger_than: Annotated[float | None, duration("Only jobs that were created within this time.")] = None
    q: Annotated[
        str | None,
        Parameter(name="--text", metavar="TEXT", help="Only jobs with this text in id, type, payload or error."),
    ] = None
    error: Annotated[str | None, Parameter(metavar="TEXT", help="Only jobs with this text in an error.")] = None

    def filters(self) -> dict[str, Any]:
        """Return the filters that were given. Raises SettingsError for a time without a zone."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        for name, value in given.items():
            if isinstance(value, datetime) and value.tzinfo is None:
                flag = "--" + name.replace("_", "-")
                raise SettingsError(f"{flag}: has no time zone. Append Z for UTC.")
        return given


@Parameter(name="*", group=WHICH)
@dataclass(frozen=True)
class WhichEnded(Which):
    """The filters of list, retry and delete."""

    finished_after: Annotated[
        datetime | None, Parameter(metavar="TIME", help="Only jobs that ended then or later.")
    ] = None
    finished_before: Annotated[datetime | None, Parameter(metavar="TIME", help="Only jobs that ended before this.")] = (
        None
    )


ANY: Final = Which()
ANY_ENDED: Final = WhichEnded()


def given_ids(job_ids: Sequence[str] | None, which: Which, every: bool) -> Sequence[str] | None:
    """Return the ids, None if the filters say which jobs. Raises SettingsError for both, and for neither."""
    by_filter = every or bool(which.filters())
    if job_ids and by_filter:
        raise SettingsError("ID: has no effect on filters. Give either ids or filters.")
    if not job_ids and not by_filter:
        raise SettingsError("ID: is missing. Give ids of jobs, a filter, or --all.")
    return job_ids or None


async def act_on_matching(
    server: Server, verb: str, which: Which, *, every: bool, limit: int, dry_run: bool, yes: bool, form: Format
) -> int:
    """Act on the jobs that match, in requests of a bounded size, and print the total. Without `yes` it only counts."""
    filters = which.filters() | ({"all": True} if every else {})
    async with server.client() as client:
        total = await _all(client, verb, filters, limit, dry_run or not yes)
    show(total, form)
    if dry_run or yes:
        return OK
    explain(f"queuey: no job was changed by {verb}. Pass --yes to confirm.")
    return USAGE


async def _all(client: Client, verb: str, filters: dict[str, Any], limit: int, dry_run: bool) -> MatchReply:
    act = {"cancel": client.cancel_matching, "retry": client.retry_matching, "delete": client.delete_matching}[verb]
    total = MatchReply(0, 0, 0, dry_run, True, None)
    with progress(f"{verb}: jobs", limit) as advance:
        while total.more and (left := limit - (total.matched if dry_run else total.done)) > 0:
            most = min(JOBS_PER_DRY_RUN if dry_run else JOBS_PER_CALL, left)
            part = await act(**filters, limit=most, dry_run=dry_run)
            if part.next is not None:
                filters = {**filters, "cursor": part.next}
            matched, done, skipped = total.matched + part.matched, total.done + part.done, total.skipped + part.skipped
            total = MatchReply(matched, done, skipped, dry_run, part.more, part.next)
            advance(part.matched)
    return total
