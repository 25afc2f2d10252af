"""The processes of an embedded store, which the replicas start and the suite does not. Linux only."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

END_PATIENCE: Final = 5.0


def processes_in(folder: Path) -> list[int]:
    """The store, and its child while it rewrites: those that work in its folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").readlink() == folder and _lives(entry):
                found.append(int(entry.name))
    return found


def _lives(entry: Path) -> bool:
    state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
    return state != "Z"


def kill_all(folder: Path) -> None:
    """At once, and until none is left: a process may have had a child meanwhile. Raises TimeoutError."""
    give_up = time.monotonic() + END_PATIENCE
    while left := processes_in(folder):
        if time.monotonic() > give_up:
            raise TimeoutError(f"the processes {left} do not end")
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
