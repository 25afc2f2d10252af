"""The append-only file of the embedded store: the damage that a crash can leave, and its repair.

The server itself cuts off a torn last command (`aof-load-truncated yes`). A power cut can also leave a file whose
length was written but whose last blocks were not, so that it ends in zero bytes. The server then refuses to start. If
the zeros begin inside the last argument of the last command, it takes them for data. An intact file ends in a line
feed, so the last byte shows the damage. Only the zeros are cut here. The rest ends in a torn command at worst.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from queuey.errors import StartupError

FOLDER: Final = "appendonlydir"
COPIES: Final = 3
SPARE: Final = 64 << 20
"""Bytes of disk that keeping a copy must leave free."""

_MANIFEST: Final = "appendonly.aof.manifest"
_CHUNK: Final = 1 << 20
_CHECK_TIMEOUT: Final = 300.0


class ZeroTail(NamedTuple):
    """The zeros at the end of the last increment, `file`: they begin at byte `start` of `size` bytes."""

    file: Path
    start: int
    size: int


class Damage(NamedTuple):
    """The first command of `file` that cannot be read begins at byte `offset`; it is `size` bytes long."""

    file: Path
    offset: int
    size: int


def last_increment(data_dir: Path) -> Path | None:
    """Return the file that the server appends to, or None before the first start."""
    try:
        lines = (data_dir / FOLDER / _MANIFEST).read_text().splitlines()
    except FileNotFoundError:
        return None
    names = [words[1] for words in map(str.split, lines) if words[:1] == ["file"] and words[-2:] == ["type", "i"]]
    return data_dir / FOLDER / names[-1] if names else None


def ends_in_zero(file: Path) -> bool:
    """Return whether the last byte is zero. It takes a single read, so that every start can check it."""
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - 1))
        return stream.read(1) == b"\0"


def find_zero_tail(file: Path) -> ZeroTail:
    """Find where the zeros at the end begin. Reads all of them."""
    with file.open("rb") as stream:
        size = end = stream.seek(0, os.SEEK_END)
        kept = 0
        while end and not kept:
            chunk = min(end, _CHUNK)
            end = stream.seek(end - chunk)
            kept = len(stream.read(chunk).rstrip(b"\0"))
    return ZeroTail(file, end + kept, size)


def keep_copy(file: Path, folder: Path) -> Path:
    """Copy a damaged file into `folder`, which keeps the newest COPIES. Raises StartupError on a full disk."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for old in sorted(folder.iterdir())[: -(COPIES - 1)]:
        old.unlink()
    needed = file.stat().st_size + SPARE
    if shutil.disk_usage(folder).free < needed:
        raise StartupError(
            f"{file} is damaged. Queuey can repair it, but there is no room for a copy of it first. Free "
            f"{needed >> 20} MB on the disk of {folder}."
        )
    copy = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{file.name}"
    shutil.copyfile(file, copy)
    _sync(copy)
    return copy


def cut(tail: ZeroTail) -> None:
    """Cut the zeros off, and nothing else."""
    os.truncate(tail.file, tail.start)
    _sync(tail.file)


def remove_leftovers(data_dir: Path) -> None:
    """Delete the unfinished files of a killed server. Call it only while no server runs."""
    for folder in (data_dir, data_dir / FOLDER):
        for path in folder.glob("temp-*"):
            path.unlink()


def find_damage(data_dir: Path, log: str, binary: Path) -> Damage | None:
    """Find the damage in the file that the server's log names. Reads it once, with Valkey's own checker."""
    complaint = re.search(r"reading the append only file (\S+?)[.:]\s", log)
    if complaint is None:
        return None
    file = data_dir / FOLDER / Path(complaint[1]).name
    # The server binary is the checker when called by its name. It is given the one file: with a manifest, the
    # checker of Valkey 9.1 takes an intact base file for a broken one.
    try:
        check = subprocess.run(
            ["valkey-check-aof", file],
            executable=binary,
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_CHECK_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return None
    found = re.search(rb"size=(\d+), ok_up_to=(\d+),", check.stdout)
    return Damage(file, int(found[2]), int(found[1])) if found else None


def _sync(file: Path) -> None:
    fd = os.open(file, os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
