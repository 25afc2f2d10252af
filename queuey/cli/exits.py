"""Exit codes, the same for every command. docs/cli.md lists them for users."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from queuey.protocol.models import FINAL, Job

OK: Final = 0
FAILED: Final = 1
"""The command was done, and what it tells is a failure: a job that did not succeed, a line that was refused."""
USAGE: Final = 2
UNREACHABLE: Final = 3
"""The server cannot start, cannot be reached, or has no room now."""
NOT_FOUND: Final = 4
REFUSED: Final = 5
WRONG_STATE: Final = 6
TIMED_OUT: Final = 7
INTERRUPTED: Final = 130
READER_GONE: Final = 141
"""Whoever read stdout has closed it; the code that a shell shows for SIGPIPE."""

_OF_STATUS: Final = {
    400: USAGE,
    401: REFUSED,
    403: REFUSED,
    404: NOT_FOUND,
    409: WRONG_STATE,
    413: USAGE,
    422: USAGE,
    429: UNREACHABLE,
    502: UNREACHABLE,
    503: UNREACHABLE,
    504: UNREACHABLE,
}


def code_of(status: int | None) -> int:
    """The exit code for an answer's HTTP status; None: there was no answer."""
    return UNREACHABLE if status is None else _OF_STATUS.get(status, FAILED)


def code_of_jobs(jobs: Sequence[Job]) -> int:
    """Whether all of them have ended, and well."""
    if any(job.status not in FINAL for job in jobs):
        return TIMED_OUT
    return OK if all(job.status == "succeeded" for job in jobs) else FAILED


def explain(text: str) -> None:
    """Say something to whoever sits there. stdout is for data alone."""
    print(text, file=sys.stderr, flush=True)


def leave_stdout() -> None:
    """Let what is still to be written go nowhere, since its reader is gone; else Python complains of it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
