"""The memory of this machine, or of the container around this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def memory_limit(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes of memory that this process may use: the RAM, or a lower limit of its cgroup (v1 or v2)."""
    return min([_ram(), *_cgroup_limits(proc, cgroups)])


def _ram() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cgroup_limits(proc: Path, cgroups: Path) -> Iterator[int]:
    """Yield every limit from this process's cgroup up to the root: the kernel applies the lowest of them."""
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            yield from _limits_above(cgroups, path, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _limits_above(cgroups / "memory", path, "memory.limit_in_bytes")


def _limits_above(root: Path, path: str, name: str) -> Iterator[int]:
    relative = PurePosixPath(path.lstrip("/"))
    if ".." in relative.parts:  # a cgroup outside of this namespace: only the root is visible
        relative = PurePosixPath()
    for folder in (relative, *relative.parents):
        text = _read(root / folder / name).strip()
        if text.isdigit():  # "max" means that there is none
            yield int(text)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # no cgroups here, or not at this level
        return ""
