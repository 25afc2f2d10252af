"""`queuey schedule`: when a schedule would fire."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cyclopts import App, Parameter
from msgspec import Struct

from queuey.cli.exits import OK
from queuey.cli.exits import explain as complain
from queuey.cli.options import DEFAULT_SERVER, Output, Server, duration
from queuey.cli.output import show, show_all, text
from queuey.errors import SettingsError
from queuey.protocol.allowed import SOON
from queuey.protocol.models import PreviewRequest

app = App(name="schedule")


class Tick(Struct):
    """A line of the table: a tick on the clock of the schedule's time zone, and in UTC."""

    next: str
    utc: datetime


@app.command
async def preview(
    *,
    cron: Annotated[str | None, Parameter(metavar="CRON", help="Cron expression of five or six fields.")] = None,
    every: Annotated[float | None, duration("Interval between two ticks.")] = None,
    at: Annotated[datetime | None, Parameter(metavar="TIME", help=f"Only tick, such as {SOON}.")] = None,
    timezone: Annotated[str, Parameter(metavar="ZONE", help="Time zone of --cron and --exclude.")] = "UTC",
    exclude: Annotated[
        list[str] | None, Parameter(metavar="DATE", negative=(), help="Day without a tick. Repeatable.")
    ] = None,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """Show when a schedule would fire next. Nothing is stored.

    Give one of --cron, --every and --at. Warnings about times that do not exist, or come twice, go to stderr.
    """
    if at is not None and at.tzinfo is None:
        raise SettingsError("--at: has no time zone. Append Z for UTC.")
    days = [_day(given) for given in exclude or ()]
    request = PreviewRequest(cron=cron, every=every, at=at, timezone=timezone, exclude=days)
    async with server.client() as client:
        found = await client.preview_schedule(request)
    for warning in found.warnings:
        complain(f"queuey: warning: {warning}")
    if output == "table":
        show_all([Tick(_on_clock(tick, timezone), tick) for tick in found.next], ("next", "utc"), output)
    else:
        show(found, output)
    return OK


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
