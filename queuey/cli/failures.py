"""Errors of the client: their messages on stderr, and their exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queuey.cli.exits import REFUSED, code_of, explain
from queuey.protocol.server_url import KEY_VARIABLE

if TYPE_CHECKING:
    from queuey.client import ClientError


def exit_code(error: Exception) -> int | None:
    """Report an error of the client and return its exit code. Return None for any other error, which is a bug."""
    from queuey.client import ClientError  # late: commands without a client need not wait for it

    return report(error) if isinstance(error, ClientError) else None


def report(error: ClientError, subject: str = "") -> int:
    """Report an error on stderr, with `subject` before it, and return its exit code."""
    code = code_of(error.status)
    explain(f"queuey: {subject}{error}")
    if code == REFUSED:
        explain(f"Set {KEY_VARIABLE} to a valid key. The key of a server without keys is `dev`.")
    return code
