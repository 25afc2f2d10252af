"""Real forks in tests: a function runs in a child of this process, and its result comes back."""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

SECONDS: Final = 20
"""A child that takes longer is ended by SIGALRM."""


def in_child(work: Callable[[], Any]) -> Any:
    """Fork, and return what `work` returned in the child, which then ends at once. Raises AssertionError."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        try:
            answer = (True, work())
        except BaseException:
            answer = (False, traceback.format_exc())
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child ended with {os.waitstatus_to_exitcode(status)}"
    done, result = pickle.loads(text)
    assert done, result
    return result


def local_ports() -> set[int]:
    """The local ports of the TCP sockets that this process has open, inherited ones too. Linux only."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    port_of = {f"socket:[{row[9]}]": int(row[1].rpartition(":")[2], 16) for row in rows}
    found = set()
    for entry in os.scandir("/proc/self/fd"):
        with suppress(OSError):  # the descriptor of this scan, for example
            found.add(port_of.get(os.readlink(entry), 0))
    return found - {0}
