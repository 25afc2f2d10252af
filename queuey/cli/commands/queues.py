"""`queuey queue`: queues, and how to pause, resume and purge them."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from cyclopts import App, Parameter

from queuey.cli.exits import OK, USAGE, explain
from queuey.cli.options import DEFAULT_SERVER, Output, Server, Yes
from queuey.cli.output import show, show_all
from queuey.cli.progress import progress
from queuey.protocol.allowed import counted
from queuey.protocol.models import PurgeReply

COLUMNS: Final = ("name", "paused", "high", "default", "low", "scheduled", "running", "dead_letter", "oldest_age")
MOST: Final = 100_000_000
"""The most jobs that one command cancels, so that it ends even if the queue fills as fast."""

QueueName = Annotated[str, Parameter(metavar="QUEUE", help="Queue name.")]

app = App(name="queue")


@app.command(name="list")
async def list_(*, output: Output = "table", server: Server = DEFAULT_SERVER) -> int:
    """List queues with their numbers of jobs by status."""
    async with server.client() as client:
        show_all(await client.queues(), COLUMNS, output)
    return OK


@app.command(name="show")
async def show_(queue: QueueName, /, *, output: Output = "table", server: Server = DEFAULT_SERVER) -> int:
    """Show one queue: its numbers of jobs, its pause and its workers."""
    async with server.client() as client:
        show(await client.queue(queue), output)
    return OK


@app.command
async def pause(
    queue: QueueName,
    /,
    *,
    reason: Annotated[
        str | None, Parameter(metavar="TEXT", help="Reason for the pause. It is shown with the queue.")
    ] = None,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """Pause a queue.

    Workers claim no more of its jobs. Running jobs continue, and new jobs are accepted.
    """
    async with server.client() as client:
        show(await client.pause(queue, reason), output)
    return OK


@app.command
async def resume(queue: QueueName, /, *, output: Output = "table", server: Server = DEFAULT_SERVER) -> int:
    """Resume a paused queue."""
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
        Parameter(negative=(), help="Cancel only jobs with this status. Repeatable. Default: both."),
    ] = None,
    yes: Yes = False,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """Cancel the waiting jobs of a queue. Running jobs continue."""
    chosen = status or ["queued", "scheduled"]
    async with server.client() as client:
        found = await client.queue(queue)
        counts = {"queued": found.high + found.default + found.low, "scheduled": found.scheduled}
        waiting = sum(counts[name] for name in set(chosen))
        if not yes:
            explain(f"queuey: this would cancel {counted(waiting, 'job')} of {queue}. Pass --yes to confirm.")
            return USAGE
        total, more = 0, True
        with progress("Cancelling", waiting) as advance:
            while more and total < MOST:
                part = await client.purge(queue, chosen)
                total, more = total + part.cancelled, part.more
                advance(part.cancelled)
    show(PurgeReply(total, more), output)
    return OK
