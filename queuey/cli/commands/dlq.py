"""`queuey dlq`: dead jobs."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Annotated, Final, Literal, cast

from cyclopts import App, Group, Parameter, validators

from queuey.cli.exits import OK, USAGE, explain
from queuey.cli.options import DEFAULT_SERVER, JobType, Output, Queue, Server, Yes, count, duration, switch
from queuey.cli.output import Format, show, show_all, show_each
from queuey.cli.progress import progress
from queuey.client.dead import DeadFilters
from queuey.protocol.models import YEAR, DeadReply

COLUMNS: Final = ("id", "type", "queue", "fingerprint", "finished_at", "attempt", "attempts", "last_error")
GROUP_COLUMNS: Final = ("fingerprint", "count", "type", "kind", "oldest", "newest", "example", "message")
JOBS_PER_CALL: Final = 1000
"""The number of jobs in one request. It is small, so that the bar moves and an interrupt stops the command."""
JOBS_PER_DRY_RUN: Final = 10_000
"""The number of jobs that one dry run can count."""
MOST: Final = 1_000_000

WHICH: Final = Group("Which jobs", sort_key=1)


@Parameter(name="*", group=WHICH)
@dataclass(frozen=True)
class Which:
    """The filters of list, groups, replay and delete."""

    queue: Queue = None
    type: JobType = None
    fingerprint: Annotated[
        str | None, Parameter(metavar="FINGERPRINT", help="Only jobs with this fingerprint, from `queuey dlq groups`.")
    ] = None
    older_than: Annotated[float | None, duration("Only jobs that died longer ago than this.")] = None
    younger_than: Annotated[float | None, duration("Only jobs that died within this time.")] = None

    def filters(self) -> DeadFilters:
        """Return the filters that were given."""
        return cast("DeadFilters", {name: value for name, value in asdict(self).items() if value is not None})


ALL: Final = Which()

app = App(name="dlq")


@app.command(name="list")
async def list_(
    *,
    which: Which = ALL,
    limit: Annotated[int, count("Maximum number of jobs. With -o jsonl, each is printed on arrival.", MOST)] = 50,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """List dead jobs in the order in which they died."""
    async with server.client() as client:
        await show_each(client.dlq(**which.filters()), limit, COLUMNS, output)
    return OK


@app.command
async def groups(*, which: Which = ALL, output: Output = "table", server: Server = DEFAULT_SERVER) -> int:
    """Group dead jobs by type and error. Numbers and ids are ignored."""
    async with server.client() as client:
        found = await client.dlq_groups(**which.filters())
    show_all(found.groups, GROUP_COLUMNS, output)
    if not found.complete:
        explain(f"queuey: only {found.looked_at} dead jobs were counted. Narrow the search, for example by --queue.")
    return OK


@app.command
async def replay(
    *,
    which: Which = ALL,
    limit: Annotated[int, count("Maximum number of jobs to replay.", MOST)] = 100,
    rate: Annotated[
        float | None,
        Parameter(
            metavar="JOBS",
            validator=validators.Number(gt=0),
            help="Jobs that become due per second. Default: all at once.",
        ),
    ] = None,
    dry_run: Annotated[bool, switch("Only count the matching jobs.")] = False,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """Replay dead jobs in the order in which they died."""
    return await _move(server, "replay", which.filters(), limit, dry_run, output, rate)


@app.command
async def delete(
    *,
    which: Which = ALL,
    limit: Annotated[int, count("Maximum number of jobs to delete.", MOST)] = 100,
    yes: Yes = False,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """Delete dead jobs in the order in which they died."""
    code = await _move(server, "delete", which.filters(), limit, not yes, output)
    if not yes:
        explain("queuey: nothing was deleted. Pass --yes to confirm.")
        return USAGE
    return code


async def _move(
    server: Server,
    verb: Literal["replay", "delete"],
    filters: DeadFilters,
    limit: int,
    dry_run: bool,
    form: Format,
    rate: float | None = None,
) -> int:
    """Replay or delete jobs in requests of a bounded size, and print the total."""
    total = DeadReply(matched=0, done=0, dry_run=dry_run, more=True)
    began = asyncio.get_running_loop().time()
    async with server.client() as client:
        with progress(f"{verb}: jobs", limit) as advance:
            while total.more and total.matched < limit:
                most = min(JOBS_PER_DRY_RUN if dry_run else JOBS_PER_CALL, limit - total.matched)
                which = _as_of(filters, asyncio.get_running_loop().time() - began) if total.done else filters
                if verb == "replay":
                    part = await client.dlq_replay(**which, limit=most, rate=rate, dry_run=dry_run)
                else:
                    part = await client.dlq_delete(**which, limit=most, dry_run=dry_run)
                total = DeadReply(total.matched + part.matched, total.done + part.done, dry_run, part.more)
                advance(part.matched)
                if part.done == 0:
                    break  # a dry run, or the rest cannot be replayed: the next request would find the same jobs
                if rate is not None and total.more and total.matched < limit:
                    await asyncio.sleep(part.done / rate)  # the jobs of this request are spread over that time
    show(total, form)
    return OK


def _as_of(filters: DeadFilters, elapsed: float) -> DeadFilters:
    """Return filters for the jobs that matched `elapsed` seconds ago.

    Without this, a job that was replayed and died again would be replayed once more.
    """
    shifted = filters.copy()
    shifted["older_than"] = min(filters.get("older_than", 0.0) + elapsed, YEAR)
    if "younger_than" in filters:
        shifted["younger_than"] = min(filters["younger_than"] + elapsed, YEAR)
    return shifted
