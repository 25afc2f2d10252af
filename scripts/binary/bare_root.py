"""A root file system with glibc and busybox only: no Python and no home. Programs run in it by chroot."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Final

USER: Final = 12345
"""Somebody who is in no list of users."""
LIBRARIES: Final = tuple(
    f"lib{name}" for name in ("c.so.6", "m.so.6", "dl.so.2", "rt.so.1", "pthread.so.0", "util.so.1", "resolv.so.2")
)
DEVICES: Final = ("null", "urandom")
WORKING_SIZE: Final = "400m"


class BareRoot:
    """The folder of the file system. Use it inside `mounted`, in a mount namespace of this process's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        busybox = shutil.which("busybox")
        if busybox is None:
            raise SystemExit("busybox is missing: apt-get install busybox-static")
        for name in ("bin", "dev", "proc", "tmp", "data", "app", "small", "noexec", "unpacked"):
            (folder / name).mkdir(parents=True)
        (folder / "tmp").chmod(0o1777)
        shutil.copy2(busybox, folder / "bin" / "busybox")
        for path in glibc():
            place = folder / path.relative_to("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, place)
        for name in ("data", "app", "unpacked"):
            os.chown(folder / name, USER, USER)
        subprocess.run(["chroot", folder, "/bin/busybox", "--install", "-s", "/bin"], check=True)

    @contextlib.contextmanager
    def mounted(self) -> Iterator[None]:
        """Mount devices, /proc, a folder that is nearly full and one for no programs."""
        for name in DEVICES:
            (self.folder / "dev" / name).touch()
            mount("--bind", f"/dev/{name}", str(self.folder / "dev" / name))
        mount("-t", "tmpfs", "-o", "size=1m,mode=1777", "none", str(self.folder / "small"))
        mount("-t", "tmpfs", "-o", f"noexec,mode=1777,size={WORKING_SIZE}", "none", str(self.folder / "noexec"))
        mount("--rbind", "/proc", str(self.folder / "proc"))
        try:
            yield
        finally:
            for name in (*(f"dev/{name}" for name in DEVICES), "small", "noexec"):
                unmount(self.folder / name)
            self.without_proc()

    def without_proc(self) -> None:
        """Take /proc away."""
        if os.path.ismount(self.folder / "proc"):
            unmount(self.folder / "proc")

    def start(
        self,
        *command: str,
        variables: Mapping[str, str] | None = None,
        stdout: int | None = None,
        stderr: int | IO[str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a program in the file system, as a user without a home."""
        entering = [shutil.which("chroot") or "chroot", f"--userspec={USER}:{USER}", str(self.folder)]
        there = [*entering, "/bin/sh", "-c", 'cd /app && exec "$@"', "sh", *command]
        env = {"PATH": "/bin", **(variables or {})}
        return subprocess.Popen(there, env=env, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, text=True)

    def run(self, *command: str, variables: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        process = self.start(*command, variables=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, out, err)


def glibc() -> Iterator[Path]:
    """Yield the loader and the libraries of glibc, of this machine."""
    said = subprocess.run(["ldd", "/bin/ls"], stdout=subprocess.PIPE, text=True, check=True).stdout
    words = [word for word in said.split() if word.startswith("/")]
    yield from (Path(word) for word in words if "/ld-linux" in word)
    library = next(Path(word).parent for word in words if word.endswith("/libc.so.6"))
    yield from (library / name for name in LIBRARIES if (library / name).exists())


def mount(*words: str) -> None:
    """Mount something, as the command does."""
    subprocess.run(["mount", *words], check=True)


def unmount(folder: Path) -> None:
    """Take a mount away, also while it is in use."""
    subprocess.run(["umount", "--lazy", "--recursive", str(folder)], check=True)
