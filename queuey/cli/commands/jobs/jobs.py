"""`queuey job`: single jobs, and lists of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

import msgspec
from cyclopts import App, Parameter

from queuey.cli.arguments import usage
from queuey.cli.commands.jobs.bulk import enqueue_many
from queuey.cli.commands.jobs.each import each
from queuey.cli.commands.jobs.enqueue import PayloadText, enqueue, read_payload
from queuey.cli.exits import OK, code_of_jobs
from queuey.cli.exits import explain as complain
from queuey.cli.failures import report
from queuey.cli.options import DEFAULT_SERVER, JobId, JobIds, JobType, Output, Queue, Server, count, duration, switch
from queuey.cli.output import show, show_all, show_each
from queuey.client import Client, ClientError, Unreachable
from queuey.errors import SettingsError
from queuey.protocol.models import Job, Status
from queuey.settings.units import MINUTE

COLUMNS: Final = ("id", "type", "queue", "status", "attempt", "attempts", "created_at", "last_error")
LOG_COLUMNS: Final = ("attempt", "at", "level", "text")
MOST: Final = 1_000_000
AT_ONCE: Final = 100
"""The number of jobs that are waited for at the same time."""

app = App(name="job")
app.command(enqueue, usage=usage("job enqueue", "TYPE [PAYLOAD]"))
app.command(enqueue_many, usage=usage("job enqueue-many", "[FILE]"))


@app.command
async def get(job_id: JobId, /, *, output: Output = "table", server: Server = DEFAULT_SERVER) -> int:
    """Show a job."""
    async with server.client() as client:
        show(_with_attempt(await client.get(job_id), output), output)
    return OK


def _with_attempt(job: Job, output: Output) -> Job:
    """Return a job for a table, where the error of a job that succeeded says of which attempt it is."""
    if output != "table" or job.status != "succeeded" or job.last_error is None:
        return job
    return msgspec.structs.replace(job, last_error=f"attempt {job.last_error_attempt}: {job.last_error}")


@app.command(name="list")
async def list_(
    *,
    queue: Queue = None,
    status: Annotated[Status | None, Parameter(help="Only jobs with this status.")] = None,
    type: JobType = None,
    tag: Annotated[str | None, Parameter(help="Only jobs with this tag.")] = None,
    dedupe_key: Annotated[str | None, Parameter(metavar="KEY", help="Only jobs with this dedupe key.")] = None,
    older_than: Annotated[float | None, duration("Only jobs that were created longer ago than this.")] = None,
    younger_than: Annotated[float | None, duration("Only jobs that were created within this time.")] = None,
    text: Annotated[
        str | None, Parameter(metavar="TEXT", help="Only jobs with this text in id, type, payload or error.")
    ] = None,
    error: Annotated[str | None, Parameter(metavar="TEXT", help="Only jobs with this text in an error.")] = None,
    finished_after: Annotated[
        datetime | None, Parameter(metavar="TIME", help="Only jobs that ended at this time or later.")
    ] = None,
    finished_before: Annotated[
        datetime | None, Parameter(metavar="TIME", help="Only jobs that ended before this time.")
    ] = None,
    limit: Annotated[int, count("Maximum number of jobs. With -o jsonl, each is printed on arrival.", MOST)] = 50,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """List jobs."""
    async with server.client() as client:
        jobs = client.jobs(
            queue=queue,
            status=status,
            type=type,
            tag=tag,
            dedupe_key=dedupe_key,
            older_than=older_than,
            younger_than=younger_than,
            q=text,
            error=error,
            finished_after=with_zone("--finished-after", finished_after),
            finished_before=with_zone("--finished-before", finished_before),
        )
        await show_each((_with_attempt(job, output) async for job in jobs), limit, COLUMNS, output)
    return OK


def with_zone(flag: str, time: datetime | None) -> datetime | None:
    """Return the time of a flag. Raises SettingsError without a zone."""
    if time is not None and time.tzinfo is None:
        raise SettingsError(f"{flag}: has no time zone. Append Z for UTC.")
    return time


@app.command
async def wait(
    job_ids: JobIds,
    /,
    *,
    timeout: Annotated[float, duration("Maximum time to wait for all jobs together.", MINUTE)] = MINUTE,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """Wait for jobs to finish, then print them.

    The exit code is 0 if all succeeded, 1 if one did not, and 7 after the timeout.

    A job that cannot be waited for is reported on stderr, and its error determines the exit code.
    """
    slots = asyncio.Semaphore(AT_ONCE)
    until = asyncio.get_running_loop().time() + timeout
    lost: Unreachable | None = None

    async with server.client() as client:

        async def finished(job_id: str) -> Job | ClientError:
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

        outcomes = await asyncio.gather(*map(finished, job_ids))
    jobs = [outcome for outcome in outcomes if isinstance(outcome, Job)]
    faults = [(id, outcome) for id, outcome in zip(job_ids, outcomes, strict=True) if isinstance(outcome, ClientError)]
    if jobs or not faults:
        show_all([_with_attempt(job, output) for job in jobs], COLUMNS, output)
    return _report_all(faults) or code_of_jobs(jobs)


def _report_all(faults: Sequence[tuple[str, ClientError]]) -> int:
    """Report why these jobs could not be waited for, an unreachable server only once. Return the first exit code."""
    lost = [id for id, error in faults if isinstance(error, Unreachable)]
    codes = [report(error, f"{id}: ") for id, error in faults if id not in lost[1:]]
    if len(lost) > 1:
        complain(f"queuey: {len(lost) - 1} more could not be waited for.")
    return codes[0] if codes else OK


@app.command
async def cancel(job_ids: JobIds, /, *, output: Output = "table", server: Server = DEFAULT_SERVER) -> int:
    """Cancel jobs.

    A running job is `cancelling` until its handler has stopped.
    """
    return await each(server, job_ids, Client.cancel, ("job_id", "status"), output)


@app.command
async def retry(job_ids: JobIds, /, *, output: Output = "table", server: Server = DEFAULT_SERVER) -> int:
    """Retry dead jobs, and run scheduled jobs immediately."""
    return await each(server, job_ids, Client.retry, ("job_id", "status"), output)


@app.command
async def edit(
    job_id: JobId,
    payload: PayloadText,
    /,
    *,
    requeue: Annotated[bool, switch("Retry the job at once.")] = False,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """Replace the payload of a dead job."""
    async with server.client() as client:
        show(await client.edit(job_id, read_payload(payload), requeue=requeue), output)
    return OK


@app.command
async def log(job_id: JobId, /, *, output: Output = "table", server: Server = DEFAULT_SERVER) -> int:
    """Show the lines that a job's handler has logged."""
    async with server.client() as client:
        show_all(await client.log(job_id), LOG_COLUMNS, output)
    return OK


@app.command
async def delete(job_ids: JobIds, /, *, server: Server = DEFAULT_SERVER) -> int:
    """Delete finished jobs: succeeded, cancelled or dead.

    It prints nothing.
    """
    return await each(server, job_ids, Client.delete)


@app.command
async def explain(job_id: JobId, /, *, output: Output = "table", server: Server = DEFAULT_SERVER) -> int:
    """Explain why a job does not run."""
    async with server.client() as client:
        show(await client.explain(job_id), output)
    return OK
