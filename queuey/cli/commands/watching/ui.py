"""`queuey ui`: the sessions of the page."""

from __future__ import annotations

from cyclopts import App

from queuey.cli.exits import OK, explain
from queuey.cli.options import DEFAULT_SERVER, Server

app = App(name="ui")


@app.command
async def logout_all(*, server: Server = DEFAULT_SERVER) -> int:
    """End all sessions of the page. Other replicas follow within 5 seconds."""
    async with server.client() as client:
        await client.end_sessions()
    explain("All sessions have ended.")
    return OK
