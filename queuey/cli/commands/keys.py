"""`queuey key`: API keys. They are made here; the server knows only their hashes."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, Parameter

from queuey.cli.exits import OK, explain
from queuey.errors import SettingsError
from queuey.protocol.credentials import new_key, parse_grant

app = App(name="key")


@app.command
def new(
    name: Annotated[
        str | None, Parameter(help="What logs call it, for example the program that uses it. Default: a random one.")
    ] = None,
    /,
    *,
    scope: Annotated[
        Sequence[str],
        Parameter(
            help="submit, read, work or admin (which holds the others), with @ and the name of a queue for that "
            "queue alone. May be repeated.",
            metavar="SCOPE",
            negative=(),
            show_default="submit, read",
        ),
    ] = ("submit", "read"),
) -> int:
    """Make an API key. Prints two lines: its secret, and its entry for QUEUEY_API_KEYS, which holds only a hash."""
    name = name or f"key-{secrets.token_hex(3)}"
    grants = []
    for text in scope:
        try:
            grants.append(parse_grant(text))
        except ValueError as error:
            raise SettingsError(f"--scope: {text[:70]!r} {error}.") from None
    try:
        secret, entry = new_key(name, grants)
    except ValueError as error:
        raise SettingsError(f"A key {error}.") from None
    explain("The key, shown this once. Clients send it as `x-api-key: KEY` or `authorization: Bearer KEY`:")
    print(secret, flush=True)
    explain("Its entry for QUEUEY_API_KEYS on the server; commas separate several:")
    print(entry, flush=True)
    return OK
