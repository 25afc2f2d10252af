"""Unpacks what the launcher has not: FILE NEW PLACE START FIRST CRC. The launcher runs it, with -I and -S.

FILE has, from the byte START on: a tar of FIRST bytes, which the launcher has unpacked into the folder NEW, then frames
of zstd, each with some of the other files. CRC is that of the tar; frames have checksums of their own. When all is
there, NEW becomes PLACE. The tar has no other modules than those that are imported at the top.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
import threading
import time
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    # The launcher's -S leaves out the folder of the packages.
    sys.path.append(os.path.join(os.path.dirname(os.__file__), "site-packages"))
    from backports import zstd

KEPT = 2
"""The number of other versions that stay, in the order of their last starts."""
ABANDONED_AFTER = 60.0
"""Seconds after which a folder that no process has locked is removed: its process was killed. The launcher's tar, which
has no lock, is quicker."""
MAX_THREADS = 4
NEW = "queuey-new."
"""How the names begin of folders that the launcher unpacks to. No folder of anything else may be removed."""
WHOLE = "whole"
"""The file that says that a folder is complete. It is written last and never touched again: so a cleaner of /tmp
removes it no later than any other file, and after a power cut it is most likely empty if others are."""
DAMAGED = 2


def unpack(file: str, new: str, place: str, start: int, first: int, crc: int) -> None:
    """Write the files that are not in the tar. Exits with DAMAGED if the file is not the one that was built."""
    with open(file, "rb") as source:
        data = memoryview(mmap.mmap(source.fileno(), 0, prot=mmap.PROT_READ))
    # The launcher names its folder after all of the content.
    if (
        os.fsencode(os.path.basename(place)) not in bytes(data[:start])
        or zlib.crc32(data[start : start + first]) != crc
    ):
        sys.exit(DAMAGED)
    frames = []
    at = start + first
    while at < len(data):
        size = zstd.get_frame_size(data[at:])
        frames.append(data[at : at + size])
        at += size
    failures: list[Exception] = []
    work = (iter(frames), os.open(new, os.O_RDONLY), failures)
    others = [
        threading.Thread(target=write_frames, args=work) for _ in range(min(MAX_THREADS, os.cpu_count() or 1) - 1)
    ]
    for thread in others:
        thread.start()
    write_frames(*work)
    for thread in others:
        thread.join()
    if failures:
        raise failures[0]


def write_frames(frames: Iterator[memoryview], folder: int, failures: list[Exception]) -> None:
    """Write the files of one frame after another, until none is left or a thread has failed. Threads share `frames`."""
    try:
        for frame in frames:
            if failures:
                break
            write_files(zstd.decompress(frame), folder)
    except Exception as error:
        failures.append(error)


def write_files(data: bytes, folder: int) -> None:
    """Write the files of a frame: a line "mode size path" for each, an empty line, then their contents."""
    end = data.index(b"\n\n")
    contents = memoryview(data)[end + 2 :]
    for line in data[:end].decode().split("\n"):
        mode, size, path = line.split(" ", 2)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, int(mode, 8), dir_fd=folder), "wb") as output:
            output.write(contents[: int(size)])
        contents = contents[int(size) :]


def settle(new: str, place: str) -> None:
    """Rename `new` to `place`, unless another process was quicker."""
    with open(os.path.join(new, WHOLE), "wb") as mark:
        mark.write(b"yes\n")
    os.chmod(new, 0o755)
    try:
        os.rename(new, place)
    except OSError:
        if is_whole(place):
            remove(new)
        else:  # A power cut or a cleaner of temporary folders has left it in part.
            os.rename(place, f"{new}.old")
            os.rename(new, place)


def clean(base: str, place: str) -> None:
    """Remove what is old in a folder of unpackings, except `place`."""
    beside = [entry for entry in os.scandir(base) if entry.path != place and entry.is_dir(follow_symlinks=False)]
    versions = [entry for entry in beside if not entry.name.startswith(NEW) and is_whole(entry.path)]
    versions.sort(key=last_start, reverse=True)
    new = [entry for entry in beside if entry.name.startswith(NEW)]
    abandoned = [entry for entry in new if time.time() - last_start(entry) > ABANDONED_AFTER]
    for entry in (*versions[KEPT:], *abandoned):
        remove_unused(entry.path)


def is_whole(folder: str) -> bool:
    """Return whether everything was unpacked to the folder. The launcher asks the same."""
    try:
        return os.stat(os.path.join(folder, WHOLE)).st_size > 0
    except OSError:
        return False


def last_start(folder: os.DirEntry[str]) -> float:
    """Return when a process last started from the folder, or when it was made.

    Infinity if it is gone: another first start has given it its name, or has removed it.
    """
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def remove_unused(folder: str) -> None:
    """Remove an unpacking, unless a process runs from it (sitecustomize.py) or unpacks into it."""
    if lock(folder, fcntl.LOCK_EX) is not None:
        remove(folder)


def remove(folder: str) -> None:
    """Remove a folder. First what says that it is complete."""
    # Only here: they are not in the tar.
    import contextlib
    import shutil

    with contextlib.suppress(OSError):
        os.unlink(os.path.join(folder, WHOLE))
    shutil.rmtree(folder, ignore_errors=True)


def lock(folder: str, kind: int) -> int | None:
    """Lock a folder until this process ends, and return its descriptor; None if another process has locked it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return None
    return descriptor


def main() -> None:
    """Do what the command line says. The last line of stderr is the reason if it fails."""
    file, new, place = sys.argv[1:4]
    start, first, crc = (int(word) for word in sys.argv[4:7])
    os.umask(0o022)
    lock(new, fcntl.LOCK_SH)
    try:
        unpack(file, new, place, start, first, crc)
        clean(os.path.dirname(new), place)  # before `new`, from which this Python runs, has another name
        settle(new, place)
    except zstd.ZstdError:
        sys.exit(DAMAGED)
    except OSError as error:
        sys.exit(f"{error.strerror}: {error.filename or new}")


if __name__ == "__main__":
    main()
