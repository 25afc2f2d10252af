"""`queuey worker`: who runs jobs."""

from __future__ import annotations

from typing import Annotated, Final

from cyclopts import App, Parameter

from queuey.cli.exits import OK
from queuey.cli.options import HERE, Output, Server
from queuey.cli.output import show, show_all

COLUMNS: Final = ("name", "kind", "busy", "slots", "quiet", "version", "last_seen", "queues")

app = App(name="worker")


@app.command(name="list")
async def list_(*, output: Output = "table", server: Server = HERE) -> int:
    """List the workers: in the servers, and those that fetch jobs over HTTP."""
    async with server.client() as client:
        show_all(await client.workers(), COLUMNS, output)
    return OK


@app.command
async def quiet(
    worker: Annotated[str, Parameter(metavar="WORKER", help="Its name, from `queuey worker list`.")],
    /,
    *,
    output: Output = "table",
    server: Server = HERE,
) -> int:
    """Have a worker take no more jobs, until it is started anew.

    What it runs goes on.
    """
    async with server.client() as client:
        show(await client.quiet(worker), output)
    return OK
