"""The directory of the embedded store: who may use it, and its locks.

Its mode, 0700, is the only protection of the store: there is no password, and the socket is in this directory.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shlex
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from queuey.errors import StartupError
from queuey.settings.data_dir import DEVELOPMENT_DIR, PROJECT_DIR

_POLL: Final = 0.02


def prepare(path: Path) -> None:
    """Make the directory, or check that no other user can have changed its content.

    The right of other users to read it is removed. Raises StartupError, which says what to change."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check(path)
        if path.name in (PROJECT_DIR, DEVELOPMENT_DIR):
            _keep_out_of_git(path)
    except FileExistsError as error:
        raise StartupError(
            f"The data directory {path} is not a directory. Move the file away, or give another --data-dir."
        ) from error
    except OSError as error:
        raise StartupError(
            f"The data directory {path} cannot be used: {error.strerror}. Give another --data-dir."
        ) from error


def _check(path: Path) -> None:
    info = path.stat()
    mode = stat.S_IMODE(info.st_mode)
    quoted = shlex.quote(str(path))
    if info.st_uid != os.geteuid():
        raise StartupError(
            f"The data directory {path} belongs to another user (uid {info.st_uid}; this is {os.geteuid()}). Run as "
            f"that user; if you trust what is in it, run: chown -R {os.geteuid()} {quoted}; or give another "
            "--data-dir, in a shared place a new directory inside it."
        )
    if mode & 0o022:
        raise StartupError(
            f"Other users can write to the data directory {path} (mode {mode:04o}). If you trust what is in "
            f"it, run: chmod 700 {quoted}. If not, or if the place is shared, give another --data-dir, such as a "
            "new directory inside it."
        )
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise StartupError(
            f"The data directory {path} cannot be written to (mode {mode:04o}). Run: chmod 700 {quoted}, mount "
            "its file system for writing, or give another --data-dir."
        )
    if mode & 0o077:
        path.chmod(0o700)


def _keep_out_of_git(path: Path) -> None:
    """Make Git ignore the directory, so that payloads are never committed."""
    file = path / ".gitignore"
    if not file.exists() or not file.stat().st_size:  # an empty one is left by a disk that was full
        with suppress(OSError):  # a full disk has an error message of its own
            file.write_text("*\n")


def sync_names(path: Path) -> None:
    """Sync the directory and all directories above it, so that their names and its files survive a power cut.

    The sync of a file does not include its name, or the name of a new directory above it."""
    for folder in (path, *path.parents):
        with suppress(PermissionError):  # a directory that may not be read is neither new nor ours
            fd = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


class FileLock:
    """A lock that the kernel releases when its holder ends, however it ends.

    The lock belongs to the open file: a process that inherits the descriptor holds it too. Descriptors are closed on
    exec, and a forked child closes its copies at once (`_drop_in_child`). The file is never deleted, since a
    second file of that name would be a second lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def try_acquire(self, *, shared: bool = False) -> bool:
        """Take the lock, or change a held one into this kind. After False nothing is held, even if it was before."""
        if self._fd is None:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            _held.add(self)
        try:
            fcntl.flock(self._fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            return False
        except OSError:
            self.release()
            raise
        return True

    def release(self) -> None:
        """Close the file, which releases the lock unless another process has inherited it."""
        if self._fd is not None:
            _held.discard(self)
            os.close(self._fd)
            self._fd = None

    def fileno(self) -> int:
        """Return the descriptor that holds the lock, for a child process."""
        if self._fd is None:
            raise ValueError(f"{self.path} is not locked")
        return self._fd

    @property
    def held(self) -> bool:
        return self._fd is not None

    @property
    def note(self) -> str:
        """The word that the last holder left for others."""
        return self.path.read_text().strip()

    @note.setter
    def note(self, word: str) -> None:
        if self.note != word:  # no write without a change, since a full disk would refuse it
            self.path.write_text(word + "\n")


@asynccontextmanager
async def exclusively(path: Path, timeout: float) -> AsyncIterator[None]:
    """Hold the lock of that file. Raises StartupError after `timeout` seconds, with the process that has it."""
    lock = FileLock(path)
    deadline = time.monotonic() + timeout
    while not lock.try_acquire():
        if time.monotonic() >= deadline:
            raise StartupError(
                f"Process {lock.note or 'unknown'} has held {path} for over {timeout:.0f} s. Wait until it "
                "has started or stopped the store, or end it."
            )
        await asyncio.sleep(_POLL)
    try:
        with suppress(OSError):  # on a full disk, the lock works without its note
            lock.note = str(os.getpid())
        yield
    finally:
        lock.release()


_held: Final[set[FileLock]] = set()


def _drop_in_child() -> None:
    for lock in tuple(_held):
        lock.release()


os.register_at_fork(after_in_child=_drop_in_child)
