"""One action on each of several jobs. A job that is refused does not stop the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from queuey.cli.exits import OK, explain
from queuey.cli.failures import report
from queuey.cli.options import Server
from queuey.cli.output import Format, show_all
from queuey.client import Client, ClientError, Unreachable


async def each(
    server: Server,
    job_ids: Sequence[str],
    act: Callable[[Client, str], Awaitable[Struct | None]],
    columns: Sequence[str] = (),
    form: Format = "jsonl",
) -> int:
    """Print the outcome of each job. stderr names all failures; the exit code is that of the first.

    If the server cannot be reached, the other jobs are not tried, and the outcomes so far are printed.
    """
    code = OK
    outcomes: list[Struct] = []
    async with server.client() as client:
        for done, job_id in enumerate(job_ids):
            try:
                outcome = await act(client, job_id)
            except ClientError as error:
                refused = report(error, f"{job_id}: ")
                code = code or refused
                if isinstance(error, Unreachable):
                    explain(f"queuey: stopped here. {len(job_ids) - done - 1} more were not tried.")
                    break
            else:
                outcomes += [outcome] if outcome is not None else []
    if outcomes or not code:
        show_all(outcomes, columns, form)
    return code
