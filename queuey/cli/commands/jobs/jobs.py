"""`queuey job`: single jobs, and lists of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from cyclopts import App

from queuey.cli.arguments import usage
from queuey.cli.commands.jobs.bulk import enqueue_many
from queuey.cli.commands.jobs.each import each
from queuey.cli.commands.jobs.enqueue import PayloadText, enqueue, read_payload
from queuey.cli.commands.jobs.matching import (
    ANY,
    ANY_ENDED,
    AllJobs,
    DryRun,
    Limit,
    SomeIds,
    Which,
    WhichEnded,
    act_on_matching,
    given_ids,
)
from queuey.cli.exits import OK, code_of_jobs
from queuey.cli.exits import explain as complain
from queuey.cli.failures import report
from queuey.cli.options import DEFAULT_SERVER, JobId, JobIds, Output, Server, Yes, count, duration, switch
from queuey.cli.output import show, show_all, show_each
from queuey.client import Client, ClientError, Unreachable
from queuey.protocol.models import Job
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
    which: WhichEnded = ANY_ENDED,
    limit: Annotated[int, count("Maximum number of jobs. With -o jsonl, each is printed on arrival.", MOST)] = 50,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """List jobs."""
    async with server.client() as client:
        jobs = client.jobs(**which.filters())
        await show_each((_with_attempt(job, output) async for job in jobs), limit, COLUMNS, output)
    return OK


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


@app.command(usage=usage("job cancel", "[ID...]"))
async def cancel(
    job_ids: SomeIds = None,
    /,
    *,
    which: Which = ANY,
    every: AllJobs = False,
    limit: Limit = 1000,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """Cancel jobs: those with these ids, or with --yes all that match.

    A running job is `cancelling` until its handler has stopped.
    """
    if (ids := given_ids(job_ids, which, every)) is not None:
        return await each(server, ids, Client.cancel, ("job_id", "status"), output)
    return await act_on_matching(
        server, "cancel", which, every=every, limit=limit, dry_run=dry_run, yes=yes, form=output
    )


@app.command(usage=usage("job retry", "[ID...]"))
async def retry(
    job_ids: SomeIds = None,
    /,
    *,
    which: WhichEnded = ANY_ENDED,
    every: AllJobs = False,
    limit: Limit = 1000,
    dry_run: DryRun = False,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """Retry dead jobs, and run scheduled jobs immediately.

    With filters: dead jobs, or with --status scheduled those.
    """
    if (ids := given_ids(job_ids, which, every)) is not None:
        return await each(server, ids, Client.retry, ("job_id", "status"), output)
    return await act_on_matching(
        server, "retry", which, every=every, limit=limit, dry_run=dry_run, yes=True, form=output
    )


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


@app.command(usage=usage("job delete", "[ID...]"))
async def delete(
    job_ids: SomeIds = None,
    /,
    *,
    which: WhichEnded = ANY_ENDED,
    every: AllJobs = False,
    limit: Limit = 1000,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """Delete finished jobs: those with these ids, or with --yes all that match.

    With ids it prints nothing.
    """
    if (ids := given_ids(job_ids, which, every)) is not None:
        return await each(server, ids, Client.delete)
    return await act_on_matching(
        server, "delete", which, every=every, limit=limit, dry_run=dry_run, yes=yes, form=output
    )


@app.command
async def explain(job_id: JobId, /, *, output: Output = "table", server: Server = DEFAULT_SERVER) -> int:
    """Explain why a job does not run."""
    async with server.client() as client:
        show(await client.explain(job_id), output)
    return OK
