"""The standard streams of this process."""

from __future__ import annotations

import os
import sys


def open_standard_streams() -> None:
    """Open /dev/null as stdin, stdout and stderr where they are closed, as after `<&-` in a shell.

    Otherwise sockets and files of this process get their numbers: the programs that handlers start would use them as
    their streams, libuv aborts when it closes them, and errors have nowhere to go.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
