"""`make binary`: one executable file with Python, Queuey and Valkey, for the platform of this Python.

    python -m scripts.binary FILE

Its parts: the launcher (launcher.sh), then a relocatable folder (payload.py). docs/adr/0027 says why.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import runpy
import sys
import tempfile
from pathlib import Path
from typing import Final

from scripts.binary.libraries import elf_files, make_relocatable
from scripts.binary.payload import BLOCK, Payload
from scripts.binary.tree import ROOT, fill

HERE: Final = Path(__file__).parent
LIMIT: Final = 60_000_000
"""Bytes that the file may have."""
_MARKER: Final = re.compile(rb"\0GLIBC_2\.(\d+)(?=\0)")


def main() -> None:
    """Build the file named on the command line."""
    output = Path(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="queuey-binary-") as scratch:
        tree = Path(scratch) / "tree"
        fill(tree)
        glibc = ""
        if sys.platform == "linux":
            make_relocatable(tree)
            glibc = f"2.{oldest_glibc(tree)}"
        payload = Payload(tree)
    data = with_launcher(payload, glibc)
    output.parent.mkdir(exist_ok=True)
    partial = output.with_name(f"{output.name}.partial")
    partial.write_bytes(data)
    partial.chmod(0o755)
    partial.replace(output)  # a running copy of the file before keeps its own
    needs = f", glibc {glibc} or newer" if glibc else ""
    print(f"{output}: {len(data) / 1e6:.1f} MB, {payload.unpacked / 1e6:.0f} MB unpacked, {place()}{needs}")
    if len(data) > LIMIT:
        sys.exit(f"{output} is larger than {LIMIT / 1e6:.0f} MB")


def oldest_glibc(tree: Path) -> int:
    """Return the minor version of glibc 2 that the binaries of a folder need at least."""
    found = [int(minor) for file in elf_files(tree) for minor in _MARKER.findall(file.read_bytes())]
    return max(found, default=0)


def place() -> str:
    """Return the platform, for example linux-x86_64."""
    return f"{sys.platform}-{platform.machine()}"


def with_launcher(payload: Payload, glibc: str) -> bytes:
    """Return the launcher, filled in, and the payload behind it."""
    version = runpy.run_path(str(ROOT / "queuey" / "version.py"))["__version__"]
    values = {
        "VERSION": version,
        "PLATFORM": place(),
        "ID": f"{version}-{hashlib.sha256(payload.data).hexdigest()[:16]}",
        "SIZE": BLOCK + len(payload.data),
        "BLOCK": BLOCK,
        "FIRST": payload.blocks,
        "CRC": payload.crc,
        "ROOM": -(-payload.unpacked // 1_000_000),
        "GLIBC": glibc,
    }
    text = (HERE / "launcher.sh").read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    header = text.encode()
    if len(header) > BLOCK:
        sys.exit(f"The launcher has more than {BLOCK} bytes: raise BLOCK")
    return header.ljust(BLOCK, b"\n") + payload.data


if __name__ == "__main__":
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    main()
