"""One thing done to each of several jobs. One that cannot be done does not keep the rest from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from queuey.cli.exits import OK, explain
from queuey.cli.failures import told_of
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
    """Print what came of each. The exit code is that of the first that failed, and stderr names them all.

    Where the server is lost, the rest is left alone, and what was done until then is printed all the same.
    """
    code = OK
    outcomes: list[Struct] = []
    async with server.client() as client:
        for done, job_id in enumerate(job_ids):
            try:
                outcome = await act(client, job_id)
            except ClientError as error:
                refused = told_of(error, f"{job_id}: ")
                code = code or refused
                if isinstance(error, Unreachable):
                    explain(f"queuey: stopped there; {len(job_ids) - done - 1} more were not tried.")
                    break
            else:
                outcomes += [outcome] if outcome is not None else []
    if outcomes or not code:
        show_all(outcomes, columns, form)
    return code
