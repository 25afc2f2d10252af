"""`queuey schedule`: schedules, and when they fire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cyclopts import App, Group, Parameter
from msgspec import UNSET, Struct

from queuey.cli.arguments import usage
from queuey.cli.commands.jobs.enqueue import PayloadText, entries_of, read_payload
from queuey.cli.exits import OK, USAGE
from queuey.cli.exits import explain as complain
from queuey.cli.options import (
    DEFAULT_SERVER,
    ExpiresIn,
    MaxAttempts,
    MetadataEntries,
    Output,
    PriorityOfJob,
    QueueOfJob,
    Retention,
    Server,
    Tags,
    Timeout,
    Yes,
    count,
    duration,
)
from queuey.cli.output import show, show_all, show_each, text
from queuey.errors import SettingsError
from queuey.protocol.allowed import SOON, counted
from queuey.protocol.models import (
    NULL,
    CatchUp,
    JobRequest,
    Overlap,
    PreviewRequest,
    Schedule,
    ScheduleRequest,
)
from queuey.settings.units import format_duration

COLUMNS: Final = ("name", "status", "when", "timezone", "queue", "next", "detail")
RUN_COLUMNS: Final = ("tick", "at", "kind", "outcome", "count", "job_id")
MOST: Final = 100_000

WHEN: Final = Group("When", sort_key=1)
JOB: Final = Group("Job", sort_key=2)
Name = Annotated[str, Parameter(metavar="NAME", help="Name of the schedule.")]

app = App(name="schedule")


class Tick(Struct):
    """A line of the table: a tick on the clock of the schedule's time zone, and in UTC."""

    next: str
    utc: datetime


class Row(Struct):
    """A line of the table of schedules."""

    name: str
    status: str
    when: str
    timezone: str
    queue: str
    next: datetime | None
    detail: str


@Parameter(name="*", group=WHEN)
@dataclass(frozen=True)
class When:
    """The times of a schedule. One of `cron`, `every` and `at` is required."""

    cron: Annotated[str | None, Parameter(metavar="CRON", help="Cron expression of five or six fields.")] = None
    every: Annotated[float | None, duration("Interval between two ticks.")] = None
    at: Annotated[datetime | None, Parameter(metavar="TIME", help=f"Only tick, such as {SOON}.")] = None
    timezone: Annotated[str, Parameter(metavar="ZONE", help="Time zone of --cron and --exclude.")] = "UTC"
    exclude: Annotated[
        list[str] | None, Parameter(metavar="DATE", negative=(), help="Day without a tick. Repeatable.")
    ] = None

    def given(self) -> dict[str, Any]:
        """Return the fields of a schedule. Raises SettingsError."""
        if self.at is not None:
            _check_zone(self.at, "--at")
        return {**asdict(self), "exclude": [_day(given) for given in self.exclude or ()]}


@Parameter(name="*", group=WHEN)
@dataclass(frozen=True)
class Rules:
    """The rules of a schedule."""

    overlap: Annotated[Overlap, Parameter(help="At a tick while the job before has not finished.")] = "skip"
    catch_up: Annotated[CatchUp, Parameter(help="Ticks to fire later, of those that were missed.")] = "last"
    catch_up_window: Annotated[float, duration("Oldest missed tick that is fired later.", 3600)] = 3600
    jitter: Annotated[float, duration("Maximum random delay of a tick.", 0)] = 0


@Parameter(name="*", group=JOB)
@dataclass(frozen=True)
class JobFlags:
    """The options of the job."""

    queue: QueueOfJob = None
    priority: PriorityOfJob = "default"
    expires_in: ExpiresIn = None
    max_attempts: MaxAttempts = None
    timeout: Timeout = None
    retention: Retention = None
    tags: Tags = None
    metadata: MetadataEntries = None

    def request(self, type: str, payload: str | None) -> JobRequest:
        """Return the job. Raises SettingsError."""
        metadata = None if self.metadata is None else entries_of(self.metadata)
        given = {**asdict(self), "metadata": metadata}
        return JobRequest(type, NULL if payload is None else read_payload(payload), **given)


ANY_TIME: Final = When()
DEFAULT_RULES: Final = Rules()
DEFAULT_JOB: Final = JobFlags()


@app.command(usage=usage("schedule put", "NAME TYPE [PAYLOAD]"))
async def put(
    name: Name,
    type: Annotated[str, Parameter(metavar="TYPE", help="Job type, which selects the handler.")],
    payload: PayloadText | None = None,
    /,
    *,
    when: When = ANY_TIME,
    rules: Rules = DEFAULT_RULES,
    job: JobFlags = DEFAULT_JOB,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """Make a schedule, or replace the one of this name.

    Give one of --cron, --every and --at. Warnings about times that do not exist, or come twice, go to stderr.
    """
    request = ScheduleRequest(**when.given(), **asdict(rules), job=job.request(type, payload))
    async with server.client() as client:
        schedule = await client.put_schedule(name, request)
    _warn(schedule.warnings or ())
    if output == "table":
        schedule.warnings = UNSET  # stderr has them
    show(schedule, output)
    return OK


@app.command(name="show")
async def show_(name: Name, /, *, output: Output = "table", server: Server = DEFAULT_SERVER) -> int:
    """Show a schedule: when it fires next, or why it does not, and its last runs."""
    async with server.client() as client:
        schedule = await client.schedule(name)
    if output != "table":
        show(schedule, output)
        return OK
    runs, schedule.runs = schedule.runs or [], UNSET
    show(schedule, output)
    if runs:
        print()
        show_all(runs, RUN_COLUMNS, output)
    return OK


@app.command(name="list")
async def list_(
    *,
    queue: Annotated[str | None, Parameter(metavar="QUEUE", help="Only schedules whose jobs go there.")] = None,
    limit: Annotated[int, count("Maximum number of schedules.", MOST)] = 1000,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """List schedules, each with its next tick."""
    async with server.client() as client:
        found = client.schedules(queue=queue)
        if output == "table":
            await show_each((_row(schedule) async for schedule in found), limit, COLUMNS, output)
        else:
            await show_each(found, limit, COLUMNS, output)
    return OK


def _row(schedule: Schedule) -> Row:
    when = schedule.cron or (f"every {format_duration(schedule.every)}" if schedule.every else text(schedule.at))
    due = schedule.next[0] if schedule.next else None
    return Row(schedule.name, schedule.status, when, schedule.timezone, schedule.queue, due, schedule.detail)


@app.command
async def delete(name: Name, /, *, server: Server = DEFAULT_SERVER) -> int:
    """Delete a schedule with its history. Its jobs stay."""
    async with server.client() as client:
        await client.delete_schedule(name)
    return OK


@app.command
async def pause(
    name: Name,
    /,
    *,
    reason: Annotated[
        str | None, Parameter(metavar="TEXT", help="Reason for the pause. It is shown with the schedule.")
    ] = None,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """Pause a schedule.

    It has no ticks until it is resumed. Its jobs continue, and it can be triggered.
    """
    async with server.client() as client:
        show(await client.pause_schedule(name, reason), output)
    return OK


@app.command
async def resume(name: Name, /, *, output: Output = "table", server: Server = DEFAULT_SERVER) -> int:
    """Resume a paused schedule. Ticks during the pause are not fired later."""
    async with server.client() as client:
        show(await client.resume_schedule(name), output)
    return OK


@app.command
async def trigger(name: Name, /, *, output: Output = "table", server: Server = DEFAULT_SERVER) -> int:
    """Make the job of a schedule now, unless its overlap rule says otherwise."""
    async with server.client() as client:
        show(await client.trigger_schedule(name), output)
    return OK


@app.command
async def backfill(
    name: Name,
    /,
    *,
    start: Annotated[datetime, Parameter(name="--from", metavar="TIME", help="First time.")],
    end: Annotated[datetime, Parameter(name="--to", metavar="TIME", help="Last time. It must not be in the future.")],
    overlap: Annotated[
        Literal["skip", "queue_one", "allow"] | None, Parameter(help="Rule for each tick. Default: the schedule's.")
    ] = None,
    yes: Yes = False,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """Make the jobs of a schedule's ticks in the past.

    A tick that has its job gets none. Without --yes it lists the ticks.
    """
    _check_zone(start, "--from")
    _check_zone(end, "--to")
    async with server.client() as client:
        found = await client.backfill_schedule(name, start, end, overlap=overlap, dry_run=not yes)
    show(found, output)
    if yes:
        return OK
    complain(f"queuey: this would make the jobs of {counted(len(found.ticks), 'tick')}. Pass --yes to confirm.")
    return USAGE


@app.command
async def preview(*, when: When = ANY_TIME, output: Output = "table", server: Server = DEFAULT_SERVER) -> int:
    """Show when a schedule would fire next. Nothing is stored.

    Give one of --cron, --every and --at. Warnings about times that do not exist, or come twice, go to stderr.
    """
    request = PreviewRequest(**when.given())
    async with server.client() as client:
        found = await client.preview_schedule(request)
    _warn(found.warnings)
    if output == "table":
        zone = when.timezone
        show_all([Tick(_on_clock(tick, zone), tick) for tick in found.next], ("next", "utc"), output)
    else:
        show(found, output)
    return OK


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        complain(f"queuey: warning: {warning}")


def _check_zone(time: datetime, flag: str) -> None:
    if time.tzinfo is None:
        raise SettingsError(f"{flag}: has no time zone. Append Z for UTC.")


def _day(given: str) -> date:
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise SettingsError(f"--exclude: {given!r} is not a date. Write it as 2026-12-25.") from None


def _on_clock(time: datetime, zone: str) -> str:
    """Return what a clock shows in the zone, or "-" if this machine does not know the zone, but the server does."""
    try:
        return f"{time.astimezone(ZoneInfo(zone)):%a %Y-%m-%d %H:%M:%S %z}"
    except ZoneInfoNotFoundError:
        return text(None)
