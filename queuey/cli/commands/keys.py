"""`queuey key`: API keys. They are created here, and the server knows only their hashes."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, Parameter

from queuey.cli.arguments import usage
from queuey.cli.exits import OK, explain
from queuey.errors import SettingsError
from queuey.protocol.credentials import new_key, parse_grant

app = App(name="key")


@app.command(usage=usage("key new", "[NAME]"))
def new(
    name: Annotated[
        str | None, Parameter(help="Name of the key in logs, for example its program. Default: random.")
    ] = None,
    /,
    *,
    scope: Annotated[
        Sequence[str],
        Parameter(
            help="Scope (submit, read, work, admin) or SCOPE@QUEUE. Repeatable.",
            metavar="SCOPE",
            negative=(),
            show_default="submit, read",
        ),
    ] = ("submit", "read"),
) -> int:
    """Create an API key.

    It prints two lines: the secret, and its entry for QUEUEY_API_KEYS, which contains only a hash.
    """
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
    explain("The key, which is shown only once. Clients send it as `x-api-key: KEY` or `authorization: Bearer KEY`:")
    print(secret, flush=True)
    explain("The entry for QUEUEY_API_KEYS on the server. Separate several with commas:")
    print(entry, flush=True)
    return OK
