"""What a server, or the way to it, refused: told to the user, and made an exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queuey.cli.exits import REFUSED, code_of, explain
from queuey.settings.client_access import KEY_VARIABLE

if TYPE_CHECKING:
    from queuey.client import ClientError


def told(error: Exception) -> int | None:
    """Say on stderr what an error of the client means, and return the exit code; None for any other, which is a bug."""
    from queuey.client import ClientError  # late: commands without a client need not wait for it

    return told_of(error) if isinstance(error, ClientError) else None


def told_of(error: ClientError, what: str = "") -> int:
    """The same for an error that is known to be the client's. `what`: what it happened to."""
    code = code_of(error.status)
    explain(f"queuey: {what}{error}")
    if code == REFUSED:
        explain(f"The key is read from {KEY_VARIABLE}; a server that has no keys takes `dev`.")
    return code
