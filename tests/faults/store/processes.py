"""Processes that others than the suite start: an embedded store, and those of a replica. Linux only."""

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


def descendants(pid: int) -> set[int]:
    """The processes that this one has started, and those that these have."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
    found, new = set[int](), {pid}
    while new := {child for child, parent in parents.items() if parent in new}:
        found |= new
    return found
