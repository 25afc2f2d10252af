"""`queuey worker`: the workers that run jobs."""

from __future__ import annotations

from typing import Annotated, Final

from cyclopts import App, Parameter

from queuey.cli.exits import OK
from queuey.cli.options import DEFAULT_SERVER, Output, Server
from queuey.cli.output import show, show_all

COLUMNS: Final = ("name", "app", "kind", "busy", "slots", "quiet", "gone", "version", "last_seen", "queues", "types")

app = App(name="worker")


@app.command(name="list")
async def list_(*, output: Output = "table", server: Server = DEFAULT_SERVER) -> int:
    """List the workers: replicas that run jobs, and pull workers."""
    async with server.client() as client:
        show_all(await client.workers(), COLUMNS, output)
    return OK


@app.command
async def quiet(
    worker: Annotated[str, Parameter(metavar="WORKER", help="Worker name, from `queuey worker list`.")],
    /,
    *,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """Stop a worker from claiming jobs, until it restarts.

    Its running jobs continue.
    """
    async with server.client() as client:
        show(await client.quiet(worker), output)
    return OK
