"""`queuey audit`: what operators did."""

from __future__ import annotations

from typing import Annotated, Final

from queuey.cli.exits import OK
from queuey.cli.options import DEFAULT_SERVER, Output, Server, count
from queuey.cli.output import show_each

COLUMNS: Final = ("at", "name", "via", "action", "target", "number", "outcome", "detail", "filter")
MOST: Final = 20_000


async def audit(
    *,
    limit: Annotated[int, count("Maximum number of entries. With -o jsonl, each is printed on arrival.", MOST)] = 50,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """Show what operators did, newest first."""
    async with server.client() as client:
        await show_each(client.audit(), limit, COLUMNS, output)
    return OK
