"""What stands behind the launcher: a tar of what Python needs to start, then all other files in frames of zstd.

The tar is not compressed, so that `tar` suffices. inside/unpack.py unpacks the frames, several at a time.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from scripts.binary.libraries import dependencies, is_elf

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BLOCK: Final = 8192
"""Bytes of the launcher. The tar has a multiple of it."""
FRAME: Final = 3_000_000
"""Bytes in a frame, before it is compressed: few enough for a thread's memory, and frames for each thread."""
LEVEL: Final = 12
STARTING: Final = ("bin/python3", "pyvenv.cfg", "unpack.py", "lib/python*/os.py", "lib/*.dylib")
"""Patterns of files that no module names. Python looks for os.py to find its library."""
_NAME_MODULES: Final = """
import runpy, sys
runpy.run_path(sys.argv[1])
modules = list(sys.modules.values())
print(*(getattr(module, name, None) or "" for module in modules for name in ("__file__", "__cached__")), sep="\\n")
"""


class Payload:
    """The bytes, and what the launcher must know of them."""

    def __init__(self, tree: Path, level: int = LEVEL) -> None:
        tree = tree.resolve()  # as Python names its modules
        files = [path for path in sorted(tree.rglob("*")) if path.is_file()]
        first = set(needed_to_unpack(tree))
        self.unpacked = sum(file.stat().st_size for file in files)
        starting = tarred(tree, [path for path in sorted(tree.rglob("*")) if path.is_dir() or path in first])
        self.blocks = len(starting) // BLOCK
        self.data = starting + b"".join(frames(tree, (file for file in files if file not in first), level))
        self.crc = zlib.crc32(starting)


def needed_to_unpack(tree: Path) -> Iterator[Path]:
    """Yield the files that inside/unpack.py needs."""
    files = {path for pattern in STARTING for path in tree.glob(pattern)}
    command = [f"{tree}/bin/python3", *("-I", "-S", "-X", "utf8", "-c"), _NAME_MODULES, f"{tree}/unpack.py"]
    named = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split("\n")
    files.update(path for path in map(Path, filter(None, named)) if path.is_relative_to(tree) and path.exists())
    yield from files
    if sys.platform == "linux":
        needed = {path.resolve() for file in files if is_elf(file) for path in dependencies(file).values()}
        yield from (path for path in needed if path.is_relative_to(tree))


def tarred(tree: Path, paths: Iterable[Path]) -> bytes:
    """Return a tar of whole blocks. The same tree gives the same bytes."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mtime = 0
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    raw = io.BytesIO()
    with tarfile.open(mode="w", fileobj=raw, format=tarfile.GNU_FORMAT) as archive:
        for path in paths:
            archive.add(path, str(path.relative_to(tree)), recursive=False, filter=plain)
    return raw.getvalue() + bytes(-len(raw.getvalue()) % BLOCK)


def frames(tree: Path, files: Iterable[Path], level: int) -> Iterator[bytes]:
    """Yield compressed frames: a line "mode size path" for each file, an empty line, then their contents."""
    parameter = zstd.CompressionParameter
    options: dict[int, int] = {parameter.compression_level: level, parameter.checksum_flag: 1}
    lines, contents = "", b""
    for file in sorted(files, key=lambda file: (file.suffix, file)):  # files of a kind are alike
        data = file.read_bytes()
        lines += f"{'755' if file.stat().st_mode & 0o100 else '644'} {len(data)} {file.relative_to(tree)}\n"
        contents += data
        if len(contents) > FRAME:
            yield zstd.compress(lines.encode() + b"\n" + contents, options=options)
            lines, contents = "", b""
    if lines:
        yield zstd.compress(lines.encode() + b"\n" + contents, options=options)
