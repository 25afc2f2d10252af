"""Turns for the processes of one test run: tests marked `serial` run while no other test runs."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Turns:
    """A lock that many tests share or one test holds alone, for all processes that name the same folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._door = folder / "door"
        self._room = folder / "room"

    @contextmanager
    def take(self, *, alone: bool) -> Iterator[None]:
        """Wait for a turn, and hold it. Nobody passes the door while a test waits there for the room to be empty."""
        how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        with locked(self._door, fcntl.LOCK_EX) as door, locked(self._room, how):
            fcntl.flock(door, fcntl.LOCK_UN)
            yield


@contextmanager
def locked(path: Path, how: int) -> Iterator[int]:
    """Hold a lock on a file. It ends with this block, even if a child process has inherited the open file."""
    with path.open("a") as file:
        fcntl.flock(file, how)
        try:
            yield file.fileno()
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
