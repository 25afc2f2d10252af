"""Moving the store of a data directory to another one, while nobody uses it."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from queuey.errors import StartupError
from queuey.store.embedded.aof import FOLDER
from queuey.store.embedded.data_dir import FileLock, exclusively, prepare, sync_names
from queuey.store.embedded.store import LOCK_SECONDS, EmbeddedStore

_BUSY: Final = "is in use. Stop every `queuey serve`, export and import that uses it, then run this command again."


def holds_store(data_dir: Path) -> bool:
    """Return whether a private Valkey has kept data in this directory."""
    return os.path.isdir(data_dir / FOLDER)


async def move_store(old: Path, new: Path) -> None:
    """Move the data directory `old`, which no process may use. `new` must not exist, or be an empty directory.

    Nobody can start a store in `old` meanwhile. If the move is interrupted, at least one of the two is complete, and
    `new` exists only if it is. Raises StartupError, and then has changed nothing, except that a Valkey whose servers
    were all killed has ended."""
    old = _checked(old, new)
    try:
        async with _unused(old):
            _rename_or_copy(old, new)
        sync_names(new)
        sync_names(old.parent)
    except OSError as error:
        raise StartupError(f"The store in {old} cannot be moved to {new}: {error.strerror or error}.") from error


def _checked(old: Path, new: Path) -> Path:
    """Return `old` without links, so that not only a link is moved. Raises StartupError."""
    if not holds_store(old):
        raise StartupError(f"{old} holds no store. Check the path.")
    if os.path.lexists(new) and not _is_empty(new):
        raise StartupError(f"{new} exists, and is not an empty directory. Choose another path, or move it away.")
    old = old.resolve()
    prepare(old)
    return old


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


@asynccontextmanager
async def _unused(data_dir: Path) -> AsyncIterator[None]:
    """Hold all locks of a data directory. A Valkey that runs without a server is stopped first."""
    users, server = FileLock(data_dir / "users.lock"), FileLock(data_dir / "server.lock")
    for attempt in (1, 2):
        async with exclusively(data_dir / "start.lock", LOCK_SECONDS):
            try:
                if not users.try_acquire():
                    raise StartupError(f"The store in {data_dir} {_BUSY}")
                if server.try_acquire():
                    yield
                    return
            finally:
                users.release()
                server.release()
        if attempt == 1:
            left = EmbeddedStore(data_dir)
            await left.start()
            await left.stop()
    raise StartupError(f"The store in {data_dir} {_BUSY}")


def _rename_or_copy(old: Path, new: Path) -> None:
    try:
        os.rename(old, new)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(old, new)


def _copy(old: Path, new: Path) -> None:
    """Copy `old` to another file system, and delete it once the copy is on disk under its name."""
    with tempfile.TemporaryDirectory(prefix=f"{old.name}.", dir=old.parent, ignore_cleanup_errors=True) as doomed:
        partial = Path(tempfile.mkdtemp(prefix=f"{new.name}.", dir=new.parent))
        try:
            shutil.copytree(old, partial, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock"))
            for folder, _, files in os.walk(partial):
                for name in (*files, "."):
                    _sync(os.path.join(folder, name))
            os.rename(partial, new)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        sync_names(new)
        os.rename(old, doomed)  # at once, so that no half of it is ever taken for a store


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
