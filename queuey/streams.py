"""The standard streams of a process of Queuey."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any


def open_standard_streams() -> None:
    """Open /dev/null as stdin, stdout and stderr where they are closed, as after `<&-` in a shell.

    Otherwise sockets and files of this process get their numbers: the programs that handlers start would use them as
    their streams, libuv aborts when it closes them, and errors have nowhere to go.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            _open_null(number)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def outlive_terminal() -> None:
    """Let stdout and stderr drop what is written to a terminal that has closed.

    Otherwise a handler that prints would fail during the drain, and Python at its exit.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream.isatty():
            stream.flush()
            raw = io.BufferedWriter(_Terminal(stream.fileno(), "w", closefd=False))
            setattr(sys, name, io.TextIOWrapper(raw, stream.encoding, stream.errors, line_buffering=True))


class _Terminal(io.FileIO):
    """A terminal that may close: what is written then goes to /dev/null."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            _open_null(self.fileno())
            return super().write(data)


def _open_null(number: int) -> None:
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    os.set_inheritable(number, True)
