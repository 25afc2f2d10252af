"""Mounts that nobody else sees: in a mount namespace of the suite's own, which ends with its last process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

MARK: Final = "FAULTS_OWN_MOUNTS"
"""In the environment of those who are inside."""
TOOLS: Final = ("unshare", "mount", "umount")
PATIENCE: Final = 10.0


def inside(environment: Mapping[str, str] = os.environ) -> bool:
    return MARK in environment


def possible() -> bool:
    """Whether one can be made, and something mounted in it: as root, or with user namespaces."""
    if any(shutil.which(tool) is None for tool in TOOLS):
        return False
    with tempfile.TemporaryDirectory() as folder:
        trial = [*_unshare(), "mount", "-t", "tmpfs", "tmpfs", folder]
        done = subprocess.run(trial, stderr=subprocess.DEVNULL, check=False, timeout=PATIENCE)
    return done.returncode == 0


def enter(*arguments: str) -> NoReturn:
    """Replace this process by Python with these arguments, inside of a new namespace."""
    command = [*_unshare(), sys.executable, *arguments]
    os.execvpe(command[0], command, {**os.environ, MARK: "1"})


def _unshare() -> list[str]:
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--mount", "--propagation", "private", *rights, "--"]


def mount_memory(folder: Path, size: int) -> None:
    """A file system of `size` bytes at `folder`. Raises OSError or subprocess.CalledProcessError."""
    options = f"size={size},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, timeout=PATIENCE)


def unmount(folder: Path) -> None:
    """Also while a process is still at its end there."""
    subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=PATIENCE)
