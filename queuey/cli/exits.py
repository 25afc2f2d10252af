"""Exit codes, the same for every command. docs/cli.md lists them for users."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from queuey.protocol.models import FINAL, Job

OK: Final = 0
FAILED: Final = 1
"""The command was done, but the outcome is a failure: a job did not succeed, or a line was refused."""
USAGE: Final = 2
UNREACHABLE: Final = 3
"""The server cannot start, cannot be reached, or is full."""
NOT_FOUND: Final = 4
REFUSED: Final = 5
WRONG_STATE: Final = 6
TIMED_OUT: Final = 7
INTERRUPTED: Final = 130
READER_GONE: Final = 141
"""The reader of stdout has closed it. Shells show this code for SIGPIPE."""

_CODE_BY_STATUS: Final = {
    400: USAGE,
    401: REFUSED,
    403: REFUSED,
    404: NOT_FOUND,
    409: WRONG_STATE,
    412: WRONG_STATE,
    413: USAGE,
    422: USAGE,
    429: UNREACHABLE,
    502: UNREACHABLE,
    503: UNREACHABLE,
    504: UNREACHABLE,
}


def code_of(status: int | None) -> int:
    """Return the exit code for an HTTP status. None means that no answer came."""
    return UNREACHABLE if status is None else _CODE_BY_STATUS.get(status, FAILED)


def code_of_jobs(jobs: Sequence[Job]) -> int:
    """Return the exit code for jobs: OK if all succeeded, FAILED if one did not, TIMED_OUT if one has not finished."""
    if any(job.status not in FINAL for job in jobs):
        return TIMED_OUT
    return OK if all(job.status == "succeeded" for job in jobs) else FAILED


def explain(text: str) -> None:
    """Print a message for people on stderr. stdout is only for data."""
    print(text, file=sys.stderr, flush=True)


def leave_stdout() -> None:
    """Discard what is still to be written, because its reader is gone. Otherwise Python reports an error at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
