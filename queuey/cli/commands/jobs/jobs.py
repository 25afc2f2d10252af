"""`queuey job`: jobs one by one, and lists of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Final

from cyclopts import App, Parameter

from queuey.cli.commands.jobs.bulk import enqueue_many
from queuey.cli.commands.jobs.each import each
from queuey.cli.commands.jobs.enqueue import PayloadText, enqueue, read_payload
from queuey.cli.exits import OK, code_of_jobs
from queuey.cli.exits import explain as complain
from queuey.cli.failures import told_of
from queuey.cli.options import HERE, JobId, JobIds, JobType, Output, Queue, Server, count, duration, switch
from queuey.cli.output import show, show_all, show_each
from queuey.client import Client, ClientError, Unreachable
from queuey.protocol.models import Job, Status
from queuey.settings.units import MINUTE

COLUMNS: Final = ("id", "type", "queue", "status", "attempts", "created_at", "last_error")
MOST: Final = 1_000_000
AT_ONCE: Final = 100
"""How many jobs are waited for at the same time."""

app = App(name="job")
app.command(enqueue)
app.command(enqueue_many)


@app.command
async def get(job_id: JobId, /, *, output: Output = "table", server: Server = HERE) -> int:
    """Show a job: what it is, where it stands, what came of it."""
    async with server.client() as client:
        show(await client.get(job_id), output)
    return OK


@app.command(name="list")
async def list_(
    *,
    queue: Queue = None,
    status: Annotated[Status | None, Parameter(help="In this status alone.")] = None,
    type: JobType = None,
    limit: Annotated[int, count("How many at most. With -o jsonl each is printed as it comes.", MOST)] = 50,
    output: Output = "table",
    server: Server = HERE,
) -> int:
    """List jobs."""
    async with server.client() as client:
        await show_each(client.jobs(queue=queue, status=status, type=type), limit, COLUMNS, output)
    return OK


@app.command
async def wait(
    job_ids: JobIds,
    /,
    *,
    timeout: Annotated[float, duration("How long to wait at most, for all of them together.", MINUTE)] = MINUTE,
    output: Output = "table",
    server: Server = HERE,
) -> int:
    """Wait until jobs have ended, and show them.

    The exit code is 0 when all succeeded, 1 when one did not, and 7 when the time is over. One that cannot be waited
    for is told on stderr, and the exit code is that of its error; the others are shown all the same.
    """
    slots = asyncio.Semaphore(AT_ONCE)
    until = asyncio.get_running_loop().time() + timeout

    lost: Unreachable | None = None

    async with server.client() as client:

        async def ended(job_id: str) -> Job | ClientError:
            nonlocal lost
            async with slots:
                if lost is not None:
                    return lost
                left = round(max(0.0, until - asyncio.get_running_loop().time()), 3)
                try:
                    return await client.wait(job_id, timeout=left)
                except ClientError as error:
                    lost = error if isinstance(error, Unreachable) else lost
                    return error

        outcomes = await asyncio.gather(*map(ended, job_ids))
    jobs = [outcome for outcome in outcomes if isinstance(outcome, Job)]
    faults = [(id, outcome) for id, outcome in zip(job_ids, outcomes, strict=True) if isinstance(outcome, ClientError)]
    if jobs or not faults:
        show_all(jobs, COLUMNS, output)
    return _tell(faults) or code_of_jobs(jobs)


def _tell(faults: Sequence[tuple[str, ClientError]]) -> int:
    """Say why these jobs could not be waited for; a lost server once. Returns the first one's exit code, or 0."""
    lost = [id for id, error in faults if isinstance(error, Unreachable)]
    codes = [told_of(error, f"{id}: ") for id, error in faults if id not in lost[1:]]
    if len(lost) > 1:
        complain(f"queuey: {len(lost) - 1} more could not be waited for.")
    return codes[0] if codes else OK


@app.command
async def cancel(job_ids: JobIds, /, *, output: Output = "table", server: Server = HERE) -> int:
    """Cancel jobs.

    One that runs is told to stop, and is `cancelling` until it has.
    """
    return await each(server, job_ids, Client.cancel, ("job_id", "status"), output)


@app.command
async def retry(job_ids: JobIds, /, *, output: Output = "table", server: Server = HERE) -> int:
    """Run dead jobs anew, and those that wait for their time now."""
    return await each(server, job_ids, Client.retry, ("job_id", "status"), output)


@app.command
async def edit(
    job_id: JobId,
    payload: PayloadText,
    /,
    *,
    requeue: Annotated[bool, switch("Run it anew at once; else `retry` does.")] = False,
    output: Output = "table",
    server: Server = HERE,
) -> int:
    """Give a dead job another payload."""
    async with server.client() as client:
        show(await client.edit(job_id, read_payload(payload), requeue=requeue), output)
    return OK


@app.command
async def delete(job_ids: JobIds, /, *, server: Server = HERE) -> int:
    """Delete jobs that have ended: succeeded, cancelled or dead.

    Prints nothing.
    """
    return await each(server, job_ids, Client.delete)


@app.command
async def explain(job_id: JobId, /, *, output: Output = "table", server: Server = HERE) -> int:
    """Say why a job does not run: what it waits for, who holds it, how it ended."""
    async with server.client() as client:
        show(await client.explain(job_id), output)
    return OK
