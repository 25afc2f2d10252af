"""`queuey dlq`: the jobs whose attempts are spent."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Annotated, Final, Literal, cast

from cyclopts import App, Group, Parameter, validators

from queuey.cli.exits import OK, USAGE, explain
from queuey.cli.options import HERE, JobType, Output, Queue, Server, Yes, count, duration, switch
from queuey.cli.output import Format, show, show_all, show_each
from queuey.cli.progress import progress
from queuey.client.dead import DeadFilters
from queuey.protocol.models import YEAR, DeadReply

COLUMNS: Final = ("id", "type", "queue", "fingerprint", "finished_at", "attempts", "last_error")
GROUP_COLUMNS: Final = ("fingerprint", "count", "type", "kind", "oldest", "newest", "example", "message")
A_CALL: Final = 1000
"""So many jobs are moved by one request, so that the bar moves and an interrupt stops it."""
MOST_TRIED: Final = 10_000
"""So many one request can count."""
MOST: Final = 1_000_000

WHICH: Final = Group("Which jobs", sort_key=1)


@Parameter(name="*", group=WHICH)
@dataclass(frozen=True)
class Which:
    """The filters that list, groups, replay and delete share."""

    queue: Queue = None
    type: JobType = None
    fingerprint: Annotated[
        str | None, Parameter(metavar="FINGERPRINT", help="With this error alone; see `queuey dlq groups`.")
    ] = None
    older_than: Annotated[float | None, duration("Dead for longer than this.")] = None
    younger_than: Annotated[float | None, duration("Dead for less than this.")] = None

    def filters(self) -> DeadFilters:
        return cast("DeadFilters", {name: value for name, value in asdict(self).items() if value is not None})


ALL: Final = Which()

app = App(name="dlq")


@app.command(name="list")
async def list_(
    *,
    which: Which = ALL,
    limit: Annotated[int, count("How many at most. With -o jsonl each is printed as it comes.", MOST)] = 50,
    output: Output = "table",
    server: Server = HERE,
) -> int:
    """List dead jobs, the oldest first."""
    async with server.client() as client:
        await show_each(client.dlq(**which.filters()), limit, COLUMNS, output)
    return OK


@app.command
async def groups(*, which: Which = ALL, output: Output = "table", server: Server = HERE) -> int:
    """Group dead jobs by their error, with the numbers and ids in it left out."""
    async with server.client() as client:
        found = await client.dlq_groups(**which.filters())
    show_all(found.groups, GROUP_COLUMNS, output)
    if not found.complete:
        explain(f"queuey: {found.looked_at} jobs were looked at, and there are more.")
    return OK


@app.command
async def replay(
    *,
    which: Which = ALL,
    limit: Annotated[int, count("How many at most.", MOST)] = 100,
    rate: Annotated[
        float | None,
        Parameter(metavar="JOBS", validator=validators.Number(gt=0), help="So many a second. Default: all at once."),
    ] = None,
    dry_run: Annotated[bool, switch("Only say how many there are.")] = False,
    output: Output = "table",
    server: Server = HERE,
) -> int:
    """Run dead jobs anew, the oldest first."""
    return await _move(server, "replay", which.filters(), limit, dry_run, output, rate)


@app.command
async def delete(
    *,
    which: Which = ALL,
    limit: Annotated[int, count("How many at most.", MOST)] = 100,
    yes: Yes = False,
    output: Output = "table",
    server: Server = HERE,
) -> int:
    """Delete dead jobs for good, the oldest first."""
    code = await _move(server, "delete", which.filters(), limit, not yes, output)
    if not yes:
        explain("queuey: nothing was deleted. Say --yes to do it.")
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
    """Replay or delete in requests of a bounded size, and print how many it was in all."""
    total = DeadReply(matched=0, done=0, dry_run=dry_run, more=True)
    began = asyncio.get_running_loop().time()
    async with server.client() as client:
        with progress(f"{verb}: jobs", limit) as advance:
            while total.more and total.matched < limit:
                most = min(MOST_TRIED if dry_run else A_CALL, limit - total.matched)
                which = _as_of(filters, asyncio.get_running_loop().time() - began) if total.done else filters
                if verb == "replay":
                    part = await client.dlq_replay(**which, limit=most, rate=rate, dry_run=dry_run)
                else:
                    part = await client.dlq_delete(**which, limit=most, dry_run=dry_run)
                total = DeadReply(total.matched + part.matched, total.done + part.done, dry_run, part.more)
                advance(part.matched)
                if part.done == 0:
                    break  # a dry run, or what is left cannot be replayed: the next request would find the same
                if rate is not None and total.more and total.matched < limit:
                    await asyncio.sleep(part.done / rate)  # those of this request are spread over that time
    show(total, form)
    return OK


def _as_of(filters: DeadFilters, elapsed: float) -> DeadFilters:
    """The same jobs as so many seconds ago, without those that died since: what was replayed and died again is not met
    once more. The end at `younger_than` stays where it was, too."""
    shifted = filters.copy()
    shifted["older_than"] = min(filters.get("older_than", 0.0) + elapsed, YEAR)
    if "younger_than" in filters:
        shifted["younger_than"] = min(filters["younger_than"] + elapsed, YEAR)
    return shifted
