"""`queuey queue`: what waits where, and what stops it."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from cyclopts import App, Parameter

from queuey.cli.exits import OK, USAGE, explain
from queuey.cli.options import HERE, Output, Server, Yes
from queuey.cli.output import show, show_all
from queuey.cli.progress import progress
from queuey.protocol.models import PurgeReply

COLUMNS: Final = ("name", "paused", "high", "default", "low", "scheduled", "running", "dead_letter", "oldest_age")
MOST: Final = 100_000_000
"""A bound, so that a queue which fills as fast is not purged for ever."""

QueueName = Annotated[str, Parameter(metavar="QUEUE", help="The name of the queue.")]

app = App(name="queue")


@app.command(name="list")
async def list_(*, output: Output = "table", server: Server = HERE) -> int:
    """List the queues, and how many jobs are in each place."""
    async with server.client() as client:
        show_all(await client.queues(), COLUMNS, output)
    return OK


@app.command(name="show")
async def show_(queue: QueueName, /, *, output: Output = "table", server: Server = HERE) -> int:
    """Show one queue: its jobs by place, whether it is paused, who serves it."""
    async with server.client() as client:
        show(await client.queue(queue), output)
    return OK


@app.command
async def pause(
    queue: QueueName,
    /,
    *,
    reason: Annotated[str | None, Parameter(metavar="TEXT", help="Why; shown to whoever asks.")] = None,
    output: Output = "table",
    server: Server = HERE,
) -> int:
    """Give no more jobs of a queue to workers.

    It takes new ones all the same, and what runs goes on.
    """
    async with server.client() as client:
        show(await client.pause(queue, reason), output)
    return OK


@app.command
async def resume(queue: QueueName, /, *, output: Output = "table", server: Server = HERE) -> int:
    """Give the jobs of a paused queue to workers again."""
    async with server.client() as client:
        show(await client.resume(queue), output)
    return OK


@app.command
async def purge(
    queue: QueueName,
    /,
    *,
    status: Annotated[
        list[Literal["queued", "scheduled"]] | None,
        Parameter(negative=(), help="Those of this status alone; may be repeated. Default: both."),
    ] = None,
    yes: Yes = False,
    output: Output = "table",
    server: Server = HERE,
) -> int:
    """Cancel the jobs of a queue that wait. What runs goes on."""
    chosen = status or ["queued", "scheduled"]
    async with server.client() as client:
        found = await client.queue(queue)
        counts = {"queued": found.high + found.default + found.low, "scheduled": found.scheduled}
        waiting = sum(counts[name] for name in set(chosen))
        if not yes:
            explain(f"queuey: this would cancel {waiting} jobs of {queue}. Say --yes to do it.")
            return USAGE
        total, more = 0, True
        with progress("Cancelling", waiting) as advance:
            while more and total < MOST:
                part = await client.purge(queue, chosen)
                total, more = total + part.cancelled, part.more
                advance(part.cancelled)
    show(PurgeReply(total, more), output)
    return OK
