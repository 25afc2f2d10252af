"""Exit codes, the same for every command. docs/cli.md lists them for users."""

from __future__ import annotations

import sys
from typing import Final

OK: Final = 0
FAILED: Final = 1
"""The command was done, and what it tells is a failure: a job that did not succeed, a line that was refused."""
USAGE: Final = 2
UNREACHABLE: Final = 3
"""The server cannot start, or cannot be reached."""
NOT_FOUND: Final = 4
REFUSED: Final = 5
WRONG_STATE: Final = 6
TIMED_OUT: Final = 7
INTERRUPTED: Final = 130


def explain(text: str) -> None:
    """Say something to whoever sits there. stdout is for data alone."""
    print(text, file=sys.stderr, flush=True)
